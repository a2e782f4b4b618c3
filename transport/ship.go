package transport

import (
	"context"
	"fmt"
	"time"

	weirv1 "github.com/weir-cluster/weir/api/weir/v1"
	"github.com/weir-cluster/weir/cluster"
	"github.com/weir-cluster/weir/policy"
	"github.com/weir-cluster/weir/ring"
)

// ageMax bounds, in milliseconds, how old records are told to be: by then all have ended.
const ageMax = 1 << 40

// Ship brings the other node the state of partitions.
func (p *Peer) Ship(ctx context.Context, s cluster.Shipment) (cluster.Receipt, error) {
	q := &weirv1.ShipRequest{Name: s.Name, Boot: s.Boot, Epoch: s.Epoch, Parcels: make([]*weirv1.Parcel, len(s.Parcels))}
	for i, a := range s.Parcels {
		q.Parcels[i] = &weirv1.Parcel{
			Partition: uint32(a.Partition), Tenure: a.Tenure, Number: a.Number, First: a.First, Whole: a.Whole, Last: a.Last, State: a.State,
			Merged: a.Merged,
		}
	}
	p.pulse.asks()
	r, err := p.service.Ship(ctx, q)
	p.pulse.hears(err)
	if err != nil {
		return cluster.Receipt{}, fromStatus(err)
	}
	return cluster.Receipt{Again: partitions(r.GetAgain()), Refused: partitions(r.GetRefused())}, nil
}

// Ship returns why the node cannot be asked.
func (l lost) Ship(context.Context, cluster.Shipment) (cluster.Receipt, error) {
	return cluster.Receipt{}, l.err
}

// Ship takes in what another node ships, once it goes by the sender's view.
func (s *PeerServer) Ship(ctx context.Context, q *weirv1.ShipRequest) (*weirv1.ShipResponse, error) {
	in := cluster.Shipment{Name: q.GetName(), Boot: q.GetBoot(), Epoch: q.GetEpoch(), Parcels: make([]cluster.Parcel, 0, len(q.GetParcels()))}
	for _, a := range q.GetParcels() {
		if a.GetPartition() < ring.Partitions {
			in.Parcels = append(in.Parcels, cluster.Parcel{
				Partition: uint16(a.GetPartition()), Tenure: a.GetTenure(), Number: a.GetNumber(),
				First: a.GetFirst(), Whole: a.GetWhole(), Last: a.GetLast(), State: a.GetState(),
				Merged: a.GetMerged(),
			})
		}
	}
	s.Keeper.Catch(ctx, in.Epoch)
	r := s.Copies.Receive(in)
	return &weirv1.ShipResponse{Again: numbers(r.Again), Refused: numbers(r.Refused)}, nil
}

// Deputise has the other node decide as deputy.
func (p *Peer) Deputise(ctx context.Context, r policy.Request, epoch uint64) (policy.Decision, error) {
	p.pulse.asks()
	a, err := p.service.Deputize(ctx, &weirv1.DeputizeRequest{Check: toRequest(r), Epoch: epoch, Origin: r.ID})
	p.pulse.hears(err)
	switch {
	case err != nil:
		return policy.Decision{}, fromStatus(err)
	case a.GetDecision() == nil:
		return policy.Decision{}, fmt.Errorf("%w: %s: an answer without a decision", cluster.ErrUnreachable, p.address)
	}
	return fromDecision(a.GetDecision()), nil
}

// Report tells the other node what was taken for it.
func (p *Peer) Report(ctx context.Context, r cluster.Report) error {
	_, err := p.service.Report(ctx, &weirv1.ReportRequest{
		Partition: uint32(r.Partition), Epoch: r.Epoch, Source: r.Source, Debits: r.Debits, Last: r.Last,
		Kept: r.Kept, Records: r.Records, AgeMs: uint64(r.Age.Milliseconds()),
	})
	if err != nil {
		return fromStatus(err)
	}
	return nil
}

// Deputise returns why the node cannot be asked.
func (l lost) Deputise(context.Context, policy.Request, uint64) (policy.Decision, error) {
	return policy.Decision{}, l.err
}

// Report returns why the node cannot be asked.
func (l lost) Report(context.Context, cluster.Report) error { return l.err }

// Deputize decides as deputy.
func (s *PeerServer) Deputize(ctx context.Context, q *weirv1.DeputizeRequest) (*weirv1.DeputizeResponse, error) {
	r := fromRequest(q.GetCheck())
	r.ID = q.GetOrigin()
	d, err := s.Router.Deputise(ctx, r, q.GetEpoch())
	if err != nil {
		return nil, toStatus(err)
	}
	return &weirv1.DeputizeResponse{Decision: toDecision(d)}, nil
}

// Report takes in what a deputy took for this node.
func (s *PeerServer) Report(ctx context.Context, q *weirv1.ReportRequest) (*weirv1.ReportResponse, error) {
	if q.GetPartition() >= ring.Partitions {
		return nil, toStatus(fmt.Errorf("%w: partition %d", policy.ErrInvalid, q.GetPartition()))
	}
	r := cluster.Report{
		Partition: uint16(q.GetPartition()), Epoch: q.GetEpoch(), Source: q.GetSource(), Debits: q.GetDebits(), Last: q.GetLast(),
		Kept: q.GetKept(), Records: q.GetRecords(), Age: time.Duration(min(q.GetAgeMs(), ageMax)) * time.Millisecond,
	}
	if err := s.Router.Merge(ctx, r); err != nil {
		return nil, toStatus(err)
	}
	return &weirv1.ReportResponse{}, nil
}

// Cancel has the other node undo what checks took.
func (p *Peer) Cancel(ctx context.Context, ids []uint64) error {
	if _, err := p.service.Cancel(ctx, &weirv1.CancelRequest{Origins: ids}); err != nil {
		return fromStatus(err)
	}
	return nil
}

// Cancel returns why the node cannot be asked.
func (l lost) Cancel(context.Context, []uint64) error { return l.err }

// Cancel undoes what checks took here.
func (s *PeerServer) Cancel(_ context.Context, q *weirv1.CancelRequest) (*weirv1.CancelResponse, error) {
	if n := len(q.GetOrigins()); n > policy.BatchMax {
		return nil, toStatus(fmt.Errorf("%w: %d checks are cancelled at once, at most %d", policy.ErrInvalid, n, policy.BatchMax))
	}
	for _, id := range q.GetOrigins() {
		s.Undo(id)
	}
	return &weirv1.CancelResponse{}, nil
}

// Ping is answered by who is there.
func (s *PeerServer) Ping(context.Context, *weirv1.PingRequest) (*weirv1.PingResponse, error) {
	return &weirv1.PingResponse{}, nil
}

// partitions returns partitions as they are named here; what is none is left out.
func partitions(wide []uint32) []uint16 {
	out := make([]uint16, 0, len(wide))
	for _, p := range wide {
		if p < ring.Partitions {
			out = append(out, uint16(p))
		}
	}
	return out
}

func numbers(of []uint16) []uint32 {
	out := make([]uint32, len(of))
	for i, p := range of {
		out[i] = uint32(p)
	}
	return out
}
