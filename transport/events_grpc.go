package transport

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc"

	weirv1 "github.com/weir-cluster/weir/api/weir/v1"
	"github.com/weir-cluster/weir/ledger"
)

// StreamEvents sends events until the caller or the server ends, or to the newest one.
func (s *LedgerServer) StreamEvents(r *weirv1.StreamEventsRequest, stream grpc.ServerStreamingServer[weirv1.StreamEventsResponse]) error {
	if s.Events == nil {
		return toStatus(errNoEvents)
	}
	ctx := stream.Context()
	w, err := s.Events.newWish(ctx, wish{after: r.GetAfter(), accounts: oneAccount(r.GetAccount()), movements: r.GetTypes(), follow: !r.GetOnce()}, r.GetCursor())
	if err != nil {
		return toStatus(err)
	}
	return toStatus(s.Events.feed(ctx, w, func(wanted []ledger.Event, upTo uint64) error {
		m := &weirv1.StreamEventsResponse{Seq: upTo, Events: make([]*weirv1.Event, len(wanted))}
		for i := range wanted {
			m.Events[i] = toEvent(&wanted[i])
		}
		return s.Events.patiently(func() error { return stream.Send(m) })
	}))
}

// errNoEvents: this node was built without a journal to read.
var errNoEvents = errors.New("this node serves no events")

// patiently sends, or gives up on the consumer: the send then ends with the stream, after the caller has returned.
func (d *EventDoor) patiently(send func() error) error {
	sent := make(chan error, 1)
	go func() { sent <- send() }()
	late := time.NewTimer(d.Patience)
	defer late.Stop()
	select {
	case err := <-sent:
		return err
	case <-late.C:
		return fmt.Errorf("%w: it took nothing for %s: go on after the last event that came", errSlow, d.Patience)
	}
}

// SetCursor notes how far a consumer is.
func (s *LedgerServer) SetCursor(ctx context.Context, r *weirv1.SetCursorRequest) (*weirv1.SetCursorResponse, error) {
	if s.Events == nil {
		return nil, toStatus(errNoEvents)
	}
	if err := cursorName(r.GetCursor()); err != nil {
		return nil, toStatus(err)
	}
	ctx, cancel := context.WithTimeout(ctx, s.Timeout)
	defer cancel()
	at, err := s.Events.Cursors.SetCursor(ctx, ledger.SetCursor{Name: r.GetCursor(), Seq: r.GetSeq(), Rewind: r.GetRewind(), Remove: r.GetRemove()})
	if err != nil {
		return nil, toStatus(err)
	}
	return &weirv1.SetCursorResponse{Seq: at}, nil
}
