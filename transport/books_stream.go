package transport

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"google.golang.org/grpc"

	weirv1 "github.com/weir-cluster/weir/api/weir/v1"
	"github.com/weir-cluster/weir/ledger"
)

const (
	// appliedMax bounds the operations of one stream that are under way; past it the stream is not read, and the sender waits.
	appliedMax = 4096
	// answersMax bounds the answers in one message.
	answersMax = 256
)

// Apply carries out what comes on a stream until the caller hangs up, its context ends, or the server closes.
func (s *LedgerServer) Apply(stream grpc.BidiStreamingServer[weirv1.ApplyRequest, weirv1.ApplyResponse]) error {
	ctx, cancel := context.WithCancel(stream.Context())
	defer cancel()
	w := &writes{
		server: s, ctx: ctx, stream: stream,
		places: make(chan struct{}, appliedMax), answers: make(chan *weirv1.Applied, answersMax),
	}
	sent := make(chan error, 1)
	go func() { sent <- w.send(cancel) }()
	over := make(chan error, 1)
	go func() { over <- w.receive() }() // it ends with the stream, and so soon after this returns
	var err error
	select {
	case err = <-over:
	case <-s.Closing:
	}
	w.hush()
	w.due.Wait()
	close(w.answers)
	if failed := <-sent; err == nil {
		err = failed
	}
	return err
}

// writes are the operations of one stream.
type writes struct {
	server  *LedgerServer
	ctx     context.Context
	stream  grpc.BidiStreamingServer[weirv1.ApplyRequest, weirv1.ApplyResponse]
	places  chan struct{} // taken by who is under way
	answers chan *weirv1.Applied
	due     sync.WaitGroup

	mu     sync.Mutex
	hushed bool
}

// receive starts what comes, until nothing more does.
func (w *writes) receive() error {
	for {
		r, err := w.stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		for _, o := range r.GetOperations() {
			select {
			case w.places <- struct{}{}:
			case <-w.ctx.Done():
				return toStatus(w.ctx.Err())
			}
			if !w.begin() {
				return nil
			}
			go func() {
				defer w.due.Done()
				w.answers <- w.carry(o)
				<-w.places
			}()
		}
	}
}

// begin books an operation, unless no more are begun.
func (w *writes) begin() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.hushed {
		w.due.Add(1)
	}
	return !w.hushed
}

// hush begins no more.
func (w *writes) hush() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.hushed = true
}

// send sends answers, all that there are at a time, and goes on taking them when the stream has broken.
func (w *writes) send(cancel context.CancelFunc) (broken error) {
	for first := range w.answers {
		r := &weirv1.ApplyResponse{Answers: []*weirv1.Applied{first}}
		for more := true; more && len(r.Answers) < answersMax; {
			select {
			case a, open := <-w.answers:
				if more = open; open {
					r.Answers = append(r.Answers, a)
				}
			default:
				more = false
			}
		}
		if broken != nil {
			continue
		}
		if broken = w.stream.Send(r); broken != nil {
			cancel()
		}
	}
	return broken
}

// carry carries one operation out.
func (w *writes) carry(o *weirv1.Operation) *weirv1.Applied {
	receipt, err := w.server.carry(w.ctx, o)
	if err != nil {
		return &weirv1.Applied{Id: o.GetId(), Outcome: &weirv1.Applied_Fault{Fault: toFault(fromStatus(err))}}
	}
	return &weirv1.Applied{Id: o.GetId(), Outcome: &weirv1.Applied_Receipt{Receipt: receipt}}
}

// carry has an operation done by the call that it stands for.
func (s *LedgerServer) carry(ctx context.Context, o *weirv1.Operation) (*weirv1.Receipt, error) {
	switch o := o.GetWrite().(type) {
	case *weirv1.Operation_Open:
		return s.OpenAccount(ctx, o.Open)
	case *weirv1.Operation_Update:
		return s.UpdateAccount(ctx, o.Update)
	case *weirv1.Operation_Grant:
		return s.Grant(ctx, o.Grant)
	case *weirv1.Operation_Void:
		return s.VoidGrant(ctx, o.Void)
	case *weirv1.Operation_Debit:
		return s.Debit(ctx, o.Debit)
	case *weirv1.Operation_Authorize:
		return s.Authorize(ctx, o.Authorize)
	case *weirv1.Operation_Extend:
		return s.Extend(ctx, o.Extend)
	case *weirv1.Operation_Capture:
		return s.Capture(ctx, o.Capture)
	case *weirv1.Operation_Release:
		return s.Release(ctx, o.Release)
	case *weirv1.Operation_Refund:
		return s.Refund(ctx, o.Refund)
	case *weirv1.Operation_Adjust:
		return s.Adjust(ctx, o.Adjust)
	}
	return nil, toStatus(fmt.Errorf("%w: an operation without a write", ledger.ErrInvalid))
}
