package cluster

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weir-cluster/weir/policy"
)

// silent is a home that cannot be reached.
func silent(uint64) (policy.Decision, error) { return policy.Decision{}, ErrUnreachable }

func (r routed) expects(t *testing.T, q policy.Request, want policy.Reason, home string) policy.Decision {
	t.Helper()
	d, err := r.Check(t.Context(), q)
	if err != nil || d.Reason != want || d.Home != home {
		t.Errorf("%+v, %v, want %v of %s", d, err, want, home)
	}
	return d
}

func TestADeputyDecidesByItsCopyWhenTheHomeIsOutOfReach(t *testing.T) {
	r := newRouted(t, fakePeers{"b:7947": {check: silent}}, nil)
	r.expects(t, r.of(t, "b"), policy.FallbackShare, "a") // it has no copy
	r.tenant.copied = true
	r.expects(t, r.of(t, "b"), policy.FallbackDeputy, "a")
	d, err := r.Deputise(t.Context(), r.of(t, "b"), 1)
	if err != nil || d.Reason != policy.FallbackDeputy {
		t.Errorf("asked by another node: %+v, %v", d, err)
	}
}

func TestADeputyAsksTheHomeFirst(t *testing.T) {
	r := newRouted(t, fakePeers{"b:7947": {check: func(uint64) (policy.Decision, error) {
		return policy.Decision{Verdict: policy.Allow, Reason: policy.OK, Home: "b"}, nil
	}}}, nil)
	r.tenant.copied = true
	d, err := r.Deputise(t.Context(), r.of(t, "b"), 1)
	if err != nil || d.Reason != policy.OK || d.Home != "b" {
		t.Errorf("%+v, %v", d, err)
	}
	d, err = r.Deputise(t.Context(), r.of(t, "a"), 1) // whose home it is by now
	if err != nil || d.Reason != policy.OK || d.Home != "a" {
		t.Errorf("%+v, %v", d, err)
	}
}

func TestTheDeputyIsAskedBrieflyBeforeTheShareDecides(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		decides := func(context.Context) (policy.Decision, error) {
			return policy.Decision{Verdict: policy.Allow, Reason: policy.FallbackDeputy, Home: "c"}, nil
		}
		hangs := func(ctx context.Context) (policy.Decision, error) {
			<-ctx.Done()
			return policy.Decision{}, ctx.Err()
		}
		peers := fakePeers{"b:7947": {check: silent}, "c:7947": {check: silent, deputy: decides}}
		r := newRouted(t, peers, nil)
		q := r.of(t, "b")
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
		r.expects(t, q, policy.FallbackDeputy, "c")
		peers["c:7947"] = fakePeer{check: silent, deputy: hangs}
		began := time.Now()
		r.expects(t, q, policy.FallbackShare, "a")
		if took := time.Since(began); took != deputyWait {
			t.Errorf("after %v", took)
		}
	})
}

func TestAHomeWithoutALeaseDecidesByHalfAndOneThatHasNotBegunNotAtAll(t *testing.T) {
	r := newRouted(t, fakePeers{}, policy.ErrUnavailable)
	r.lease.holds = false
	_, err := r.Decide(t.Context(), r.of(t, "a"), 1)
	if !errors.Is(err, policy.ErrUnavailable) {
		t.Errorf("it has not begun: %v", err)
	}
	r.tenant.begun = true
	if d, err := r.Decide(t.Context(), r.of(t, "a"), 1); err != nil || d.Message != "half" || d.Home != "a" {
		t.Errorf("its lease has ended: %+v, %v", d, err)
	}
	r.lease.holds = true // so what is unavailable is something else
	if _, err := r.Decide(t.Context(), r.of(t, "a"), 1); !errors.Is(err, policy.ErrUnavailable) {
		t.Errorf("it has a lease: %v", err)
	}
}

func TestWhatADeputyTookGoesToTheHome(t *testing.T) {
	r := newRouted(t, fakePeers{}, nil)
	partition := func(member string) uint16 {
		account, err := r.cfg.Policy().Account(r.of(t, member))
		if err != nil {
			t.Fatal(err)
		}
		return account.Partition
	}
	var moved *NotHomeError
	if err := r.Merge(t.Context(), Report{Partition: partition("b"), Epoch: 1}); !errors.As(err, &moved) {
		t.Errorf("not its home: %v", err)
	}
	if err := r.Merge(t.Context(), Report{Partition: partition("a"), Epoch: 1, Source: 9}); err != nil || len(r.tenant.merged) != 1 {
		t.Errorf("%v, merged %v", err, r.tenant.merged)
	}
	r.lease.holds = false
	if err := r.Merge(t.Context(), Report{Partition: partition("a"), Epoch: 1}); !errors.Is(err, policy.ErrUnavailable) {
		t.Errorf("without a lease: %v", err)
	}
}
