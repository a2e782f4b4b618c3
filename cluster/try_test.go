package cluster

import (
	"context"
	"errors"
	"testing"

	"github.com/weir-cluster/weir/policy"
)

func TestOnlyWhatIsAtHomeHereIsDecidedAtOnce(t *testing.T) {
	r := newRouted(t, fakePeers{}, nil)
	mine, other := r.of(t, "a"), r.of(t, "b")
	var d policy.Decision
	if decided, err := r.Try(&mine, &d); !decided || err != nil || d.Message != "at once" || d.Home != "a" || d.Epoch != 1 {
		t.Errorf("at home: %v, %+v, %v", decided, d, err)
	}
	if decided, err := r.TryHere(&mine, 1, &d); !decided || err != nil || d.Home != "a" || d.Epoch != 1 {
		t.Errorf("at home, for another node: %v, %+v, %v", decided, d, err)
	}
	if decided, err := r.Try(&other, &d); decided || err != nil {
		t.Errorf("elsewhere: %v, %v", decided, err)
	}
	if decided, err := r.TryHere(&other, 1, &d); decided || err != nil {
		t.Errorf("elsewhere, for another node: %v, %v", decided, err)
	}
	if decided, err := r.TryHere(&mine, 2, &d); decided || err != nil {
		t.Errorf("for a node that is ahead: %v, %v", decided, err)
	}
	if decided, err := r.Try(&policy.Request{Domain: "nowhere"}, &d); !decided || !errors.Is(err, policy.ErrInvalid) {
		t.Errorf("an unknown domain: %v, %v", decided, err)
	}
	r.cfg.Boot = "second"
	if decided, err := r.Try(&mine, &d); decided || err != nil {
		t.Errorf("at home in an earlier life: %v, %v", decided, err)
	}
}

// What could not be decided is left to Check, which applies the fallback; an answer that is an error is one.
func TestTryLeavesTheFallbackToCheck(t *testing.T) {
	for trouble, decides := range map[error]bool{policy.ErrUnavailable: false, context.DeadlineExceeded: false, policy.ErrInvalid: true, policy.ErrConflict: true} {
		r := newRouted(t, fakePeers{}, trouble)
		q := r.of(t, "a")
		var d policy.Decision
		if decided, err := r.Try(&q, &d); decided != decides || decides != errors.Is(err, trouble) {
			t.Errorf("%v: %v, %v", trouble, decided, err)
		}
	}
	r := newRouted(t, fakePeers{}, nil)
	q := r.of(t, "a")
	r.cfg.Policy = func() *policy.Policy { return nil }
	if decided, err := r.Try(&q, &policy.Decision{}); decided || err != nil {
		t.Errorf("without a policy: %v, %v", decided, err)
	}
	r.cfg.Views = NewViews(nil)
	if decided, err := r.Try(&q, &policy.Decision{}); decided || err != nil {
		t.Errorf("without a view: %v, %v", decided, err)
	}
	if decided, err := r.TryHere(&q, 0, &policy.Decision{}); decided || err != nil {
		t.Errorf("without a view, for another node: %v, %v", decided, err)
	}
}

// overtaken is a home that decides after the view has changed to next.
type overtaken struct {
	Decider
	views *Views
	next  *View
}

func (o overtaken) Try(q *policy.Request, d *policy.Decision) (bool, error) {
	if _, err := o.views.Learn(o.next); err != nil {
		return true, err
	}
	return o.Decider.Try(q, d)
}

func (o overtaken) Check(ctx context.Context, q policy.Request) (policy.Decision, error) {
	if _, err := o.views.Learn(o.next); err != nil {
		return policy.Decision{}, err
	}
	return o.Decider.Check(ctx, q)
}

// A home that waited for a lease decides under the view that brought it.
func TestADecisionTellsTheEpochThatItWasMadeUnder(t *testing.T) {
	for _, wants := range []struct {
		leaves string
		epoch  uint64
	}{{"b", 2}, {"a", 1}} {
		for what, decide := range map[string]func(r routed, q policy.Request) (policy.Decision, error){
			"check":  func(r routed, q policy.Request) (policy.Decision, error) { return r.Check(t.Context(), q) },
			"decide": func(r routed, q policy.Request) (policy.Decision, error) { return r.Decide(t.Context(), q, 1) },
			"try": func(r routed, q policy.Request) (d policy.Decision, err error) {
				_, err = r.Try(&q, &d)
				return d, err
			},
		} {
			r := newRouted(t, fakePeers{}, nil)
			mine := r.of(t, "a")
			both := []Sighting{sighted("a", "1"), sighted("b", "2")}
			for i := range both {
				both[i].Leaving = both[i].Name == wants.leaves
			}
			r.cfg.Home = overtaken{r.cfg.Home, r.views, grown(t, r.views.Current(), both...)}
			if d, err := decide(r, mine); err != nil || d.Home != "a" || d.Epoch != wants.epoch {
				t.Errorf("%s while %s leaves: home %s, epoch %d, %v, want epoch %d", what, wants.leaves, d.Home, d.Epoch, err, wants.epoch)
			}
		}
	}
}
