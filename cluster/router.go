package cluster

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync/atomic"
	"time"

	"github.com/weir-cluster/weir/policy"
)

// Decider decides the accounts that this node is home of.
type Decider interface {
	policy.Trier
	Settle(ctx context.Context, s policy.Settlement) (policy.Settled, error)
}

// Fallback decides for a home that cannot; a *policy.Fallback is one.
type Fallback interface {
	// Check decides on this node's share of the limits; nodes is the size of the roster.
	Check(ctx context.Context, r policy.Request, nodes int) (policy.Decision, error)
	// Deputise decides by this node's copy of what the home has, Leaseless as the home itself that has no lease.
	Deputise(ctx context.Context, r policy.Request) (policy.Decision, error)
	Leaseless(ctx context.Context, r policy.Request) (policy.Decision, error)
}

// Tenant is what a Router must know of this node's part in partitions; a *Copies is one.
type Tenant interface {
	// Begun says whether this node has begun to be home of a partition, since an epoch, and was not told that it ended.
	Begun(partition uint16, since uint64) bool
	// Copied says whether this node has a copy of a partition that it may decide by while the home cannot be reached.
	Copied(partition uint16) bool
	// Merge takes in what a deputy took for this node.
	Merge(r Report) error
}

// RouterConfig is what a Router needs.
type RouterConfig struct {
	Name, Boot string // of this node
	Views      *Views
	Peers      Peers
	Keeper     *Keeper
	Policy     func() *policy.Policy
	Home       Decider
	Lease      policy.Lease
	Tenant     Tenant
	Fallback   Fallback
	Cancels    *Cancels
	Source     uint64 // random: the ids of different processes must differ
	// ForwardTimeout bounds the wait for another node. Past it the fallback decides.
	ForwardTimeout time.Duration
}

// Router sends each check to the home of its account: here, or one hop away. It alone turns "could not
// decide" into the policy's fallback. It is safe for concurrent use.
type Router struct {
	cfg RouterConfig
	ids atomic.Uint64 // the newest id of a check that was sent to another node
}

var _ policy.Checker = (*Router)(nil)

// NewRouter returns a Router.
func NewRouter(cfg RouterConfig) *Router {
	r := &Router{cfg: cfg}
	r.ids.Store(cfg.Source)
	return r
}

// Check decides a request that reached this node from outside the cluster.
func (r *Router) Check(ctx context.Context, q policy.Request) (policy.Decision, error) {
	return r.check(ctx, q, nil)
}

// account returns whom a request is decided for.
func (r *Router) account(q *policy.Request) (*policy.Policy, policy.Account, error) {
	p := r.cfg.Policy()
	if p == nil {
		return nil, policy.Account{}, fmt.Errorf("%w: this node has no policy yet", policy.ErrUnavailable)
	}
	account, err := p.Locate(q)
	return p, account, err
}

// check goes on from what asking the home brought, if that is not nil.
func (r *Router) check(ctx context.Context, q policy.Request, asked error) (policy.Decision, error) {
	p, account, err := r.account(&q)
	if err != nil {
		return policy.Decision{}, err
	}
	d, err := route(ctx, r, account.Partition, asked, early,
		func(ctx context.Context, epoch uint64) (policy.Decision, error) {
			return r.decide(ctx, q, account.Partition, epoch)
		},
		func(ctx context.Context, to Peer, epoch uint64) (policy.Decision, error) {
			if err := p.Validate(q); err != nil { // what cannot be encoded would break the stream of all others
				return policy.Decision{}, err
			}
			if q.ID == 0 {
				q.ID = r.ids.Add(1)
			}
			return to.Check(ctx, q, epoch)
		})
	if err == nil || !undecided(err) || errors.Is(ctx.Err(), context.Canceled) {
		return d, err
	}
	d, wrong := r.deputy(ctx, q, account.Partition)
	if wrong == nil && d.Reason != policy.FallbackDeputy {
		return d, nil // of the home, which knows the check by its id
	}
	if q.ID != 0 && (errors.Is(err, ErrUnreachable) || errors.Is(err, context.DeadlineExceeded)) { // it may decide yet
		r.cfg.Cancels.Add(q.ID, account.Partition)
	}
	if wrong == nil {
		return d, nil
	}
	return r.fallback(ctx, q)
}

