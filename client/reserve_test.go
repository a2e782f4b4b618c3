package client_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	weirv1 "github.com/weir-cluster/weir/api/weir/v1"
	"github.com/weir-cluster/weir/client"
)

// refused is how a node says an error of the API.
func refused(code codes.Code, word string) error {
	s, err := status.New(code, "told so").WithDetails(&errdetails.ErrorInfo{Reason: word, Domain: "weir.v1"})
	if err != nil {
		panic(err)
	}
	return s.Err()
}

// book notes the settlements that a node takes.
type book struct {
	mu   sync.Mutex
	seen []*weirv1.SettleRequest
	err  error
}

func (b *book) take(_ context.Context, q *weirv1.SettleRequest) (*weirv1.SettleResponse, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err != nil {
		return nil, b.err
	}
	b.seen = append(b.seen, q)
	return &weirv1.SettleResponse{Final: q.GetFinal(), ExpiresMs: q.GetExtendMs(), Sources: []*weirv1.Draw{{Source: "LIMIT", Meter: "tokens", Amount: 3}}}, nil
}

func (b *book) say(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.err = err
}

func (b *book) settled() (ids []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, q := range b.seen {
		ids = append(ids, q.GetReservation())
	}
	slices.Sort(ids)
	return ids
}

func (r *rig) keepBook() *book {
	b := &book{}
	for _, f := range r.nodes {
		f.mu.Lock()
		f.settle = b.take
		f.mu.Unlock()
	}
	return b
}

// A reservation is extended, settled and released at its home.
func TestAReservationIsSettledAtItsHome(t *testing.T) {
	bubble(t, 3, func(t *testing.T, r *rig) {
		b := r.keepBook()
		k, done := r.open()
		defer done()
		q := ask(r.userOf(1))
		q.Cost = map[string]int64{"tokens": 10}
		held, d, err := k.Reserve(t.Context(), q)
		if err != nil || !d.Allowed() || held.ID == "" || held.ID != d.Reservation {
			t.Fatalf("%+v, %+v, %v", held, d, err)
		}
		if s, err := held.Extend(t.Context(), time.Minute); err != nil || s.Expires != time.Minute || s.Final {
			t.Errorf("%+v, %v", s, err)
		}
		s, err := held.Settle(t.Context(), client.Settlement{Actual: map[string]int64{"tokens": 3}, Outcome: "ok", Latency: time.Second})
		if err != nil || !s.Final || s.Queued || s.Sources[0] != (client.Draw{Source: "LIMIT", Meter: "tokens", Amount: 3}) {
			t.Errorf("%+v, %v", s, err)
		}
		if s, err = held.Release(t.Context()); err != nil || !s.Final {
			t.Errorf("%+v, %v", s, err)
		}
		if r.nodes[1].settles.Load() != 3 || r.sum(settlesOf) != 3 {
			t.Errorf("%d of %d at the home", r.nodes[1].settles.Load(), r.sum(settlesOf))
		}
		given := map[string]int64{}
		for _, c := range b.seen[2].GetActual() {
			given[c.GetMeter()] = c.GetAmount()
		}
		if got := b.seen[1]; got.GetOutcome() != "ok" || got.GetLatencyMs() != 1000 || got.GetActual()[0].GetAmount() != 3 || !got.GetFinal() {
			t.Errorf("settled %v", got)
		}
		if len(given) != 2 || given["tokens"] != 0 || given["requests"] != 0 {
			t.Errorf("released %v", given)
		}
		r.limit = 0
		if held, d, err := k.Reserve(t.Context(), ask("x")); held != nil || err != nil || d.Reason != "RATE_LIMITED" {
			t.Errorf("refused: %+v, %+v, %v", held, d, err)
		}
	})
}

