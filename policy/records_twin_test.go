package policy

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/weir-cluster/weir/ring"
	"pgregory.net/rapid"
)

const recordsPolicy = `
version: 1
domains:
  llm:
    account: [user]
    limits:
      - {name: rpm, key: [user], algorithm: token_bucket, rate: 60/min, burst: 4, spill: true}
      - {name: tpm, key: [user], algorithm: fixed_window, meter: tokens, limit: 100, window: 1m, spill: true}
      - {name: slide, key: [user], algorithm: sliding_window, meter: tokens, limit: 400, window: 20s}
      - {name: log, key: [user], algorithm: rolling_log, limit: 12, window: 10s}
      - {name: daily, key: [user], algorithm: calendar_window, meter: tokens, limit: 9000, window: day, time_zone: America/New_York}
      - {name: flight, key: [user], algorithm: concurrency, limit: 4, ttl: 30s}
    prices:
      - {match: {model: large}, per: {requests: 0.03, tokens: 0.0007}}
      - {per: {requests: 0.01, tokens: 0.0001}}
`

// node is what decides for a partition, with records of its own. All nodes of a world share its buckets, as if those had
// travelled too, and its ledger.
type node struct {
	w       *Waterfall
	c       Trier
	records *Records
}

// world is a rig whose partitions move between its nodes.
type world struct {
	*rig
	nodes  []*node
	home   int // index of nodes
	booked []string
	ids    []ulid.ULID // of the decisions, in the order they were made
}

func newWorld(t testing.TB, nodes int) *world {
	g := newRig(t, recordsPolicy)
	w := &world{rig: g}
	for range nodes {
		w.nodes = append(w.nodes, g.node(g.few(0)))
	}
	for _, p := range partitionsOf("alice", "bob") {
		w.nodes[0].records.Track(p, true)
	}
	return w
}

// node returns one more that decides on what the rig has.
func (g *rig) node(rs *Records) *node {
	c := g.w.c
	c.Records = rs
	n := &node{w: NewWaterfall(c), records: rs}
	n.c = Idempotent(n.w, IdempotentConfig{Policy: c.Policy, Now: c.Now, Records: rs})
	return n
}

func partitionsOf(users ...string) (all []uint16) {
	for _, u := range users {
		all = append(all, ring.Partition("llm", u))
	}
	return all
}

// ship brings what changed at the home to the other nodes, in chunks of any size, some of them twice.
func (w *world) ship(t *rapid.T) {
	from := w.nodes[w.home].records
	most, times := rapid.IntRange(1, 2000).Draw(t, "most"), rapid.IntRange(1, 2).Draw(t, "times")
	for _, p := range from.Due(nil) {
		for more := true; more; {
			var chunk []byte
			chunk, more = from.Changes(p, most)
			for i, to := range w.nodes {
				for range times {
					if i == w.home || chunk == nil {
						continue
					}
					if err := to.records.Restore(p, 0, chunk); err != nil {
						t.Fatal(err)
					}
				}
			}
		}
	}
}

// move gives all partitions to the other node, once it has all there is.
func (w *world) move(t *rapid.T) {
	w.ship(t)
	for _, p := range partitionsOf("alice", "bob") {
		w.nodes[w.home].records.Drop(p)
	}
	w.home = (w.home + 1) % len(w.nodes)
	for _, p := range partitionsOf("alice", "bob") {
		w.nodes[w.home].records.Track(p, true)
	}
}

// check asks the home, and returns the decision less its ids, and which of the decisions it is.
func (w *world) check(t *rapid.T, r Request, try bool) (d Decision, number int, err error) {
	n, decided := w.nodes[w.home], false
	if try {
		decided, err = n.c.Try(&r, &d)
	}
	if !decided {
		d, err = n.c.Check(context.Background(), r)
	}
	if number = slices.Index(w.ids, d.ID); number < 0 {
		number = len(w.ids)
		w.ids = append(w.ids, d.ID)
		if d.Reservation != "" {
			w.booked = append(w.booked, d.Reservation)
		}
	}
	d.ID, d.Reservation = ulid.ULID{}, ""
	return d, number, err
}

// settle settles a reservation of the world; faulty, the first time the ledger's answers are lost.
func (w *world) settle(i int, s Settlement, faulty bool) (Settled, string) {
	s.Reservation = w.booked[i]
	if faulty {
		w.log.broken = errors.New("the answer was lost")
		_, _ = w.nodes[w.home].w.Settle(context.Background(), s)
		w.log.broken = nil
	}
	a, err := w.nodes[w.home].w.Settle(context.Background(), s)
	for _, kind := range []error{ErrConflict, ErrNoReservation, ErrInvalid, ErrUnavailable} {
		if errors.Is(err, kind) {
			return a, kind.Error()
		}
	}
	return a, fmt.Sprint(err)
}

func anySettlement(t *rapid.T) (s Settlement) {
	for _, meter := range []string{"requests", "tokens"} {
		if rapid.Bool().Draw(t, "names "+meter) {
			s.Actual = append(s.Actual, Cost{meter, rapid.SampledFrom([]int64{0, 1, 2, 5, 60, 150, 300}).Draw(t, meter)})
		}
	}
	if s.Final = rapid.Bool().Draw(t, "final"); rapid.Bool().Draw(t, "extends") {
		s.Extend = time.Duration(rapid.IntRange(1, 20).Draw(t, "extend")) * time.Minute
	}
	return s
}

