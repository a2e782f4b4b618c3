package cluster

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weir-cluster/weir/policy"
)

func TestTheHomeDecidesHere(t *testing.T) {
	r := newRouted(t, fakePeers{}, nil)
	d, err := r.Check(t.Context(), r.of(t, "a"))
	if err != nil || d.Home != "a" || d.Epoch != 1 {
		t.Errorf("%+v, %v", d, err)
	}
}

func TestACheckIsForwardedOnceWithTheEpoch(t *testing.T) {
	asked := []uint64{}
	r := newRouted(t, fakePeers{"b:7947": {check: func(epoch uint64) (policy.Decision, error) {
		asked = append(asked, epoch)
		return policy.Decision{Verdict: policy.Allow, Home: "b"}, nil
	}}}, nil)
	d, err := r.Check(t.Context(), r.of(t, "b"))
	if err != nil || d.Home != "b" || len(asked) != 1 || asked[0] != 1 {
		t.Errorf("%+v, %v, asked under epochs %v", d, err, asked)
	}
}

func TestANewerViewOfTheWrongHomeIsLearntAndFollowed(t *testing.T) {
	var next *View
	asked := 0
	r := newRouted(t, fakePeers{"b:7947": {check: func(uint64) (policy.Decision, error) {
		asked++
		return policy.Decision{}, &NotHomeError{View: next.Encode()}
	}}}, nil)
	next = grown(t, r.views.Current(), sighted("a", "1")) // b is gone: all is at home here
	d, err := r.Check(t.Context(), r.of(t, "b"))
	if err != nil || d.Home != "a" || d.Epoch != 2 || asked != 1 {
		t.Errorf("%+v, %v, asked %d times", d, err, asked)
	}
}

func TestAHomeThatIsGoneIsFollowedByTheNewOne(t *testing.T) {
	var r routed
	r = newRouted(t, fakePeers{"b:7947": {check: func(uint64) (policy.Decision, error) {
		if _, err := r.views.Learn(grown(t, r.views.Current(), sighted("a", "1"))); err != nil { // b is gone
			t.Error(err)
		}
		return policy.Decision{}, ErrUnreachable
	}}}, nil)
	if d, err := r.Check(t.Context(), r.of(t, "b")); err != nil || d.Home != "a" || d.Epoch != 2 || d.Reason != policy.OK {
		t.Errorf("%+v, %v", d, err)
	}
}

func TestARefusalToBeHomeIsAskedAFewTimesAtMost(t *testing.T) {
	asked := 0
	r := newRouted(t, fakePeers{"b:7947": {check: func(uint64) (policy.Decision, error) {
		asked++
		return policy.Decision{}, &NotHomeError{}
	}}}, nil)
	d, err := r.Check(t.Context(), r.of(t, "b"))
	if err != nil || d.Reason != policy.FallbackShare || asked != routeTries {
		t.Errorf("%+v, %v, asked %d times", d, err, asked)
	}
}

func TestAnUnreachableHomeMeansFallback(t *testing.T) {
	r := newRouted(t, fakePeers{"b:7947": {check: func(uint64) (policy.Decision, error) {
		return policy.Decision{}, ErrUnreachable
	}}}, nil)
	d, err := r.Check(t.Context(), r.of(t, "b"))
	if err != nil || d.Reason != policy.FallbackShare || d.Home != "a" || len(r.fallback.nodes) != 1 || r.fallback.nodes[0] != 2 {
		t.Errorf("%+v, %v, asked for %v nodes", d, err, r.fallback.nodes)
	}
}

func TestAnAnswerThatIsAnErrorIsNobodysFallback(t *testing.T) {
	tooOld := errors.New("the ledger's word for a key from before its memory")
	for _, answer := range []error{policy.ErrInvalid, policy.ErrConflict, tooOld} {
		r := newRouted(t, fakePeers{"b:7947": {check: func(uint64) (policy.Decision, error) {
			return policy.Decision{}, fmt.Errorf("from the home: %w", answer)
		}}}, answer)
		for _, home := range []string{"a", "b"} {
			if _, err := r.Check(t.Context(), r.of(t, home)); !errors.Is(err, answer) {
				t.Errorf("%v at home %s: %v", answer, home, err)
			}
		}
		if _, err := r.Check(t.Context(), policy.Request{Domain: "nowhere"}); !errors.Is(err, policy.ErrInvalid) {
			t.Errorf("unknown domain: %v", err)
		}
		if len(r.fallback.nodes) != 0 {
			t.Errorf("%v: the fallback was asked", answer)
		}
	}
}