// Forward has the home decide a request that this node is not home of, and returns at once; q is not used later on.
// answer is called once, as by Peer.Forward. If that is with an error, Resume decides, told the ID. left is how long the caller will
// wait. It reports false when the request cannot go this way: then nothing was done, and Check must be asked.
func (r *Router) Forward(ctx context.Context, q *policy.Request, encoded string, left time.Duration, answer func(Carried, error)) bool {
	p, v := r.cfg.Policy(), r.cfg.Views.Current()
	if p == nil || v == nil {
		return false
	}
	account, err := p.Locate(q)
	if err != nil {
		return false
	}
	home, ok := v.Home(account.Partition)
	if !ok || r.self(&home) {
		return false
	}
	r.cfg.Peers.Peer(home.Peer).Forward(ctx, r.ids.Add(1), encoded, v.Epoch, min(inTime(left), r.cfg.ForwardTimeout), answer)
	return true
}

// Resume decides a request that was forwarded and came back with an error, as Check does that asked the home and heard it.
func (r *Router) Resume(ctx context.Context, q policy.Request, heard error) (policy.Decision, error) {
	return r.check(ctx, q, heard)
}

// Try decides as Check does if this node is home and need not wait, over *d, whose slices it reuses. Else it takes
// nothing and reports that Check must be asked. What it keeps of the request it copies.
func (r *Router) Try(q *policy.Request, d *policy.Decision) (decided bool, err error) {
	v := r.cfg.Views.Current()
	if v == nil {
		return false, nil
	}
	return r.try(q, v, d)
}

// TryHere is to Decide what Try is to Check.
func (r *Router) TryHere(q *policy.Request, epoch uint64, d *policy.Decision) (decided bool, err error) {
	v := r.cfg.Views.Current()
	if v == nil || v.Epoch < epoch {
		return false, nil
	}
	return r.try(q, v, d)
}

func (r *Router) try(q *policy.Request, v *View, d *policy.Decision) (decided bool, err error) {
	p := r.cfg.Policy()
	if p == nil {
		return false, nil
	}
	account, err := p.Locate(q)
	if err != nil {
		return true, err
	}
	if !r.home(v, account.Partition) {
		return false, nil
	}
	decided, err = r.cfg.Home.Try(q, d)
	if err != nil && undecided(err) {
		return false, nil
	}
	d.Home, d.Epoch = r.cfg.Name, r.since(account.Partition, v.Epoch)
	return decided, err
}

// fallback decides on this node alone. It is quick and local, so it does not care that ctx has run out. A
// node that never knew a view knows not how small its share is, and decides nothing.
func (r *Router) fallback(ctx context.Context, q policy.Request) (policy.Decision, error) {
	v := r.cfg.Views.Current()
	if v == nil {
		return policy.Decision{}, fmt.Errorf("%w: this node knows no view yet", policy.ErrUnavailable)
	}
	d, err := r.cfg.Fallback.Check(context.WithoutCancel(ctx), q, r.nodes(v))
	d.Home, d.Epoch = r.cfg.Name, v.Epoch
	return d, err
}

// nodes is one of how many this node is when each of the roster decides by its share. Of who the others may not know yet the
// share is nothing.
func (r *Router) nodes(v *View) int {
	if i := v.Find(r.cfg.Name); i >= 0 && v.Roster[i].Joining {
		return math.MaxInt32
	}
	return len(v.Roster)
}

