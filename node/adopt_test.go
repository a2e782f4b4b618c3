package node

import (
	"log/slog"
	"testing"
	"time"

	"github.com/weir-cluster/weir/cluster"
	"github.com/weir-cluster/weir/limiter"
	"github.com/weir-cluster/weir/ring"
)

// owner is the buckets of node n, and the views that are adopted one after the other.
type owner struct {
	*parts
	last *cluster.View
}

func newOwner() *owner {
	p := &parts{cfg: Config{Name: "n", Logger: slog.New(slog.DiscardHandler)}, boot: "b", now: func() time.Time { return time.Unix(1e9, 0) }}
	p.buckets, p.lease = limiter.NewStore(limiter.DefaultConfig()), cluster.NewLease(cluster.LeaseConfig{})
	return &owner{parts: p}
}

// adopted has the home of every partition be the incarnation (of n) since an epoch.
func (o *owner) adopted(epoch, since uint64, name, boot string) {
	v := &cluster.View{Epoch: epoch, Roster: []cluster.Member{{Name: name, Boot: boot}}, Table: new(ring.Table)}
	for p := range v.Table.Since {
		v.Table.Since[p] = since
	}
	o.adopt(o.last, v)
	o.last = v
}

// admits returns how many of 20 requests at once a bucket of 10 admits.
func (o *owner) admits() int {
	l := limiter.Limit{Algorithm: limiter.TokenBucket, Count: 10, Period: time.Hour, Burst: 10}
	n := 0
	for range 20 {
		takes := []limiter.Take{{Key: limiter.Key{Lo: 1}, Limit: &l, Cost: 1}}
		if outcome, _ := o.buckets.Take(7, o.now().UnixNano(), takes); outcome == limiter.Taken {
			n++
		}
	}
	return n
}

func TestWhatANewViewMeansForTheBuckets(t *testing.T) {
	for name, c := range map[string]struct {
		then func(o *owner)
		want int // after ten were taken
	}{
		"kept":                        {func(o *owner) { o.adopted(2, 1, "n", "b") }, 0},
		"lost and back in between":    {func(o *owner) { o.adopted(3, 3, "n", "b") }, 0},
		"lost: a check on its way":    {func(o *owner) { o.adopted(2, 2, "m", "b") }, 0},
		"given to another life":       {func(o *owner) { o.adopted(2, 2, "n", "other") }, 0},
		"lost, then back: no burst":   {func(o *owner) { o.adopted(2, 2, "m", "b"); o.adopted(3, 3, "n", "b") }, 0},
		"the first view of a cluster": {func(o *owner) { o.buckets.Drop(7) }, 10},
	} {
		o := newOwner()
		o.adopted(1, 1, "n", "b")
		if got := o.admits(); got != 10 {
			t.Fatalf("%s: a first start admits %d, want the burst of 10", name, got)
		}
		c.then(o)
		if got := o.admits(); got != c.want {
			t.Errorf("%s: admits %d, want %d", name, got, c.want)
		}
	}
	o := newOwner()
	o.adopted(4, 4, "n", "b")
	if got := o.admits(); got != 0 {
		t.Errorf("who takes over without a copy admits %d, want none until earned", got)
	}
}

func TestWhatIsLostIsForgotten(t *testing.T) {
	o := newOwner()
	o.adopted(1, 1, "n", "b")
	o.admits()
	o.adopted(2, 2, "m", "b")
	if n := o.buckets.Len(); n != 0 {
		t.Errorf("%d buckets are kept for partitions of others", n)
	}
	o = newOwner()
	o.adopted(1, 1, "n", "b")
	o.admits()
	o.adopted(3, 3, "n", "b") // another was home under a view that this node missed
	if n := o.buckets.Len(); n != 0 {
		t.Errorf("%d buckets from before another was home", n)
	}
}
