package cluster

import (
	"context"
	"fmt"
	"log/slog"
	"time"
)

// Policies is the store of the agreed policy, as the keeper fills it.
type Policies interface {
	// Document returns the version in force, zero before the first, and its text.
	Document() (version uint64, text []byte)
	// Learn adopts a newer version.
	Learn(version uint64, text []byte) error
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
	for {
		k.say()
		k.pull(ctx)
		select {
		case <-tick.C:
		case <-k.Gossip.Changed():
		case <-k.Views.Changed():
		case <-ctx.Done():
			return nil
		}
	}
}

// say spreads what this node has.
func (k *Keeper) say() {
	version, _ := k.Policies.Document()
	v := k.Views.Current()
	k.Gossip.Say(func(s *Sighting) {
		s.Policy = version
		if v != nil {
			s.Epoch, s.Cluster = v.Epoch, v.Cluster
		}
	})
}

// pull fetches what the member with the newest state has beyond ours.
func (k *Keeper) pull(ctx context.Context) {
	epoch := k.Views.Epoch()
	version, _ := k.Policies.Document()
	var from *Sighting
	for _, m := range k.Gossip.Alive() {
		if m.Epoch > epoch || m.Policy > version {
			from, epoch, version = &m, max(epoch, m.Epoch), max(version, m.Policy)
		}
	}
	if from == nil {
		return
	}
	if err := k.pullFrom(ctx, from.Peer); err != nil && ctx.Err() == nil {
		k.Logger.Info("pull", "from", from.Name, "error", err)
	}
}

func (k *Keeper) pullFrom(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeout(ctx, pullTimeout)
	defer cancel()
	version, _ := k.Policies.Document()
	got, err := k.Peers.Peer(address).Pull(ctx, k.Views.Epoch(), version)
	if err != nil {
		return err
	}
	if len(got.Policy) > 0 {
		if err := k.Policies.Learn(got.PolicyVersion, got.Policy); err != nil {
			return fmt.Errorf("learn policy %d: %w", got.PolicyVersion, err)
		}
	}
	return k.Adopt(got.View)
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

// Serve answers a pull: what this node has beyond the given epoch and policy version.
func (k *Keeper) Serve(epoch, policyVersion uint64) Pulled {
	var p Pulled
	if v := k.Views.Current(); v != nil && v.Epoch > epoch {
		p.View = v.Encode()
	}
	if version, text := k.Policies.Document(); version > policyVersion {
		p.PolicyVersion, p.Policy = version, text
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