func anyCheck(t *rapid.T) Request {
	r := Request{Domain: "llm", Attributes: []Attribute{
		{"user", rapid.SampledFrom([]string{"alice", "alice", "bob"}).Draw(t, "user")},
		{"model", rapid.SampledFrom([]string{"large", "small"}).Draw(t, "model")},
	}, Cost: []Cost{
		{"requests", rapid.Int64Range(1, 3).Draw(t, "requests")},
		{"tokens", rapid.SampledFrom([]int64{0, 1, 50, 120}).Draw(t, "tokens")},
	}}
	if rapid.Bool().Draw(t, "reserve") {
		r.Mode = Reserve
	}
	if rapid.Bool().Draw(t, "keyed") {
		r.IdempotencyKey = rapid.SampledFrom([]string{"k1", "k2", "k3"}).Draw(t, "key")
		r.Explain = rapid.Bool().Draw(t, "explain")
	}
	return r
}

// What each algorithm gives back does not depend on where the reservation is settled. The clock of the next home, or the way
// there, may be a little off, but for a moment before its run in a log ends.
func TestALimitGivesBackAtTheNextHomeWhatItWouldHere(t *testing.T) {
	t.Parallel()
	for _, limit := range []string{
		"token_bucket, rate: 9/10s", "fixed_window, limit: 9, window: 10s", "sliding_window, limit: 9, window: 10s",
		"rolling_log, limit: 9, window: 10s", "calendar_window, limit: 9, window: day", "concurrency, limit: 9, ttl: 10s",
	} {
		for _, pause := range []time.Duration{0, 4, 8, 13, 19, 21} {
			for _, off := range []time.Duration{0, 100 * time.Millisecond, -100 * time.Millisecond} {
				var left [2]string
				for i := range left {
					g := newRig(t, aroundLimit("{name: l, key: [user], algorithm: "+limit+"}"))
					g.now = g.now.Add(time.Second)
					g.check(t, alice("requests:3"))
					g.now = g.now.Add(time.Second)
					d := g.check(t, alice("requests:4", "reserve"))
					g.now = g.now.Add(time.Second)
					p, _ := ReservationPartition(d.Reservation)
					chunks := g.w.c.Records.all(p, 1000)
					g.now = g.now.Add(off)
					next := g.w
					if i == 1 {
						next = g.inherit(t, p, chunks).w
					}
					g.now = g.now.Add(pause * time.Second)
					if _, err := next.Settle(t.Context(), Settlement{Reservation: d.Reservation, Actual: []Cost{{"requests", 1}}, Final: true}); err != nil {
						t.Fatal(err)
					}
					left[i] = fmt.Sprint(g.check(t, Standing("llm", alice().Attributes)).Limits)
				}
				if left[0] != left[1] {
					t.Errorf("%s after %d s, off by %v: %s here, %s there", limit, pause, off, left[0], left[1])
				}
			}
		}
	}
}

// TestAPartitionThatMovesAnswersAsOneThatStays drives two worlds alike, of which one moves its partitions at any moment.
func TestAPartitionThatMovesAnswersAsOneThatStays(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		stays, moves := newWorld(new(testing.B), 1), newWorld(new(testing.B), 2)
		for _, w := range []*world{stays, moves} {
			w.open(new(testing.B), "alice", 100_000, 0, 150_000)
		}
		i, s := -1, Settlement{} // the last
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			// Whole seconds: with less between two requests, a log may give back to the one before.
			pause := time.Duration(rapid.SampledFrom([]int{0, 0, 1, 7, 20, 400}).Draw(t, "pause")) * time.Second
			stays.now, moves.now = stays.now.Add(pause), moves.now.Add(pause)
			switch act := rapid.SampledFrom([]string{"check", "check", "check", "settle", "settle", "again", "ship", "move", "move"}).Draw(t, "act"); {
			case act == "ship":
				moves.ship(t)
			case act == "move":
				moves.move(t)
			case act != "check" && len(stays.booked) > 0:
				if act == "settle" || i < 0 {
					i, s = rapid.IntRange(0, len(stays.booked)-1).Draw(t, "reservation"), anySettlement(t)
				}
				faulty := rapid.Bool().Draw(t, "faulty")
				want, wantErr := stays.settle(i, s, faulty)
				got, gotErr := moves.settle(i, s, faulty)
				if !reflect.DeepEqual(got, want) || gotErr != wantErr {
					t.Fatalf("settled after moves: %+v, %s\nwithout moves: %+v, %s", got, gotErr, want, wantErr)
				}
			default:
				r, try := anyCheck(t), rapid.Bool().Draw(t, "try")
				want, first, wantErr := stays.check(t, r, try)
				got, same, gotErr := moves.check(t, r, try)
				if told(got) != told(want) || !reflect.DeepEqual(got.Explain, want.Explain) || same != first || errors.Is(gotErr, ErrConflict) != errors.Is(wantErr, ErrConflict) {
					t.Fatalf("after moves: decision %d, %s, %v\nwithout moves: decision %d, %s, %v", same, told(got), gotErr, first, told(want), wantErr)
				}
			}
		}
		a, _ := stays.ledger.Account(context.Background(), "alice")
		b, _ := moves.ledger.Account(context.Background(), "alice")
		if a.Balance != b.Balance {
			t.Fatalf("balance %s after moves, %s without", b.Balance, a.Balance)
		}
	})
}
