package transport

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	weirv1 "github.com/weir-cluster/weir/api/weir/v1"
	"github.com/weir-cluster/weir/cluster"
)

const (
	// pulseWait is how long a peer may owe answers and give none before it is asked whether it is there.
	pulseWait = 100 * time.Millisecond
	// pulseTimeout is how long it may take to say so.
	pulseTimeout = 200 * time.Millisecond
	// probeEvery is how often one that did not is tried.
	probeEvery = 200 * time.Millisecond
)

// pulse tells whether a peer that owes answers to checks is there: one that hangs, or lies behind a connection that died
// unheard, would hold up every check until its time is up.
type pulse struct {
	owed   atomic.Int64  // checks on their way
	heard  atomic.Uint64 // answers
	begins chan struct{} // capacity 1: a check is on its way, and none was
}

// asks notes that a check is on its way.
func (u *pulse) asks() {
	if u.owed.Add(1) == 1 {
		select {
		case u.begins <- struct{}{}:
		default:
		}
	}
}

// hears notes what became of it; err is nil when it was answered.
func (u *pulse) hears(err error) {
	u.owed.Add(-1)
	if err == nil {
		u.heard.Add(1)
	}
}

// watch returns when the peer owes answers and does not say that it is there, or when ctx ends; silent tells which.
func (p *Peer) watch(ctx context.Context) (silent bool) {
	t := time.NewTicker(pulseWait)
	defer t.Stop()
	for {
		t.Stop()
		select {
		case <-p.pulse.begins:
		case <-ctx.Done():
			return false
		}
		t.Reset(pulseWait)
		for owes := true; owes; owes = p.pulse.owed.Load() > 0 {
			heard := p.pulse.heard.Load()
			select {
			case <-t.C:
			case <-ctx.Done():
				return false
			}
			if p.pulse.owed.Load() > 0 && p.pulse.heard.Load() == heard && p.ping(ctx) != nil && ctx.Err() == nil {
				return true
			}
		}
	}
}

// ping returns nil if somebody answers, even if that is a node that knows of no ping.
func (p *Peer) ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, pulseTimeout)
	defer cancel()
	_, err := p.service.Ping(ctx, &weirv1.PingRequest{})
	if status.Code(err) == codes.Unimplemented {
		return nil
	}
	return err
}

// replace takes a silent peer out, which fails what waits for it, and tries its address until somebody is there. Meanwhile
// whoever asks for the peer is told at once that it cannot be reached.
func (p *Peers) replace(ctx context.Context, silent *Peer) {
	p.mu.Lock()
	if p.ended || p.peers[silent.address] != silent {
		p.mu.Unlock()
		return
	}
	p.silent[silent.address] = fmt.Errorf("%w: %s: it does not answer", cluster.ErrUnreachable, silent.address)
	delete(p.peers, silent.address)
	p.mu.Unlock()
	silent.stop()
	p.streams.Go(func() { p.probe(ctx, silent.address) })
}

// probe ends the silence of an address once somebody answers there, or nobody wants to know.
func (p *Peers) probe(ctx context.Context, address string) {
	t := time.NewTicker(probeEvery)
	defer t.Stop()
	for {
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
		peer, err := p.dial(address)
		if err != nil {
			continue
		}
		there := peer.ping(ctx) == nil
		p.mu.Lock()
		wanted := p.silent[address] != nil && !p.ended
		if wanted && there {
			delete(p.silent, address)
			p.peers[address] = peer
		}
		p.mu.Unlock()
		if wanted && there {
			return
		}
		peer.stop()
		if !wanted {
			return
		}
	}
}
