package cluster

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weir-cluster/weir/ring"
)

// fakeGroup is a Raft group of one that applies what it is told, and notes who votes.
type fakeGroup struct {
	views *Views

	mu        sync.Mutex
	leading   bool
	state     bool
	committed uint64
	servers   map[string]string
	staged    map[string]string
	done      []string
	began     time.Time
	times     []time.Duration // of what was done
}

func (g *fakeGroup) Propose(_ context.Context, _ string, command []byte) ([]byte, error) {
	return g.views.Apply(command), nil
}

func (g *fakeGroup) ProposeAll(context.Context, string, [][]byte) ([][]byte, []error) {
	panic("views are proposed one by one")
}
func (g *fakeGroup) Leader() (string, bool) { return "b", true }

func (g *fakeGroup) Leading() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.leading
}

func (g *fakeGroup) Founded() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.state
}

func (g *fakeGroup) Committed() uint64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.committed
}

func (g *fakeGroup) Found(_ context.Context, members []Member) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, m := range members {
		g.note("found " + m.Name)
	}
	g.state = true
	return nil
}

func (g *fakeGroup) note(what string) {
	g.done = append(g.done, what)
	g.times = append(g.times, time.Since(g.began))
}

func (g *fakeGroup) Electorate() (voters, staged map[string]string, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return maps.Clone(g.servers), maps.Clone(g.staged), nil
}

func (g *fakeGroup) Stage(_ context.Context, server, name string) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.note("stage " + name)
	g.staged[name] = server
	return nil
}

func (g *fakeGroup) Add(_ context.Context, m Member) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.note("add " + m.Name)
	delete(g.staged, m.Name)
	g.servers[m.Name] = m.Server
	return nil
}

func (g *fakeGroup) Remove(_ context.Context, server string) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.note("remove " + server)
	gone := func(_, id string) bool { return id == server }
	maps.DeleteFunc(g.servers, gone)
	maps.DeleteFunc(g.staged, gone)
	return nil
}

func (g *fakeGroup) Yield(context.Context) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.note("yield")
	return nil
}

// steward is the steward of node a over what a gossip shows.
func (g *fakeGroup) steward(gossip *Gossip, leases Leases) *Steward {
	g.began = time.Now()
	if g.views == nil {
		g.views = NewViews(nil)
	}
	if g.servers == nil {
		g.servers = make(map[string]string)
	}
	g.staged = make(map[string]string)
	return &Steward{Gossip: gossip, Views: g.views, Quorum: g, Voters: g, Leases: leases, VotersMax: 3, Logger: slog.New(slog.DiscardHandler)}
}

// steered runs a steward of node a for a time over what gossip shows, and returns what it did.
func steered(t *testing.T, g *fakeGroup, forTime time.Duration, expect int, alive ...Sighting) []string {
	t.Helper()
	gossip := known(alive...)
	gossip.self.Expect = expect
	s := g.steward(gossip, anyEnded{})
	ctx, cancel := context.WithTimeout(t.Context(), forTime)
	defer cancel()
	if err := s.Run(ctx); err != nil {
		t.Errorf("run: %v", err)
	}
	return g.done
}

// founders returns the first n of a, b, c, … as founders that expect n.
func founders(n int, but func(i int, m *Sighting)) []Sighting {
	out := make([]Sighting, n)
	for i := range out {
		out[i] = sighted(string(rune('a'+i)), fmt.Sprint(i))
		out[i].Expect = n
		but(i, &out[i])
	}
	return out
}

func TestOnlyAllTheExpectedNodesFoundACluster(t *testing.T) {
	as := func(int, *Sighting) {}
	extra := sighted("z", "9")
	extra.Expect = 3
	for name, c := range map[string]struct {
		alive []Sighting
		want  []string
	}{
		"all three":             {founders(3, as), []string{"found a", "found b", "found c"}},
		"one is missing":        {founders(3, as)[:2], nil},
		"one too many":          {append(founders(3, as), extra), nil},
		"this is not the first": {founders(3, func(i int, m *Sighting) { m.Name = "ABa"[2-i : 3-i] }), nil},
		"one has state":         {founders(3, func(i int, m *Sighting) { m.Founded = i == 2 }), nil},
		"one expects others":    {founders(3, func(i int, m *Sighting) { m.Expect = 3 + i }), nil},
		"one does not vote":     {founders(3, func(i int, m *Sighting) { m.Voter = i != 1 }), []string{"found a", "found c"}},
		"the first has no vote": {founders(3, func(i int, m *Sighting) { m.Voter = i != 0 }), nil},
	} {
		synctest.Test(t, func(t *testing.T) {
			if got := steered(t, new(fakeGroup), time.Second, 3, c.alive...); !slices.Equal(got, c.want) {
				t.Errorf("%s: %v, want %v", name, got, c.want)
			}
		})
	}
	synctest.Test(t, func(t *testing.T) {
		if got := steered(t, new(fakeGroup), time.Second, 5, founders(5, as)...); len(got) != 3 {
			t.Errorf("five nodes: %v, want three voters", got)
		}
	})
}

func TestTheFirstViewWaitsForAllFoundersButNotForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &fakeGroup{leading: true, state: true}
		alive := founders(3, func(int, *Sighting) {})[:2]
		steered(t, g, foundWait-stewardEvery/2, 3, alive...)
		if g.views.Epoch() != 0 {
			t.Error("the first view did not wait for the third founder")
		}
		steered(t, g, foundWait+time.Second, 3, alive...)
		if v := g.views.Current(); v == nil || len(v.Roster) != 2 {
			t.Errorf("no view without the third founder: %+v", v)
		}
		steered(t, g, 2*time.Second, 3, founders(3, func(int, *Sighting) {})...)
		if v := g.views.Current(); v.Epoch != 2 || len(v.Roster) != 3 || v.Roster[2].Standing != ring.Steady {
			t.Errorf("the third founder is not let in: epoch %d, %+v", v.Epoch, v.Roster)
		}
	})
}

func TestOnlyTheLeaderChangesTheView(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &fakeGroup{state: true}
		if got := steered(t, g, time.Minute, 1, founders(1, func(int, *Sighting) {})...); g.views.Epoch() != 0 || got != nil {
			t.Errorf("epoch %d, %v", g.views.Epoch(), got)
		}
	})
}

// anyEnded knows of no lease.
type anyEnded struct{}

func (anyEnded) Ended(string, string) bool     { return true }
func (anyEnded) Asks(string, string) bool      { return true }
func (anyEnded) Settled() bool                 { return true }
func (anyEnded) Ready() []uint16               { return nil }
func (anyEnded) Behind() []link                { return nil }
func (anyEnded) Spread(context.Context, *View) {}
