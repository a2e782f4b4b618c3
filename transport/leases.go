package transport

import (
	"context"
	"fmt"
	"time"

	weirv1 "github.com/weir-cluster/weir/api/weir/v1"
	"github.com/weir-cluster/weir/cluster"
	"github.com/weir-cluster/weir/policy"
)

// Renew asks the other node for a lease.
func (p *Peer) Renew(ctx context.Context, r cluster.Renewal) (cluster.Grant, error) {
	p.pulse.asks()
	g, err := p.service.Renew(ctx, &weirv1.RenewRequest{
		Name: r.Name, Boot: r.Boot, Server: r.Server, Epoch: r.Epoch, Level: r.Level, Released: r.Released,
		Ready: numbers(r.Ready), DurationMs: uint32(r.Duration.Milliseconds()), MarginMs: uint32(r.Margin.Milliseconds()),
		Heard: r.Heard, Unreached: r.Unreached, Behind: r.Behind,
	})
	p.pulse.hears(err)
	if err != nil {
		return cluster.Grant{}, fromStatus(err)
	}
	return cluster.Grant{Level: g.GetLevel(), Revision: g.GetRevision()}, nil
}

// Confirm asks whether the other node is a voter in a term.
func (p *Peer) Confirm(ctx context.Context, term uint64, server string) (bool, error) {
	r, err := p.service.Confirm(ctx, &weirv1.ConfirmRequest{Term: term, Server: server})
	if err != nil {
		return false, fromStatus(err)
	}
	return r.GetSame(), nil
}

// Ping returns nil if the other node is there.
func (p *Peer) Ping(ctx context.Context) error {
	if err := p.ping(ctx); err != nil {
		return fromStatus(err)
	}
	return nil
}

// Adopt brings a view to the other node.
func (p *Peer) Adopt(ctx context.Context, view []byte) (uint64, error) {
	r, err := p.service.Adopt(ctx, &weirv1.AdoptRequest{View: view})
	if err != nil {
		return 0, fromStatus(err)
	}
	return r.GetEpoch(), nil
}

// Renew returns why the node cannot be asked.
func (l lost) Renew(context.Context, cluster.Renewal) (cluster.Grant, error) {
	return cluster.Grant{}, l.err
}

// Confirm returns why the node cannot be asked.
func (l lost) Confirm(context.Context, uint64, string) (bool, error) { return false, l.err }

// Ping returns why the node cannot be asked.
func (l lost) Ping(context.Context) error { return l.err }

// Adopt returns why the node cannot be asked.
func (l lost) Adopt(context.Context, []byte) (uint64, error) { return 0, l.err }

// Renew grants a lease if this node leads.
func (s *PeerServer) Renew(ctx context.Context, r *weirv1.RenewRequest) (*weirv1.RenewResponse, error) {
	g, err := s.Lessor.Renew(ctx, cluster.Renewal{
		Name: r.GetName(), Boot: r.GetBoot(), Server: r.GetServer(),
		Epoch: r.GetEpoch(), Level: r.GetLevel(), Released: r.GetReleased(), Ready: partitions(r.GetReady()),
		Duration: time.Duration(r.GetDurationMs()) * time.Millisecond, Margin: time.Duration(r.GetMarginMs()) * time.Millisecond,
		Heard: r.GetHeard(), Unreached: r.GetUnreached(), Behind: r.GetBehind(),
	})
	if err != nil {
		return nil, toStatus(err)
	}
	return &weirv1.RenewResponse{Level: g.Level, Revision: g.Revision}, nil
}

// Confirm says whether this node is the voter that is meant, and in the term.
func (s *PeerServer) Confirm(_ context.Context, r *weirv1.ConfirmRequest) (*weirv1.ConfirmResponse, error) {
	return &weirv1.ConfirmResponse{Same: s.Lessor.Confirm(r.GetTerm(), r.GetServer())}, nil
}

// Adopt goes by a view if it is newer.
func (s *PeerServer) Adopt(_ context.Context, r *weirv1.AdoptRequest) (*weirv1.AdoptResponse, error) {
	if err := s.Keeper.Adopt(r.GetView()); err != nil {
		return nil, toStatus(fmt.Errorf("%w: adopt a view: %w", policy.ErrInvalid, err))
	}
	return &weirv1.AdoptResponse{Epoch: s.Keeper.Views.Epoch()}, nil
}
