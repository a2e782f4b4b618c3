package sim

import (
	"context"
	"errors"
	"io"
	"strconv"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/status"

	weirv1 "github.com/weir-cluster/weir/api/weir/v1"
	"github.com/weir-cluster/weir/chaos"
)

const (
	consumer     = "drill"          // its cursor
	livesAtLeast = time.Second      // a consumer
	livesLonger  = 10 * time.Second // drawn up to that on top
	restsFor     = 300 * time.Millisecond
	marksTimeout = time.Second
	replayWithin = 5 * time.Second
)

// consume reads the stream of events, from any node. Each life of the consumer lasts some seconds, then it has forgotten all
// but its durable cursor.
func (h *hand) consume(ctx context.Context) {
	for ctx.Err() == nil {
		life, end := context.WithTimeout(ctx, livesAtLeast+time.Duration(h.random.Int64N(int64(livesLonger))))
		h.live(life, h.node())
		end()
		pause(ctx, restsFor)
	}
}

// live is one life of the consumer: a stream from its cursor on, of which it marks now and then how far it has come.
func (h *hand) live(ctx context.Context, m *member) {
	l, err := h.doors.ledger(m)
	if err != nil {
		return
	}
	s, err := l.StreamEvents(ctx, &weirv1.StreamEventsRequest{Cursor: consumer})
	if err != nil {
		return
	}
	key, at, begun := h.key("stream"), uint64(0), false
	for {
		r, err := s.Recv()
		if err != nil {
			if oldest := oldestKept(err); oldest > 0 {
				h.record.note(h.piece(m, consumer, key, at, chaos.Failed, chaos.Reply{Reason: "GONE", Seq: oldest}))
				h.mark(ctx, oldest-1)
			}
			return
		}
		if !begun {
			at, begun = r.GetSeq()-uint64(len(r.GetEvents())), true
			if len(r.GetEvents()) > 0 {
				at = r.GetEvents()[0].GetSeq() - 1
			}
		}
		h.record.note(h.piece(m, consumer, key, at, chaos.OK, chaos.Reply{Seq: r.GetSeq(), Entries: ofEvents(r.GetEvents())}))
		if at = r.GetSeq(); h.random.IntN(3) == 0 {
			h.mark(ctx, at)
		}
	}
}

func (h *hand) piece(m *member, reader, key string, after uint64, outcome chaos.Outcome, reply chaos.Reply) chaos.Op {
	return chaos.Op{Client: h.id, Node: m.name, Kind: chaos.Feed, Account: reader, Key: key, Cost: int64(after), Outcome: outcome, Reply: reply}
}

// mark sets the consumer's cursor.
func (h *hand) mark(ctx context.Context, seq uint64) {
	m := h.node()
	l, err := h.doors.ledger(m)
	if err != nil {
		return
	}
	index := h.record.invoke(chaos.Op{Client: h.id, Node: m.name, Kind: chaos.Mark, Account: consumer, Cost: int64(seq)})
	brief, cancel := context.WithTimeout(context.WithoutCancel(ctx), marksTimeout)
	defer cancel()
	r, err := l.SetCursor(brief, &weirv1.SetCursorRequest{Cursor: consumer, Seq: seq})
	h.record.settle(index, ofGRPC(err), chaos.Reply{Seq: r.GetSeq()}, err)
}

// replay reads the stream to its end: from a cursor on, or from the first event.
func (h *hand) replay(ctx context.Context, m *member, cursor string) chaos.Outcome {
	l, err := h.doors.ledger(m)
	if err != nil {
		return chaos.Failed
	}
	ctx, cancel := context.WithTimeout(ctx, replayWithin)
	defer cancel()
	op := h.piece(m, cursor, h.key("replay"), 0, chaos.OK, chaos.Reply{})
	if op.Ask.Final = true; cursor == "" {
		op.Account = op.Key
	}
	index := h.record.invoke(op)
	s, err := l.StreamEvents(ctx, &weirv1.StreamEventsRequest{Cursor: cursor, Once: true})
	var reply chaos.Reply
	for err == nil {
		var r *weirv1.StreamEventsResponse
		if r, err = s.Recv(); err == nil {
			reply.Seq = r.GetSeq()
			reply.Entries = append(reply.Entries, ofEvents(r.GetEvents())...)
		}
	}
	if cursor != "" {
		h.record.amend(index, func(o *chaos.Op) { o.Cost = int64(reply.Seq) - int64(len(reply.Entries)) })
	}
	if errors.Is(err, io.EOF) {
		return h.record.settle(index, chaos.OK, reply, nil).Outcome
	}
	reply = chaos.Reply{}
	if oldest := oldestKept(err); oldest > 0 {
		reply = chaos.Reply{Reason: "GONE", Seq: oldest}
	}
	return h.record.settle(index, chaos.Failed, reply, err).Outcome
}

// oldestKept is the oldest event that a node still has, when an error says that those asked for are gone, else 0.
func oldestKept(err error) uint64 {
	for _, detail := range status.Convert(err).Details() {
		info, ok := detail.(*errdetails.ErrorInfo)
		if !ok || info.GetReason() != "GONE" {
			continue
		}
		oldest, err := strconv.ParseUint(info.GetMetadata()["oldest"], 10, 64)
		if err == nil {
			return oldest
		}
	}
	return 0
}
