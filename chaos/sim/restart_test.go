package sim

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weir-cluster/weir/client"
	"github.com/weir-cluster/weir/client/rest"
)

const restartPolicy = `
version: 1
domains:
  d:
    account: [user]
    limits:
      - {name: bucket, key: [user], algorithm: token_bucket, rate: 10/h, burst: 10}
      - {name: window, match: {kind: window}, key: [user], algorithm: fixed_window, limit: 10, window: 1h}
      - {name: quota, match: {kind: quota}, key: [user], algorithm: calendar_window, limit: 10, window: month}
      - {name: log, match: {kind: log}, key: [user], algorithm: rolling_log, limit: 10, window: 1h}
      - {name: slots, match: {kind: slots}, key: [user], algorithm: concurrency, limit: 10, ttl: 30m}
    prices:
      - {per: {requests: 0.0001}}
    order: [included, promo, credit]
`

var restartKinds = [...]string{"window", "quota", "log", "slots"}

// outage is a cluster that is killed and comes back.
type outage struct {
	t *testing.T
	c *cluster
	d *doors
}

func inOutage(t *testing.T, seed uint64, nodes int, body func(o *outage)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		t.Helper()
		c := newCluster(seed, nodes, []byte(restartPolicy), newRecorder(), nodeLogs(t))
		c.network.SetDelay(lanShortest, lanLongest)
		o := &outage{t: t, c: c, d: newDoors(c.network)}
		o.start(c.all()...)
		body(o)
		o.d.close()
		c.close()
		time.Sleep(forgetAfter)
	})
}

// start starts members, and returns when all that run decide by the homes.
func (o *outage) start(members ...*member) {
	o.t.Helper()
	for _, m := range members {
		if err := o.c.start(m); err != nil {
			o.t.Fatal(err)
		}
	}
	if err := until(time.Minute, func() bool {
		for _, m := range members {
			for user := range 20 {
				d, err := o.ask(m, client.CheckRequest{Mode: client.Peek, Attributes: map[string]string{"user": fmt.Sprint("u", user)}})
				if err != nil || d.Reason != "OK" && d.Reason != "RATE_LIMITED" {
					return false
				}
			}
		}
		return true
	}); err != nil {
		o.t.Fatalf("they do not decide: %v", err)
	}
}

func (o *outage) ask(m *member, r client.CheckRequest) (client.Decision, error) {
	o.t.Helper()
	c, err := o.d.rest(m, 5*time.Second)
	if err != nil {
		o.t.Fatal(err)
	}
	r.Domain = "d"
	d, err := c.Check(o.t.Context(), r)
	if p := (*rest.Problem)(nil); errors.As(err, &p) && p.Status == 429 {
		return client.Decision{Verdict: "DENY", Reason: p.Reason}, nil
	}
	return d, err
}

// use asks for a user until refused, at most so often, and returns how often it was not.
func (o *outage) use(user, kind string, most int) (n int) {
	o.t.Helper()
	for range most {
		d, err := o.ask(o.c.all()[0], client.CheckRequest{Attributes: map[string]string{"user": user, "kind": kind}})
		if err != nil {
			o.t.Fatal(err)
		}
		if d.Verdict != "ALLOW" {
			break
		}
		n++
	}
	return n
}

// spend has users take some of what each kind of limit gives, and returns how much.
func (o *outage) spend() map[string]int {
	o.t.Helper()
	used := map[string]int{}
	for i := range 40 {
		user := fmt.Sprint("u", i)
		used[user] = o.use(user, restartKinds[i%len(restartKinds)], i%10)
	}
	return used
}

// wantRest fails unless every user gets what is left, and no more.
func (o *outage) wantRest(used map[string]int) {
	o.t.Helper()
	for i := range 40 {
		user, kind := fmt.Sprint("u", i), restartKinds[i%len(restartKinds)]
		if got, want := o.use(user, kind, 12), 10-used[user]; got != want {
			o.t.Errorf("%s of %s: %d more admitted after %d, want %d", kind, user, got, used[user], want)
		}
	}
}

// kill is a power cut of 30 s, in which no bucket earns one more.
func (o *outage) kill() {
	for _, m := range o.c.all() {
		o.c.crash(m, false)
	}
	time.Sleep(30 * time.Second)
}

// What was used up to a few seconds before is remembered, of every kind of limit; then once more, since what one start took in
// must outlast the next end.
func TestEveryNodeKilledAndStartedGoesOnWhereItWas(t *testing.T) {
	t.Parallel()
	for seed, nodes := range []int{1, 3, 3, 5} {
		t.Run(fmt.Sprint(nodes, " nodes, seed ", seed), func(t *testing.T) {
			t.Parallel()
			inOutage(t, uint64(seed), nodes, func(o *outage) {
				used := o.spend()
				time.Sleep(10 * time.Second)
				for range 2 {
					o.kill()
					o.start(o.c.all()...)
					time.Sleep(15 * time.Second)
				}
				o.wantRest(used)
			})
		})
	}
}

// All are killed, and one stays away. Its deputies' disks have what it had.
func TestOneNodeThatDoesNotComeBackCostsNothing(t *testing.T) {
	t.Parallel()
	inOutage(t, 9, 3, func(o *outage) {
		used := o.spend()
		time.Sleep(10 * time.Second)
		o.kill()
		o.start(o.c.all()[:2]...)
		o.wantRest(used)
	})
}

// All are stopped gracefully right after the last answer, at once or one after the other.
func TestAllNodesStoppedGracefullyForgetNothing(t *testing.T) {
	t.Parallel()
	for _, gap := range []time.Duration{0, 300 * time.Millisecond, 3 * time.Second} {
		inOutage(t, 4, 3, func(o *outage) {
			used := o.spend()
			var stops sync.WaitGroup
			for _, m := range o.c.all() {
				stops.Go(func() { o.c.leave(m) })
				time.Sleep(gap)
			}
			stops.Wait()
			o.start(o.c.all()...)
			o.wantRest(used)
		})
	}
}