// A settlement that no node takes waits, is tried again with the same reservation, and is taken once there is a node.
func TestASettlementWaitsForANode(t *testing.T) {
	bubble(t, 2, func(t *testing.T, r *rig) {
		b := r.keepBook()
		k, done := r.open()
		defer done()
		held, _, err := k.Reserve(t.Context(), ask("u"))
		if err != nil {
			t.Fatal(err)
		}
		b.say(refused(codes.Unavailable, "UNAVAILABLE"))
		s, err := held.Settle(t.Context(), client.Settlement{Actual: map[string]int64{"requests": 1}})
		if err != nil || !s.Queued || s.Final {
			t.Fatalf("%+v, %v", s, err)
		}
		time.Sleep(10 * time.Second)
		tried := r.sum(settlesOf)
		if tried < 3 || tried > 40 || k.Stats().Waiting != 1 {
			t.Errorf("tried %d times, %+v", tried, k.Stats())
		}
		b.say(nil)
		r.until("it is taken", func() bool { return k.Stats().Delivered == 1 })
		if ids := b.settled(); len(ids) != 1 || ids[0] != held.ID || k.Stats().Waiting != 0 {
			t.Errorf("%v, %+v", ids, k.Stats())
		}
	})
}

// One dead home does not hold up the settlements of the others.
func TestSettlementsOvertakeTheStuck(t *testing.T) {
	bubble(t, 2, func(t *testing.T, r *rig) {
		k, done := r.open()
		b, stuck := &book{}, "r-1" // whatever is below
		for _, f := range r.nodes {
			f.mu.Lock()
			f.settle = func(ctx context.Context, q *weirv1.SettleRequest) (*weirv1.SettleResponse, error) {
				b.mu.Lock()
				is := q.GetReservation() < stuck
				b.mu.Unlock()
				if is {
					return nil, refused(codes.Unavailable, "UNAVAILABLE")
				}
				return b.take(ctx, q)
			}
			f.mu.Unlock()
		}
		loosen := func(to string) {
			b.mu.Lock()
			defer b.mu.Unlock()
			stuck = to
		}
		for p := range 200 {
			if s, err := k.Settle(t.Context(), reservation(p), client.Settlement{}); err != nil || !s.Queued {
				t.Fatalf("%d: %+v, %v", p, s, err)
			}
		}
		loosen(reservation(100))
		time.Sleep(20 * time.Second)
		if n := k.Stats().Waiting; n != 100 {
			t.Errorf("%d wait", n)
		}
		loosen("")
		done()
		if n := len(b.settled()); n != 200 {
			t.Errorf("%d settled", n)
		}
	})
}

// At the bound a settlement is an error that says so; an answer that no repetition changes ends one.
func TestTheSettleQueueIsBounded(t *testing.T) {
	bubble(t, 1, func(t *testing.T, r *rig) {
		b := r.keepBook()
		b.say(refused(codes.Unavailable, "UNAVAILABLE"))
		k, done := r.open(func(c *client.Config) { c.Settles = 2 })
		defer done()
		for p := range 3 {
			s, err := k.Settle(t.Context(), reservation(p), client.Settlement{})
			if s.Queued != (p < 2) || errors.Is(err, client.ErrFull) != (p == 2) {
				t.Errorf("%d: %+v, %v", p, s, err)
			}
		}
		b.say(refused(codes.NotFound, "NOT_FOUND"))
		r.until("both are given up", func() bool { return k.Stats().Dropped == 2 && k.Stats().Waiting == 0 })
		if s, err := k.Settle(t.Context(), reservation(9), client.Settlement{}); !errors.Is(err, client.ErrNotFound) || s.Queued {
			t.Errorf("%+v, %v", s, err)
		}
		for _, id := range []string{"", "r-12", "r-1000-x", "r-zzzz-x", "x-0000-x", "r-0000-"} {
			if _, err := k.Settle(t.Context(), id, client.Settlement{}); !errors.Is(err, client.ErrInvalid) {
				t.Errorf("%q: %v", id, err)
			}
		}
	})
}