func TestWhatNobodyDecidedGoesToTheFallback(t *testing.T) {
	for _, trouble := range []error{policy.ErrUnavailable, ErrUnreachable, context.DeadlineExceeded} {
		r := newRouted(t, fakePeers{}, trouble)
		if d, err := r.Check(t.Context(), r.of(t, "a")); err != nil || d.Reason != policy.FallbackShare {
			t.Errorf("%v: %+v, %v", trouble, d, err)
		}
	}
}

func TestDecideNeverForwards(t *testing.T) {
	r := newRouted(t, fakePeers{}, nil)
	var moved *NotHomeError
	if _, err := r.Decide(t.Context(), r.of(t, "b"), 1); !errors.As(err, &moved) || moved.View != nil {
		t.Errorf("same epoch: %v", err)
	}
	if _, err := r.Decide(t.Context(), r.of(t, "b"), 0); !errors.As(err, &moved) || moved.View == nil {
		t.Errorf("the asker is behind, so it must get the view: %v", err)
	}
	if d, err := r.Decide(t.Context(), r.of(t, "a"), 1); err != nil || d.Home != "a" {
		t.Errorf("as home: %+v, %v", d, err)
	}
}

// An incarnation that ended must not decide for one that has its name.
func TestAnotherBootIsNotThisNode(t *testing.T) {
	r := newRouted(t, fakePeers{}, nil)
	r.cfg.Boot = "other"
	var moved *NotHomeError
	if _, err := r.Decide(t.Context(), r.of(t, "a"), 1); !errors.As(err, &moved) {
		t.Errorf("decided as home: %v", err)
	}
}

// hanging is peers that answer nothing until the asker's time is up.
type hanging struct{}

func (hanging) Peer(string) Peer { return hangingPeer{} }

type hangingPeer struct{ Peer }

func (hangingPeer) Check(ctx context.Context, _ policy.Request, _ uint64) (policy.Decision, error) {
	<-ctx.Done()
	return policy.Decision{}, fmt.Errorf("%w: %w", ErrUnreachable, ctx.Err())
}

func TestAHomeThatHangsIsWaitedForOnlySoLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRouted(t, hanging{}, nil)
		began := time.Now()
		if d, err := r.Check(t.Context(), r.of(t, "b")); err != nil || d.Reason != policy.FallbackShare || time.Since(began) != time.Second {
			t.Errorf("%+v, %v after %s", d, err, time.Since(began))
		}
	})
}

// A fallback is worth most when the time is up; only who has gone away needs none.
func TestTheFallbackOutlivesADeadlineButNotItsCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRouted(t, hanging{}, nil)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		if d, err := r.Check(ctx, r.of(t, "b")); err != nil || d.Reason != policy.FallbackShare {
			t.Errorf("in time: %+v, %v", d, err)
		}
		gone, leave := context.WithCancel(t.Context())
		leave()
		if _, err := r.Check(gone, r.of(t, "b")); !errors.Is(err, context.Canceled) || len(r.fallback.nodes) != 1 {
			t.Errorf("the caller has gone: %v, %d fallbacks", err, len(r.fallback.nodes))
		}
	})
}

// What cannot be encoded, or is huge, would break the stream that carries everybody's checks.
func TestAnInvalidRequestIsNotForwarded(t *testing.T) {
	r := newRouted(t, fakePeers{"b:7947": {check: func(uint64) (policy.Decision, error) {
		t.Error("forwarded")
		return policy.Decision{}, ErrUnreachable
	}}}, nil)
	for name, a := range map[string]policy.Attribute{
		"not UTF-8": {Name: "x", Value: "\xff"}, "huge": {Name: "x", Value: strings.Repeat("x", 1<<20)},
	} {
		q := r.of(t, "b")
		q.Attributes = append(q.Attributes, a)
		if _, err := r.Check(t.Context(), q); !errors.Is(err, policy.ErrInvalid) || len(r.fallback.nodes) != 0 {
			t.Errorf("%s: %v, %d fallbacks", name, err, len(r.fallback.nodes))
		}
	}
}

