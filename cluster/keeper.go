package cluster

import (
	"context"
	"errors"
	"log/slog"
	"time"
)

// Policies is the book of agreed policies, as the keeper fills it.
type Policies interface {
	// Revision returns how many changes of the book this node knows, and the version of the policy among them.
	Revision() (revision, version uint64)
	// State returns the book, without the texts of policies up to a version.
	State(version uint64) []byte
	// Learn adopts what State returned elsewhere, if it is newer.
	Learn(state []byte) error
	// Changed signals that the revision has grown.
	Changed() <-chan struct{}
}

// Keeper keeps this node at the newest view and policy: voters get both from the log, the others pull them
// from whoever gossips a newer one. It also spreads what this node has. It is safe for concurrent use.
type Keeper struct {
	Gossip   *Gossip
	Views    *Views
	Policies Policies
	Peers    Peers
	Logger   *slog.Logger
}

const (
	keepEvery   = 200 * time.Millisecond
	pullTimeout = time.Second
	// catchWait bounds how long a node that is behind its caller holds the call.
	catchWait = 50 * time.Millisecond
)

// Run keeps up until ctx ends.
func (k *Keeper) Run(ctx context.Context) error {
	tick := time.NewTicker(keepEvery)
	defer tick.Stop()
	for turn := 0; ; turn++ {
		k.say()
		k.pull(ctx, turn)
		select {
		case <-tick.C:
		case <-k.Gossip.Changed():
		case <-k.Views.Changed():
		case <-k.Policies.Changed():
		case <-ctx.Done():
			return nil
		}
	}
}

// say spreads what this node has.
func (k *Keeper) say() {
	revision, _ := k.Policies.Revision()
	v := k.Views.Current()
	k.Gossip.Say(func(s *Sighting) {
		s.Policy = revision
		if v != nil {
			s.Epoch, s.Cluster, s.Alone = v.Epoch, v.Lineage(), false
		}
	})
}

// pull fetches what a member has beyond ours: each time from the next, since one may be seen and yet be out of
// reach.
func (k *Keeper) pull(ctx context.Context, turn int) {
	epoch := k.Views.Epoch()
	revision, _ := k.Policies.Revision()
	var ahead []Sighting
	for _, m := range k.Gossip.Alive() {
		if m.Epoch > epoch || m.Policy > revision {
			ahead = append(ahead, m)
		}
	}
	if len(ahead) == 0 {
		return
	}
	from := ahead[turn%len(ahead)]
	if err := k.pullFrom(ctx, from.Peer); err != nil && ctx.Err() == nil {
		k.Logger.Info("pull", "from", from.Name, "error", err)
	}
}

func (k *Keeper) pullFrom(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeout(ctx, pullTimeout)
	defer cancel()
	have := Having{Epoch: k.Views.Epoch()}
	have.Revision, have.Policy = k.Policies.Revision()
	got, err := k.Peers.Peer(address).Pull(ctx, have)
	if err != nil {
		return err
	}
	err = k.Adopt(got.View) // whatever comes of the book: a node must know who is home
	if len(got.Book) > 0 {
		err = errors.Join(err, k.Policies.Learn(got.Book))
	}
	return err
}

// Adopt learns an encoded view that another node sent; an empty one is none.
func (k *Keeper) Adopt(view []byte) error {
	if len(view) == 0 {
		return nil
	}
	v, err := DecodeView(view)
	if err != nil {
		return err
	}
	_, err = k.Views.Learn(v)
	return err
}

// Serve answers a pull: what this node has beyond what the caller has.
func (k *Keeper) Serve(have Having) Pulled {
	var p Pulled
	if v := k.Views.Current(); v != nil && v.Epoch > have.Epoch {
		p.View = v.Encode()
	}
	if revision, _ := k.Policies.Revision(); revision > have.Revision {
		p.Book = k.Policies.State(have.Policy)
	}
	return p
}

// Catch waits, briefly, until this node knows the view of an epoch that a caller already acts by.
func (k *Keeper) Catch(ctx context.Context, epoch uint64) {
	ctx, cancel := context.WithTimeout(ctx, catchWait)
	defer cancel()
	for k.Views.Epoch() < epoch && wait(ctx, time.Millisecond) {
	}
}