// Decide decides as home for another node, whose view is of the given epoch, or returns a NotHomeError. It
// never forwards.
func (r *Router) Decide(ctx context.Context, q policy.Request, epoch uint64) (policy.Decision, error) {
	_, account, err := r.account(&q)
	if err != nil {
		return policy.Decision{}, err
	}
	if left, some := early(ctx); some {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, left)
		defer cancel()
	}
	v, err := r.asHome(ctx, account.Partition, epoch)
	if err != nil {
		return policy.Decision{}, err
	}
	return r.decide(ctx, q, account.Partition, v.Epoch)
}

// early returns how long to wait of the time that ctx leaves, if it bounds it.
func early(ctx context.Context) (wait time.Duration, some bool) {
	deadline, some := ctx.Deadline()
	if !some {
		return 0, false
	}
	return inTime(time.Until(deadline)), true
}

// inTime returns how long to wait of what a caller has left: an eighth is kept for the way back, and of ten milliseconds and
// more at least two, so that what holds when nobody answers reaches the caller as a decision instead of after it gave up.
func inTime(left time.Duration) time.Duration {
	back := left / 8
	if left >= 10*time.Millisecond {
		back = max(back, 2*time.Millisecond)
	}
	return left - back
}

// whole is early for who has nothing to say when nobody answers.
func whole(context.Context) (time.Duration, bool) { return 0, false }

func (r *Router) decide(ctx context.Context, q policy.Request, partition uint16, epoch uint64) (policy.Decision, error) {
	d, err := r.cfg.Home.Check(ctx, q)
	if errors.Is(err, policy.ErrUnavailable) && !r.cfg.Lease.Holds(partition) && r.begun(partition) {
		d, err = r.cfg.Fallback.Leaseless(ctx, q)
	}
	d.Home, d.Epoch = r.cfg.Name, r.since(partition, epoch)
	return d, err
}

// begun says whether this node is home by its view and was until its lease ended, if it did.
func (r *Router) begun(partition uint16) bool {
	v := r.cfg.Views.Current()
	return v != nil && r.cfg.Tenant.Begun(partition, v.Table.Since[partition])
}

// since is the epoch that a decision was made under which began under an earlier one, and may have waited for a lease.
func (r *Router) since(partition uint16, epoch uint64) uint64 {
	if v := r.cfg.Views.Current(); v.Epoch > epoch && r.home(v, partition) {
		return v.Epoch
	}
	return epoch
}

// Settle settles a reservation, wherever it is held.
func (r *Router) Settle(ctx context.Context, s policy.Settlement) (policy.Settled, error) {
	partition, err := policy.ReservationPartition(s.Reservation)
	if err != nil {
		return policy.Settled{}, err
	}
	return route(ctx, r, partition, nil, whole,
		func(ctx context.Context, _ uint64) (policy.Settled, error) { return r.settle(ctx, s, partition) },
		func(ctx context.Context, to Peer, epoch uint64) (policy.Settled, error) {
			return to.Settle(ctx, s, epoch)
		})
}

// SettleHere settles for another node, or returns a NotHomeError.
func (r *Router) SettleHere(ctx context.Context, s policy.Settlement, epoch uint64) (policy.Settled, error) {
	partition, err := policy.ReservationPartition(s.Reservation)
	if err != nil {
		return policy.Settled{}, err
	}
	if _, err := r.asHome(ctx, partition, epoch); err != nil {
		return policy.Settled{}, err
	}
	return r.settle(ctx, s, partition)
}

// settle settles once this node has all that the home before it had.
func (r *Router) settle(ctx context.Context, s policy.Settlement, partition uint16) (policy.Settled, error) {
	if !r.cfg.Lease.Wait(ctx, partition) {
		return policy.Settled{}, fmt.Errorf("%w: the home of reservation %s has no lease", policy.ErrUnavailable, s.Reservation)
	}
	return r.cfg.Home.Settle(ctx, s)
}