func TestAHomeThatSendsNoViewOfOursMeansFallback(t *testing.T) {
	for name, view := range map[string][]byte{"broken": []byte("{"), "of another cluster": grown(t, nil, sighted("x", "9")).Encode()} {
		r := newRouted(t, fakePeers{"b:7947": {check: func(uint64) (policy.Decision, error) {
			return policy.Decision{}, &NotHomeError{View: view}
		}}}, nil)
		if d, err := r.Check(t.Context(), r.of(t, "b")); err != nil || d.Reason != policy.FallbackShare {
			t.Errorf("a view that is %s: %+v, %v", name, d, err)
		}
	}
}

func TestANodeBehindItsAskerCatchesUpFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRouted(t, fakePeers{}, nil)
		q := r.of(t, "b")
		next := grown(t, r.views.Current(), sighted("a", "1"))
		go func() {
			time.Sleep(catchWait / 2)
			_, _ = r.views.Learn(next)
		}()
		if d, err := r.Decide(t.Context(), q, 2); err != nil || d.Epoch != 2 {
			t.Errorf("%+v, %v", d, err)
		}
		var moved *NotHomeError
		began := time.Now()
		r.cfg.Name = "elsewhere"
		if _, err := r.Decide(t.Context(), q, 9); !errors.As(err, &moved) || time.Since(began) != catchWait {
			t.Errorf("a view that does not come: %v after %s", err, time.Since(began))
		}
	})
}

// The roster names this node, but an earlier life of it: nobody here may decide for that one.
func TestARestartedNodeAsksInsteadOfDecidingForItsOldLife(t *testing.T) {
	asked := 0
	r := newRouted(t, fakePeers{"a:7947": {check: func(uint64) (policy.Decision, error) {
		asked++
		return policy.Decision{}, &NotHomeError{}
	}}}, nil)
	r.cfg.Boot = "second"
	if d, err := r.Check(t.Context(), r.of(t, "a")); err != nil || d.Reason != policy.FallbackShare || asked == 0 {
		t.Errorf("%+v, %v", d, err)
	}
}

// A caller whose home is gone must still hear what holds without it, so the answer leaves before its time is up.
func TestTheFallbackArrivesWithinTheDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRouted(t, hanging{}, nil)
		for _, c := range []struct{ left, after time.Duration }{
			{8 * time.Millisecond, 7 * time.Millisecond},
			{10 * time.Millisecond, 8 * time.Millisecond},
			{50 * time.Millisecond, 43750 * time.Microsecond},
			{800 * time.Millisecond, 700 * time.Millisecond},
			{10 * time.Second, time.Second}, // the wait for another node is bounded by itself
		} {
			ctx, cancel := context.WithTimeout(t.Context(), c.left)
			began := time.Now()
			d, err := r.Check(ctx, r.of(t, "b"))
			if err != nil || d.Reason != policy.FallbackShare || time.Since(began) != c.after {
				t.Errorf("with %s: %+v, %v after %s, want %s", c.left, d, err, time.Since(began), c.after)
			}
			cancel()
		}
	})
}

// waiting is a home that waits until its time is up, as for a ledger that is gone.
type waiting struct{ fakeHome }

func (waiting) Check(ctx context.Context, _ policy.Request) (policy.Decision, error) {
	<-ctx.Done()
	return policy.Decision{Reason: policy.LedgerUnavailable}, nil
}

func TestAHomeThatWaitsInVainAnswersWithinTheDeadlineOfItsAsker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRouted(t, fakePeers{}, nil)
		r.cfg.Home = waiting{}
		ctx, cancel := context.WithTimeout(t.Context(), 80*time.Millisecond)
		defer cancel()
		began := time.Now()
		if d, err := r.Decide(ctx, r.of(t, "a"), 1); err != nil || d.Reason != policy.LedgerUnavailable || time.Since(began) != 70*time.Millisecond {
			t.Errorf("%+v, %v after %s", d, err, time.Since(began))
		}
	})
}

// forwarded is a fakePeer that notes what it is to pass on, and answers.
type forwarded struct {
	fakePeer
	said []string
	err  error
}

func (p *forwarded) Forward(_ context.Context, id uint64, encoded string, epoch uint64, wait time.Duration, answer func(Carried, error)) {
	p.said = append(p.said, fmt.Sprint(encoded, " ", epoch, " ", wait))
	answer(Carried{ID: id, Encoded: []byte("decision")}, p.err)
}

type onePeer struct{ peer Peer }

func (p onePeer) Peer(string) Peer { return p.peer }

