package cluster

import (
	"context"
	"encoding/binary"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weir-cluster/weir/limiter"
	"github.com/weir-cluster/weir/ring"
)

// shelf is a State whose things are numbers under one letter each.
type shelf struct {
	mu      sync.Mutex
	things  map[uint16]map[byte]uint64
	track   map[uint16]bool
	due     map[uint16]map[byte]bool // things not shipped yet
	changed chan struct{}
	ends    map[uint16]string // how its tenure began
	owed    [][]byte          // to what was restored last
}

func newShelf() *shelf {
	return &shelf{
		things: map[uint16]map[byte]uint64{}, track: map[uint16]bool{}, due: map[uint16]map[byte]bool{},
		changed: make(chan struct{}, 1), ends: map[uint16]string{},
	}
}

func (s *shelf) set(p uint16, k byte, v uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.things[p] == nil {
		s.things[p] = map[byte]uint64{}
	}
	s.things[p][k] = v
	if s.track[p] {
		s.note(p, k)
	}
}

func (s *shelf) note(p uint16, k byte) {
	if s.due[p] == nil {
		s.due[p] = map[byte]bool{}
	}
	s.due[p][k] = true
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

func (s *shelf) of(p uint16) map[byte]uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.things[p])
}

func (s *shelf) began(p uint16) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ends[p]
}

func (s *shelf) Track(p uint16, _ uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.track[p] = true
	delete(s.due, p)
	for k := range s.things[p] {
		s.note(p, k)
	}
}

func (s *shelf) Untrack(p uint16) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.track[p] = false
	delete(s.due, p)
}

func (s *shelf) Changed() (one, other <-chan struct{}) { return s.changed, nil }

func (s *shelf) Due(dst []uint16) []uint16 {
	s.mu.Lock()
	defer s.mu.Unlock()
	for p := range s.due {
		dst = append(dst, p)
	}
	return dst
}

func (s *shelf) Changes(p uint16, _ int) (chunk []byte, more bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range slices.Sorted(maps.Keys(s.due[p])) {
		if len(chunk) > 9 {
			return chunk, true
		}
		chunk = binary.BigEndian.AppendUint64(append(chunk, k), s.things[p][k])
		delete(s.due[p], k)
	}
	delete(s.due, p)
	return chunk, false
}

func (s *shelf) Restore(p uint16, chunk []byte, owed [][]byte) error {
	s.mu.Lock()
	s.owed = owed
	s.mu.Unlock()
	for ; len(chunk) > 0; chunk = chunk[9:] {
		s.set(p, chunk[0], binary.BigEndian.Uint64(chunk[1:]))
	}
	return nil
}

func (s *shelf) Merge(p uint16, source uint64, _ []byte) error {
	s.set(p, 'm', source)
	return nil
}

func (s *shelf) Remember(p uint16, records []byte, _ time.Duration) error {
	s.set(p, 'r', uint64(len(records)))
	return nil
}

func (*shelf) Recall(uint16, uint64, uint64) bool { return false }

func (s *shelf) Inherit(p uint16) { s.begin(p, "inherit") }
func (s *shelf) Cold(p uint16)    { s.begin(p, "cold") }

func (s *shelf) begin(p uint16, how string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ends[p] = how
}

func (s *shelf) Drop(p uint16) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.things, p)
	delete(s.due, p)
}

// harbour is three nodes whose Copies ship to each other.
type harbour struct {
	t      *testing.T
	random *rand.Rand
	mu     sync.Mutex
	cut    map[string]bool // who cannot be reached
	leaves map[string]bool
	lossy  bool
	old    []Shipment // that were received, and may come again
	sent   int
	nodes  map[string]*Copies
	shelf  map[string]*shelf
	debits map[string]*Debits
	ready  map[string]int
	view   *View
}

func (h *harbour) Peer(address string) Peer { return boat{h: h, to: address[:1]} }

type boat struct {
	Peer
	h  *harbour
	to string
}

func (b boat) Ship(_ context.Context, s Shipment) (Receipt, error) {
	time.Sleep(time.Millisecond)
	b.h.mu.Lock()
	b.h.sent++
	lost := b.h.cut[b.to] || b.h.cut[s.Name]
	before, after := b.h.lossy && b.h.random.IntN(3) == 0, b.h.lossy && b.h.random.IntN(3) == 0
	b.h.mu.Unlock()
	if lost || before {
		return Receipt{}, ErrUnreachable
	}
	r := b.h.nodes[b.to].Receive(s)
	if b.h.lossy {
		b.again(s)
	}
	if after {
		return Receipt{}, ErrUnreachable
	}
	return r, nil
}

