package node

import (
	"context"
	mathrand "math/rand/v2"
	"time"

	"github.com/weir-cluster/weir/cluster"
	"github.com/weir-cluster/weir/limiter"
)

const (
	offerBytes = 256 << 10
	offerWait  = time.Second // bounds a part
	// offerTries is how often a home may refuse what it is offered: then it starts without.
	offerTries = 100
)

// offers is what of the disk's past belongs to homes elsewhere, who may have begun without any copy.
type offers struct {
	s       *snapshots
	scratch *limiter.Store // where buckets age
	epoch   uint64         // of the view that was looked at last
	left    bool           // something is to be offered again
}

// offer offers homes elsewhere what the disk kept of the tenure directly before theirs, until nothing is left or ctx ends. A home that
// needs it merges it, once: see cluster.Copies.
func (s *snapshots) offer(ctx context.Context) {
	o := offers{s: s}
	tick := time.NewTicker(snapshotLook)
	defer tick.Stop()
	for s.past.some() {
		if v := s.cfg.Views.Current(); v != nil && v.Cluster == s.past.cluster && (v.Epoch > o.epoch || o.left) {
			o.epoch, o.left = v.Epoch, false
			o.all(ctx, v)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// all offers all that there is once, of each home until it cannot be told.
func (o *offers) all(ctx context.Context, v *cluster.View) {
	trouble := make(map[string]bool)
	for _, part := range o.s.past.lost(o.s.server, v) {
		home, _ := v.Home(part.partition)
		if trouble[home.Peer] {
			o.left = true
			continue
		}
		err := o.one(ctx, home, part, v)
		if err == nil || part.tries >= offerTries {
			o.s.past.drop(part.partition)
			continue
		}
		trouble[home.Peer], o.left = true, true
		part.tries++
		o.s.cfg.Logger.Debug("offer what the disk kept", "home", home.Name, "partition", part.partition, "error", err)
	}
}

// one offers a partition to its home.
func (o *offers) one(ctx context.Context, home cluster.Member, part *section, v *cluster.View) error {
	reports, err := o.reports(part, v.Table.Since[part.partition])
	if err != nil {
		return err
	}
	if part.offer == 0 {
		part.offer = mathrand.Uint64() | 1
	}
	for i, r := range reports {
		r.Partition, r.Epoch, r.Source, r.Kept, r.Last = part.partition, v.Epoch, part.offer, part.tenure, i == len(reports)-1
		if err := o.send(ctx, home, r); err != nil {
			return err
		}
	}
	return nil
}

func (o *offers) send(ctx context.Context, home cluster.Member, r cluster.Report) error {
	ctx, cancel := context.WithTimeout(ctx, offerWait)
	defer cancel()
	return o.s.cfg.Peers.Peer(home.Peer).Report(ctx, r)
}

// reports are the parts of a section as it is by now: its buckets first, since they are told in the same order each time.
func (o *offers) reports(part *section, since uint64) (all []cluster.Report, err error) {
	if o.scratch == nil {
		o.scratch = limiter.NewStore(limiter.DefaultConfig())
	}
	p, now := part.partition, o.s.cfg.Now()
	defer o.scratch.Drop(p)
	age, debts, _ := part.aged(now, since)
	var records []cluster.Report
	err = part.each(func(kind byte, chunk []byte) error {
		if kind == pieceRecords {
			records = append(records, cluster.Report{Records: chunk, Age: age})
			return nil
		}
		return o.scratch.Restore(p, now.UnixNano(), debts, chunk)
	})
	if err != nil {
		return nil, err
	}
	for from, done := (limiter.Cursor{Sequence: 1}), false; !done; {
		var chunk []byte
		chunk, from, done = o.scratch.Export(p, now.UnixNano(), from, offerBytes)
		all = append(all, cluster.Report{Debits: chunk})
	}
	return append(all, records...), nil
}
