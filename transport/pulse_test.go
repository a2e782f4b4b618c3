package transport

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	weirv1 "github.com/weir-cluster/weir/api/weir/v1"
	"github.com/weir-cluster/weir/chaos/simnet"
	"github.com/weir-cluster/weir/cluster"
	"github.com/weir-cluster/weir/policy"
)

// patiently says how a check went and how long it took.
func patiently(t *testing.T, p *Peers, patience time.Duration) (took time.Duration, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	began := time.Now()
	_, err = p.Peer("10.0.0.1:1").Check(ctx, policy.Request{}, 1)
	return time.Since(began), err
}

func TestAPeerThatHangsIsGivenUpSoonAndTriedUntilItIsBack(t *testing.T) {
	var network *simnet.Network
	keep := func(seed uint64) *simnet.Network {
		network = simnet.New(seed)
		return network
	}
	allow := &weirv1.Outcome{Decision: &weirv1.Decision{Verdict: weirv1.Verdict_VERDICT_ALLOW}}
	connectedBy(t, keep, allow, func(t *testing.T, p *Peers, stop context.CancelFunc) {
		if took, err := patiently(t, p, time.Second); err != nil {
			t.Fatal(took, err)
		}
		time.Sleep(time.Minute) // an idle peer is not asked
		network.Pause("10.0.0.1")
		if took, err := patiently(t, p, 10*time.Second); !errors.Is(err, cluster.ErrUnreachable) || took > pulseWait+pulseTimeout {
			t.Errorf("the first: %v after %v", err, took)
		}
		synctest.Wait()
		if took, err := patiently(t, p, 10*time.Second); !errors.Is(err, cluster.ErrUnreachable) || took > 0 {
			t.Errorf("the next: %v after %v", err, took)
		}
		time.Sleep(10 * time.Second)
		network.Resume("10.0.0.1")
		time.Sleep(3 * time.Second)
		if took, err := patiently(t, p, time.Second); err != nil {
			t.Errorf("it is back: %v after %v", err, took)
		}
		stop()
	})
}

func TestAPeerThatIsSlowButThereIsWaitedFor(t *testing.T) {
	connected(t, nil, func(t *testing.T, p *Peers, stop context.CancelFunc) { // it answers no check
		if took, err := patiently(t, p, 5*time.Second); !errors.Is(err, context.DeadlineExceeded) && took != 5*time.Second {
			t.Errorf("%v after %v", err, took)
		}
		stop()
	})
}