// asHome returns the view by which this node is home of a partition, or a NotHomeError. A node that is behind
// the asker first catches up.
func (r *Router) asHome(ctx context.Context, partition uint16, epoch uint64) (*View, error) {
	if r.cfg.Views.Epoch() < epoch {
		r.cfg.Keeper.Catch(ctx, epoch)
	}
	v := r.cfg.Views.Current()
	if v == nil {
		return nil, &NotHomeError{}
	}
	if r.home(v, partition) {
		return v, nil
	}
	if v.Epoch > epoch {
		return nil, &NotHomeError{View: v.Encode()}
	}
	return nil, &NotHomeError{}
}

// home reports whether this node is the home of a partition.
func (r *Router) home(v *View, partition uint16) bool {
	i := int(v.Table.Homes[partition])
	return i < len(v.Roster) && r.self(&v.Roster[i])
}

func (r *Router) self(m *Member) bool { return m.Name == r.cfg.Name && m.Boot == r.cfg.Boot }

// undecided says whether err means that nobody decided, so that the fallback may. Any other error is an
// answer: that of a request which no node would decide.
func undecided(err error) bool {
	var moved *NotHomeError
	return errors.Is(err, policy.ErrUnavailable) || errors.Is(err, ErrUnreachable) ||
		errors.Is(err, context.DeadlineExceeded) || errors.As(err, &moved)
}

// placed is what is answered by a home.
type placed interface {
	policy.Decision | policy.Settled
}

const (
	// routeTries bounds how many nodes are asked for one answer while homes change.
	routeTries = 4
	// turnWait is how long a node that is ahead of the home, or behind, lets it catch up.
	turnWait = 5 * time.Millisecond
)

// route answers here when this node is the home, else asks the home; and again as long as the one that it asked turns out not
// to be, or is gone and the view has changed. It waits as long as patience says. asked is what came of asking once, if somebody
// did already.
func route[T placed](ctx context.Context, r *Router, partition uint16, asked error, patience func(context.Context) (time.Duration, bool),
	here func(context.Context, uint64) (T, error), there func(context.Context, Peer, uint64) (T, error),
) (T, error) {
	var none, answer T
	err, epoch := asked, r.cfg.Views.Epoch()
	for try := 0; ; try++ {
		if err != nil {
			again, wrong := r.elsewhere(ctx, err, epoch)
			if wrong != nil {
				return none, wrong
			}
			if !again || try == routeTries {
				return answer, err
			}
		}
		v := r.cfg.Views.Current()
		if v == nil {
			return none, fmt.Errorf("%w: this node knows no view yet", policy.ErrUnavailable)
		}
		home, ok := v.Home(partition)
		if !ok {
			return none, fmt.Errorf("%w: partition %d has no home", policy.ErrUnavailable, partition)
		}
		wait, some := patience(ctx)
		if r.self(&home) {
			if !some {
				return here(ctx, v.Epoch)
			}
			ctx, cancel := context.WithTimeout(ctx, wait)
			defer cancel()
			return here(ctx, v.Epoch)
		}
		if !some || wait > r.cfg.ForwardTimeout {
			wait = r.cfg.ForwardTimeout
		}
		fctx, cancel := context.WithTimeout(ctx, wait) // the only timer of a forward
		answer, err = there(fctx, r.cfg.Peers.Peer(home.Peer), v.Epoch)
		cancel()
		if epoch = v.Epoch; err == nil {
			return answer, nil
		}
	}
}

// elsewhere says whether to ask again, after an error of whom the view of an epoch calls the home. Nothing was taken there, or its
// time as home is over.
func (r *Router) elsewhere(ctx context.Context, err error, epoch uint64) (again bool, wrong error) {
	moved := (*NotHomeError)(nil)
	if !errors.As(err, &moved) {
		return errors.Is(err, ErrUnreachable) && r.cfg.Views.Epoch() > epoch, nil
	}
	if err := r.cfg.Keeper.Adopt(moved.View); err != nil {
		return false, fmt.Errorf("%w: learn the view of the node asked: %w", policy.ErrUnavailable, err)
	}
	return r.cfg.Views.Epoch() > epoch || wait(ctx, turnWait), nil
}