func TestACheckIsForwardedWithTheEpochAndInTime(t *testing.T) {
	for left, want := range map[time.Duration]string{
		8 * time.Millisecond: "7ms", 10 * time.Millisecond: "8ms", 50 * time.Millisecond: "43.75ms", 800 * time.Millisecond: "700ms",
		10 * time.Second: "1s", // the wait for another node is bounded by itself
	} {
		to := &forwarded{}
		r := newRouted(t, onePeer{to}, nil)
		q, heard := r.of(t, "b"), ""
		ok := r.Forward(t.Context(), &q, "encoded", left, func(c Carried, err error) { heard = fmt.Sprint(string(c.Encoded), err) })
		if !ok || heard != "decision<nil>" || fmt.Sprint(to.said) != "[encoded 1 "+want+"]" {
			t.Errorf("with %s: %v, heard %s, sent %v", left, ok, heard, to.said)
		}
	}
}

func TestOnlyWhatIsSurelyElsewhereIsForwarded(t *testing.T) {
	none := func(Carried, error) { t.Error("answered") }
	to := &forwarded{}
	r := newRouted(t, onePeer{to}, nil)
	here, there := r.of(t, "a"), r.of(t, "b")
	refused := func(why string, q policy.Request) {
		t.Helper()
		if r.Forward(t.Context(), &q, "encoded", time.Second, none) || len(to.said) > 0 {
			t.Errorf("%s: forwarded %v", why, to.said)
		}
	}
	refused("at home here", here)
	refused("an unknown domain", policy.Request{Domain: "nowhere"})
	refused("no account", policy.Request{Domain: "d"})
	whole := r.cfg
	r.cfg.Policy = func() *policy.Policy { return nil }
	refused("no policy", there)
	r.cfg = whole
	r.cfg.Views = NewViews(nil)
	refused("no view", there)
}

// What comes back from a home goes on as if Check had asked and heard it.
func TestResumeGoesOnFromWhatWasHeard(t *testing.T) {
	for _, c := range []struct {
		name   string
		heard  error
		gone   bool // b, by the view that comes with a refusal
		answer string
		asked  int
	}{
		{"unreachable", fmt.Errorf("%w: %w", ErrUnreachable, context.DeadlineExceeded), false, "FALLBACK_SHARE a", 0},
		{"unavailable", policy.ErrUnavailable, false, "FALLBACK_SHARE a", 0},
		{"an answer that is an error", policy.ErrConflict, false, "error", 0},
		{"not the home, and nothing newer", &NotHomeError{}, false, "OK b", 1},
		{"not the home, by a newer view", &NotHomeError{}, true, "OK a", 0},
		{"not the home, by a view that cannot be read", &NotHomeError{View: []byte("{")}, false, "FALLBACK_SHARE a", 0},
	} {
		asked := 0
		r := newRouted(t, fakePeers{"b:7947": {check: func(uint64) (policy.Decision, error) {
			asked++
			return policy.Decision{Verdict: policy.Allow, Reason: policy.OK, Home: "b"}, nil
		}}}, nil)
		q := r.of(t, "b")
		if c.gone {
			c.heard = &NotHomeError{View: grown(t, r.views.Current(), sighted("a", "1")).Encode()}
		}
		d, err := r.Resume(t.Context(), q, c.heard)
		got := fmt.Sprint(d.Reason, " ", d.Home)
		if err != nil {
			got = "error"
		}
		if got != c.answer || asked != c.asked || err != nil && !errors.Is(err, c.heard) {
			t.Errorf("%s: %s, %v, asked %d times, want %s", c.name, got, err, asked, c.answer)
		}
	}
}

func TestResumeAsksAFewTimesMoreAtMost(t *testing.T) {
	asked := 0
	r := newRouted(t, fakePeers{"b:7947": {check: func(uint64) (policy.Decision, error) {
		asked++
		return policy.Decision{}, &NotHomeError{}
	}}}, nil)
	if d, err := r.Resume(t.Context(), r.of(t, "b"), &NotHomeError{}); err != nil || d.Reason != policy.FallbackShare || asked != routeTries {
		t.Errorf("%+v, %v, asked %d times", d, err, asked)
	}
	gone, leave := context.WithCancel(t.Context())
	leave()
	if _, err := r.Resume(gone, r.of(t, "b"), ErrUnreachable); !errors.Is(err, ErrUnreachable) || len(r.fallback.nodes) != 1 {
		t.Errorf("the caller has gone: %v, %d fallbacks", err, len(r.fallback.nodes))
	}
}
