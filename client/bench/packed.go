package bench

import (
	"context"
	"fmt"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	weirv1 "github.com/weir-cluster/weir/api/weir/v1"
)

// Bounds of the messages that are encoded before a load begins.
const (
	framesMin  = 64
	framesMax  = 4096
	framedKeys = 200_000 // checks in all of them, where the bounds allow
)

// A letter is an encoded message, its checks, and the node it is for.
type letter struct {
	frame
	checks, node int
}

// packed sends messages of many checks, encoded beforehand: as CheckBatch, or on streams, one a caller and
// node, as CheckStream.
type packed struct {
	traffic
	streamed bool
	wires    connections
	letters  []letter
}

func newPacked(f traffic, c connections, streamed bool) (*packed, error) {
	pick, to, err := f.ways(loadDomain, f.homes(loadDomain), 0)
	if err != nil {
		return nil, err
	}
	p := &packed{traffic: f, streamed: streamed, wires: c}
	open := make([][]int, len(f.to.nodes)) // keys for a node's next message
	for len(p.letters) < min(max(framedKeys/f.batch, framesMin), framesMax) {
		k := pick()
		n := to(k)
		if open[n] = append(open[n], k); len(open[n]) < f.batch {
			continue
		}
		b, err := encode(open[n], streamed)
		if err != nil {
			return nil, fmt.Errorf("encode a message of %d checks: %w", f.batch, err)
		}
		p.letters = append(p.letters, letter{frame{b}, f.batch, n})
		open[n] = open[n][:0]
	}
	return p, nil
}

// encode makes a message of a check for each key. They have the domain in common.
func encode(keys []int, streamed bool) ([]byte, error) {
	common := &weirv1.CheckRequest{Domain: loadDomain}
	if !streamed {
		m := &weirv1.CheckBatchRequest{Common: common}
		for _, k := range keys {
			m.Checks = append(m.Checks, &weirv1.CheckRequest{Attributes: attributes(k)})
		}
		return proto.Marshal(m)
	}
	m := &weirv1.CheckStreamRequest{Common: common}
	for i, k := range keys {
		m.Checks = append(m.Checks, &weirv1.StreamedCheck{Id: uint64(i) + 1, Check: &weirv1.CheckRequest{Attributes: attributes(k)}})
	}
	return proto.Marshal(m)
}

func (p *packed) caller(ctx context.Context, i int) (caller, error) {
	next := i * len(p.letters) / 7 // callers begin apart
	send := p.call
	if p.streamed {
		s := &strand{p: p, ctx: ctx, open: make([]grpc.ClientStream, len(p.wires))}
		send = s.send
	}
	return func(ctx context.Context, t *tally) error {
		l := &p.letters[next%len(p.letters)]
		next++
		return send(ctx, l, t)
	}, nil
}

// call sends a message as a call of its own.
func (p *packed) call(ctx context.Context, l *letter, t *tally) error {
	c := counted{to: t}
	if err := p.wires[l.node].Invoke(ctx, weirv1.AccessService_CheckBatch_FullMethodName, &l.frame, &c, grpc.ForceCodecV2(rawCodec{})); err != nil {
		return err
	}
	if c.n != l.checks {
		return fmt.Errorf("%d outcomes for %d checks", c.n, l.checks)
	}
	return nil
}

// strand is one caller's streams.
type strand struct {
	p    *packed
	ctx  context.Context     // of the load, which the streams last as long as
	open []grpc.ClientStream // by node; nil before the first message and after a break
}

// send sends a message on the stream to its node and waits until every check of it is answered.
func (s *strand) send(_ context.Context, l *letter, t *tally) (err error) {
	st := s.open[l.node]
	if st == nil {
		st, err = s.p.wires[l.node].NewStream(s.ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true},
			weirv1.AccessService_CheckStream_FullMethodName, grpc.ForceCodecV2(rawCodec{}))
		if err != nil {
			return err
		}
		s.open[l.node] = st
	}
	defer func() {
		if err != nil {
			s.open[l.node] = nil
		}
	}()
	if err := st.SendMsg(&l.frame); err != nil {
		return receiveError(st, t, err)
	}
	for left := l.checks; left > 0; {
		c := counted{streamed: true, to: t}
		if err := st.RecvMsg(&c); err != nil {
			return err
		}
		left -= c.n
	}
	return nil
}

// receiveError is why a stream broke: sending only says that it did.
func receiveError(st grpc.ClientStream, t *tally, sent error) error {
	if err := st.RecvMsg(&counted{streamed: true, to: t}); err != nil {
		return err
	}
	return sent
}
