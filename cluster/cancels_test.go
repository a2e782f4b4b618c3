package cluster

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weir-cluster/weir/policy"
)

// cancelling runs body with a router of a and its Cancels. b is home of what is asked, and c deputy if there is one.
func cancelling(t *testing.T, peers fakePeers, body func(t *testing.T, r routed, q policy.Request)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		t.Helper()
		r := newRouted(t, peers, nil)
		q := r.of(t, "b")
		if _, some := peers["c:7947"]; some {
			account, err := r.cfg.Policy().Account(q)
			if err != nil {
				t.Fatal(err)
			}
			v := grown(t, r.views.Current(), sighted("a", "1"), sighted("b", "2"), sighted("c", "3"))
			table := *v.Table
			table.Homes[account.Partition], table.Deputies[account.Partition] = uint16(v.Find("b")), uint16(v.Find("c"))
			v.Table = &table
			if _, err := r.views.Learn(v); err != nil {
				t.Fatal(err)
			}
		}
		ctx, end := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- r.cfg.Cancels.Run(ctx) }()
		body(t, r, q)
		end()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func (r routed) answers(t *testing.T, q policy.Request, want policy.Reason) {
	t.Helper()
	if d, err := r.Check(t.Context(), q); err != nil || d.Reason != want {
		t.Errorf("%+v, %v, want %v", d, err, want)
	}
	time.Sleep(cancelAgain / 2)
}

func TestAHomeIsToldOfAnAnswerThatAnotherGave(t *testing.T) {
	home := &calls{}
	cancelling(t, fakePeers{"b:7947": {check: silent, asked: home}}, func(t *testing.T, r routed, q policy.Request) {
		r.answers(t, q, policy.FallbackShare)
		r.answers(t, q, policy.FallbackShare)
		if !slices.Equal(home.checks, []uint64{101, 102}) || !slices.Equal(home.undone(), home.checks) {
			t.Errorf("asked for %v, cancelled %v", home.checks, home.undone())
		}
	})
}

func TestADeputyIsAskedByTheIDOfTheHome(t *testing.T) {
	for reason, want := range map[policy.Reason]bool{policy.OK: false, policy.RateLimited: false, policy.FallbackDeputy: true} {
		home, deputy := &calls{}, &calls{}
		decides := func(context.Context) (policy.Decision, error) { return policy.Decision{Reason: reason}, nil }
		cancelling(t, fakePeers{"b:7947": {check: silent, asked: home}, "c:7947": {deputy: decides, asked: deputy}}, func(t *testing.T, r routed, q policy.Request) {
			r.answers(t, q, reason)
			if !slices.Equal(home.checks, []uint64{101}) || !slices.Equal(deputy.deputies, home.checks) || (len(home.undone()) > 0) != want {
				t.Errorf("%v: home asked for %v, deputy for %v, cancelled %v", reason, home.checks, deputy.deputies, home.undone())
			}
		})
	}
}

func TestNothingIsCancelledThatWasNotAskedOrWasAnswered(t *testing.T) {
	for name, check := range map[string]func(uint64) (policy.Decision, error){
		"answered":     func(uint64) (policy.Decision, error) { return policy.Decision{Reason: policy.OK}, nil },
		"not decided":  func(uint64) (policy.Decision, error) { return policy.Decision{}, policy.ErrUnavailable },
		"an error":     func(uint64) (policy.Decision, error) { return policy.Decision{}, policy.ErrConflict },
		"another home": func(uint64) (policy.Decision, error) { return policy.Decision{}, &NotHomeError{} },
	} {
		home := &calls{}
		cancelling(t, fakePeers{"b:7947": {check: check, asked: home}}, func(t *testing.T, r routed, q policy.Request) {
			_, _ = r.Check(t.Context(), q)
			_, _ = r.Check(t.Context(), r.of(t, "a"))
			time.Sleep(cancelFor)
			if len(home.undone()) > 0 {
				t.Errorf("%s: cancelled %v", name, home.undone())
			}
		})
	}
}

func TestACheckThatCameBackIsCancelledByItsID(t *testing.T) {
	home := &calls{}
	cancelling(t, fakePeers{"b:7947": {check: silent, asked: home}}, func(t *testing.T, r routed, q policy.Request) {
		q.ID = 7
		if d, err := r.Resume(t.Context(), q, ErrUnreachable); err != nil || d.Reason != policy.FallbackShare {
			t.Errorf("%+v, %v", d, err)
		}
		time.Sleep(cancelAgain / 2)
		if len(home.checks) > 0 || !slices.Equal(home.undone(), []uint64{7}) {
			t.Errorf("asked for %v, cancelled %v", home.checks, home.undone())
		}
		q.ID = 8
		if _, err := r.Resume(t.Context(), q, &NotHomeError{}); err != nil || !slices.Equal(home.checks, []uint64{8}) {
			t.Errorf("asked again for %v: %v", home.checks, err)
		}
	})
}

func TestAHomeOutOfReachIsToldForAsLongAsItRemembers(t *testing.T) {
	home := &calls{down: true}
	cancelling(t, fakePeers{"b:7947": {check: silent, asked: home}}, func(t *testing.T, r routed, q policy.Request) {
		r.answers(t, q, policy.FallbackShare)
		time.Sleep(cancelFor / 2)
		r.answers(t, q, policy.FallbackShare)
		time.Sleep(cancelFor * 3 / 4)
		home.cut(false)
		time.Sleep(cancelFor)
		if !slices.Equal(home.undone(), []uint64{102}) {
			t.Errorf("cancelled %v", home.undone())
		}
		home.cut(true)
		for id := range uint64(cancelsMax + 10) {
			r.cfg.Cancels.Add(id, 1)
		}
		r.cfg.Cancels.mu.Lock()
		defer r.cfg.Cancels.mu.Unlock()
		if n := len(r.cfg.Cancels.due); n > cancelsMax {
			t.Errorf("%d wait", n)
		}
	})
}

func TestARouterForwardsByAnIDOfItsOwn(t *testing.T) {
	to := &forwarded{err: errors.New("lost")}
	r := newRouted(t, onePeer{to}, nil)
	q := r.of(t, "b")
	var ids []uint64
	for range 2 {
		r.Forward(t.Context(), &q, "", time.Second, func(c Carried, _ error) { ids = append(ids, c.ID) })
	}
	if !slices.Equal(ids, []uint64{101, 102}) {
		t.Errorf("ids %v", ids)
	}
}