// What is reserved while no node answers needs no settling.
func TestAReservationOfTheFallback(t *testing.T) {
	bubble(t, 1, func(t *testing.T, r *rig) {
		k, done := r.open()
		defer done()
		q := ask("u")
		if _, _, err := k.Reserve(t.Context(), q); err != nil {
			t.Fatal(err)
		}
		r.nodes[0].kill()
		held, d, err := k.Reserve(t.Context(), q)
		if err != nil || d.Reason != "FALLBACK_SHARE" || held == nil || held.ID != "" {
			t.Fatalf("%+v, %+v, %v", held, d, err)
		}
		if s, err := held.Extend(t.Context(), time.Minute); err != nil || s.Expires != time.Minute {
			t.Errorf("%+v, %v", s, err)
		}
		if s, err := held.Settle(t.Context(), client.Settlement{}); err != nil || !s.Final || s.Queued {
			t.Errorf("%+v, %v", s, err)
		}
	})
}

// Close settles what waits, says what it could not, and keeps it in the spool, from which the next client takes it.
func TestTheSpoolOutlivesTheClient(t *testing.T) {
	for name, sync := range map[string]bool{"synced": true, "not synced": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "spool")
			bubble(t, 1, func(t *testing.T, r *rig) {
				spooled := func(c *client.Config) { c.Spool, c.SpoolSync = dir, sync }
				b := r.keepBook()
				b.say(refused(codes.Unavailable, "UNAVAILABLE"))
				k, done := r.open(spooled)
				for p := range 5 {
					if s, err := k.Settle(t.Context(), reservation(p), client.Settlement{Outcome: "ok"}); err != nil || !s.Queued {
						t.Fatalf("%+v, %v", s, err)
					}
				}
				other := r.config()
				spooled(&other)
				if _, err := client.Open(t.Context(), other); err == nil {
					t.Error("two clients use one spool")
				}
				began := time.Now()
				done()
				if took := time.Since(began); took < 4*time.Second || took > 7*time.Second {
					t.Errorf("drained for %v", took)
				}
				log, err := os.OpenFile(filepath.Join(dir, "settles.log"), os.O_APPEND|os.O_WRONLY, 0)
				if err != nil {
					t.Fatal(err)
				}
				_, _ = log.WriteString("a\x00\x00\x01") // what a crash left of a write
				_ = log.Close()
				b.say(nil)
				k, done = r.open(spooled)
				r.until("all are taken", func() bool { return k.Stats().Delivered == 5 })
				done()
				if ids := b.settled(); len(ids) != 5 || ids[4] != reservation(4) || b.seen[0].GetOutcome() != "ok" {
					t.Errorf("%v", ids)
				}
				k, done = r.open(spooled)
				b.say(refused(codes.Unavailable, "UNAVAILABLE"))
				if _, err := k.Settle(t.Context(), reservation(9), client.Settlement{}); err != nil {
					t.Error(err)
				}
				b.say(refused(codes.NotFound, "NOT_FOUND"))
				done()
				b.say(nil)
				last, done := r.open(spooled)
				time.Sleep(time.Second)
				done()
				if n := len(b.settled()); n != 5 || k.Stats().Delivered != 0 || k.Stats().Dropped != 1 || last.Stats().Delivered != 0 {
					t.Errorf("%d settled after other starts: %+v, %+v", n, k.Stats(), last.Stats())
				}
			})
		})
	}
}

// Without a spool, Close says how much is lost.
func TestCloseTellsWhatIsLost(t *testing.T) {
	bubble(t, 1, func(t *testing.T, r *rig) {
		b := r.keepBook()
		b.say(refused(codes.Unavailable, "UNAVAILABLE"))
		k, _ := r.open()
		if _, err := k.Settle(t.Context(), reservation(1), client.Settlement{}); err != nil {
			t.Fatal(err)
		}
		if err := k.Close(); err == nil || k.Stats().Waiting != 1 {
			t.Errorf("%v", err)
		}
		k, done := r.open()
		if _, err := k.Settle(t.Context(), reservation(2), client.Settlement{}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute) // by now it is tried every few seconds only
		time.AfterFunc(time.Second, func() { b.say(nil) })
		began := time.Now()
		done() // the drain was long enough
		if ids, took := b.settled(), time.Since(began); len(ids) != 1 || took > 1500*time.Millisecond {
			t.Errorf("%v after %v", ids, took)
		}
	})
}
