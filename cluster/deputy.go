package cluster

import (
	"context"
	"fmt"
	"time"

	"github.com/weir-cluster/weir/policy"
)

// deputyWait bounds how long a check waits for the deputy, and the deputy for the home.
const deputyWait = 100 * time.Millisecond

// deputy has the deputy of a partition decide, whose home this node cannot reach. Its errors are of no interest: they mean that
// it did not.
func (r *Router) deputy(ctx context.Context, q policy.Request, partition uint16) (policy.Decision, error) {
	v := r.cfg.Views.Current()
	if v == nil {
		return policy.Decision{}, fmt.Errorf("%w: this node knows no view yet", policy.ErrUnavailable)
	}
	deputy, ok := v.Deputy(partition)
	if !ok {
		deputy, ok = v.Next(partition)
	}
	switch {
	case !ok:
		return policy.Decision{}, fmt.Errorf("%w: partition %d has no deputy", policy.ErrUnavailable, partition)
	case r.self(&deputy):
		return r.copied(ctx, q, partition)
	}
	if left, some := early(ctx); some && left <= 0 {
		return policy.Decision{}, fmt.Errorf("%w: no time is left for the deputy", policy.ErrUnavailable)
	}
	ctx, cancel := context.WithTimeout(ctx, deputyWait)
	defer cancel()
	return r.cfg.Peers.Peer(deputy.Peer).Deputise(ctx, q, v.Epoch)
}

// Deputise decides for another node that cannot reach the home: it asks the home, and if it does not reach it either it
// decides by its copy. Its errors mean that nothing was decided here.
func (r *Router) Deputise(ctx context.Context, q policy.Request, epoch uint64) (policy.Decision, error) {
	_, account, err := r.account(&q)
	if err != nil {
		return policy.Decision{}, err
	}
	if r.cfg.Views.Epoch() < epoch {
		r.cfg.Keeper.Catch(ctx, epoch)
	}
	v := r.cfg.Views.Current()
	if v == nil {
		return policy.Decision{}, &NotHomeError{}
	}
	home, ok := v.Home(account.Partition)
	if ok && r.self(&home) {
		return r.decide(ctx, q, account.Partition, v.Epoch)
	}
	if ok {
		asking, cancel := context.WithTimeout(ctx, deputyWait/2)
		d, err := r.cfg.Peers.Peer(home.Peer).Check(asking, q, v.Epoch)
		cancel()
		if err == nil || !undecided(err) {
			return d, err
		}
	}
	return r.copied(ctx, q, account.Partition)
}

// copied decides by this node's copy of a partition.
func (r *Router) copied(ctx context.Context, q policy.Request, partition uint16) (policy.Decision, error) {
	v := r.cfg.Views.Current()
	if !r.cfg.Tenant.Copied(partition) {
		return policy.Decision{}, fmt.Errorf("%w: no copy of partition %d is here", policy.ErrUnavailable, partition)
	}
	d, err := r.cfg.Fallback.Deputise(context.WithoutCancel(ctx), q)
	d.Home, d.Epoch = r.cfg.Name, v.Epoch
	return d, err
}

// Merge takes in what a deputy took for this node, or returns a NotHomeError.
func (r *Router) Merge(ctx context.Context, m Report) error {
	if _, err := r.asHome(ctx, m.Partition, m.Epoch); err != nil {
		return err
	}
	if !r.cfg.Lease.Wait(ctx, m.Partition) {
		return fmt.Errorf("%w: the home of partition %d has no lease", policy.ErrUnavailable, m.Partition)
	}
	return r.cfg.Tenant.Merge(m)
}
