package policy

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weir-cluster/weir/ring"
)

// replica is a deputy that has what there is when it is asked, or never confirms. answer, if not nil, is waited for.
type replica struct {
	t      *testing.T
	home   *Records
	keys   int // that a chunk had when the deputy was asked last
	asked  int
	has    bool
	answer chan struct{}
}

func (r *replica) Replicated(_ context.Context, p uint16) bool {
	if r.asked++; p != ring.Partition("llm", "alice") {
		r.t.Errorf("asked of partition %d", p)
	}
	chunk, _ := r.home.Changes(p, 1<<20) // it takes the lock
	if f, err := readChunk(p, chunk); err != nil {
		r.t.Error(err)
	} else {
		r.keys = len(f.firsts)
	}
	if r.answer != nil {
		<-r.answer
	}
	return r.has
}

// deputised returns a home whose deputy is r.
func deputised(t *testing.T, g *rig, next Trier, r *replica) Trier {
	t.Helper()
	rs := g.w.c.Records
	rs.Track(ring.Partition("llm", "alice"), true)
	r.t, r.home = t, rs
	return Idempotent(next, IdempotentConfig{Policy: g.w.c.Policy, Now: g.w.c.Now, Records: rs, Replicated: r.Replicated})
}

func TestAFirstDecisionIsAnsweredWhenTheDeputyHasIt(t *testing.T) {
	t.Parallel()
	for _, has := range []bool{true, false} {
		g := newRig(t, tryPolicy)
		r := &replica{has: has}
		c := deputised(t, g, g.w, r)
		q, d := alice("key=k", "reserve"), Decision{}
		if decided, err := c.Try(&q, &d); decided || err != nil || r.asked > 0 || g.w.c.Records.keys > 0 {
			t.Errorf("tried: %v, %v, the deputy was asked %d times", decided, err, r.asked)
		}
		first, err := c.Check(t.Context(), q)
		if err != nil || first.Unreplicated == has || r.asked != 1 || r.keys != 1 {
			t.Errorf("%+v, %v; the deputy was asked %d times and had %d keys", first, err, r.asked, r.keys)
		}
		if decided, err := c.Try(&q, &d); !decided || err != nil || d.ID != first.ID || d.Unreplicated == has || r.asked != 1 {
			t.Errorf("repeated: %v, %v, %+v", decided, err, d)
		}
		for _, other := range []Request{alice(), alice("key=k", "peek")} {
			if decided, err := c.Try(&other, &d); !decided || err != nil || r.asked != 1 {
				t.Errorf("without a key: %v, %v, the deputy was asked %d times", decided, err, r.asked)
			}
		}
		if decided, err := c.Try(&Request{Domain: "llm", IdempotencyKey: "k"}, &d); !decided || !errors.Is(err, ErrInvalid) {
			t.Errorf("invalid: %v, %v", decided, err)
		}
	}
}

func TestRepetitionsWaitForTheDeputyToo(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, tryPolicy)
		r := &replica{has: true, answer: make(chan struct{})}
		c := deputised(t, g, g.w, r)
		done := make(chan Decision)
		for range 3 {
			go func() {
				d, err := c.Check(t.Context(), alice("key=k"))
				if err != nil {
					t.Error(err)
				}
				done <- d
			}()
		}
		time.Sleep(time.Second)
		q, d := alice("key=k"), Decision{}
		if decided, _ := c.Try(&q, &d); decided || len(done) > 0 {
			t.Errorf("answered before the deputy had it: %v", told(d))
		}
		close(r.answer)
		first := <-done
		for range 2 {
			if again := <-done; again.ID != first.ID {
				t.Error("decided anew")
			}
		}
	})
}

// What is not remembered needs no deputy.
func TestTheDeputyIsNotAskedAboutWhatIsNotRemembered(t *testing.T) {
	t.Parallel()
	g := newRig(t, tryPolicy)
	r := &replica{}
	for _, answer := range []struct {
		d   Decision
		err error
	}{{err: errors.New("no")}, {d: Decision{Reason: LedgerUnavailable}}} {
		c := deputised(t, g, slowly(func(context.Context, Request) (Decision, error) { return answer.d, answer.err }), r)
		d, err := c.Check(t.Context(), alice("key=k"))
		if !errors.Is(err, answer.err) || d.Unreplicated || r.asked > 0 || g.w.c.Records.keys > 0 {
			t.Errorf("%+v, %v; the deputy was asked %d times", d, err, r.asked)
		}
	}
}