// again delivers a shipment of before once more, since a call that was given up may still arrive.
func (b boat) again(s Shipment) {
	b.h.mu.Lock()
	old := s
	if n := len(b.h.old); n > 0 {
		old = b.h.old[b.h.random.IntN(n)]
	}
	b.h.old = append(b.h.old, s)
	b.h.mu.Unlock()
	b.h.nodes[b.to].Receive(old)
}

// shipping runs body beside the Copies of a, b and c. In the first view a is home of all, b deputy.
func shipping(t *testing.T, body func(h *harbour)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		t.Helper()
		h := &harbour{
			t: t, random: rand.New(rand.NewPCG(1, 2)), cut: map[string]bool{}, leaves: map[string]bool{}, nodes: map[string]*Copies{},
			shelf: map[string]*shelf{}, debits: map[string]*Debits{}, ready: map[string]int{},
		}
		ctx, cancel := context.WithCancel(t.Context())
		var all sync.WaitGroup
		for _, name := range []string{"a", "b", "c"} {
			h.shelf[name] = newShelf()
			h.debits[name] = NewDebits(DebitsConfig{
				Name: name, Boot: "1", Source: 1000, Now: time.Now, Copies: limiter.NewStore(limiter.DefaultConfig()), BucketsMax: 1 << 10,
			})
			c := NewCopies(CopiesConfig{
				Name: name, Boot: "1", Now: time.Now, State: h.shelf[name], Peers: h, Debits: h.debits[name], Logger: slog.New(slog.DiscardHandler),
				Ready: func() { h.lock(func() { h.ready[name]++ }) },
			})
			h.nodes[name] = c
			all.Go(func() {
				if err := c.Run(ctx); err != nil {
					t.Error(err)
				}
			})
		}
		h.next("a", "b", "")
		h.reach(1)
		body(h)
		cancel()
		all.Wait()
	})
}

// lock runs change while nothing is shipped.
func (h *harbour) lock(change func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	change()
}

// unreachable cuts a node off.
func (h *harbour) unreachable(name string) { h.lock(func() { h.cut[name] = true }) }

// next has all adopt a view in which these are home, deputy and next of all partitions.
func (h *harbour) next(home, deputy, next string) {
	h.t.Helper()
	v := owned(h.view, home, deputy, next)
	for i := range v.Roster {
		v.Roster[i].Leaving = h.leaves[v.Roster[i].Name]
		if h.cut[v.Roster[i].Name] || v.Roster[i].Leaving {
			v.Roster[i].Standing = ring.Absent
		}
	}
	h.view = v
	for _, c := range h.nodes {
		c.Adopt(v)
	}
}

// owned returns the view after last in which these of a, b and c are home, deputy and next of all partitions.
func owned(last *View, home, deputy, next string) *View {
	v := &View{Epoch: 1, Cluster: "c", Table: new(ring.Table)}
	if last != nil {
		v.Epoch = last.Epoch + 1
	}
	index := map[string]uint16{"": ring.None}
	for i, name := range []string{"a", "b", "c"} {
		m := sighted(name, "1").Member
		m.Standing = ring.Steady
		v.Roster = append(v.Roster, m)
		index[name] = uint16(i)
	}
	for p := range ring.Partitions {
		v.Table.Homes[p], v.Table.Deputies[p], v.Table.Nexts[p] = index[home], index[deputy], index[next]
		switch {
		case last == nil:
			v.Table.Since[p] = v.Epoch
		case last.Table.Homes[p] == index[home]:
			v.Table.Since[p], v.Table.Priors[p] = last.Table.Since[p], last.Table.Priors[p]
		default:
			v.Table.Since[p], v.Table.Priors[p] = v.Epoch, last.Table.Since[p]
		}
	}
	return v
}

// reach has the leases of all cover an epoch.
func (h *harbour) reach(level uint64) {
	for _, c := range h.nodes {
		c.Reached(level)
	}
}

func (h *harbour) decides(name string, want bool, when string) {
	h.t.Helper()
	if got := h.nodes[name].Begun(7, h.view.Table.Since[7]); got != want {
		h.t.Errorf("%s: %s has begun: %t", when, name, got)
	}
}

func (h *harbour) same(name string, want map[byte]uint64, when string) {
	h.t.Helper()
	if got := h.shelf[name].of(7); !maps.Equal(got, want) {
		h.t.Errorf("%s: %s has %v, want %v", when, name, got, want)
	}
}
