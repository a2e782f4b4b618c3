package transport

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
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
		for operations := range slices.Chunk(r.GetOperations(), answersMax) {
			for range operations {
				select {
				case w.places <- struct{}{}:
				case <-w.ctx.Done():
					return toStatus(w.ctx.Err())
				}
			}
			if !w.begin() {
				return nil
			}
			go w.carry(operations)
		}
	}
}

// begin books operations, unless no more are begun.
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

// carry carries operations out together; each is answered when it is done.
func (w *writes) carry(operations []*weirv1.Operation) {
	defer w.due.Done()
	all, ids := make([]ledger.Write, 0, len(operations)), make([]uint64, 0, len(operations))
	for _, o := range operations {
		if c, err := writeOf(o); err != nil {
			w.answer(o.GetId(), ledger.Receipt{}, err)
		} else {
			all, ids = append(all, c), append(ids, o.GetId())
		}
	}
	ctx, cancel := context.WithTimeout(w.ctx, w.server.Timeout)
	defer cancel()
	w.server.Ledger.Do(ctx, all, func(i int, r ledger.Receipt, err error) { w.answer(ids[i], r, err) })
}

func (w *writes) answer(id uint64, r ledger.Receipt, err error) {
	a := &weirv1.Applied{Id: id}
	if err != nil {
		a.Outcome = &weirv1.Applied_Fault{Fault: toFault(fromStatus(toStatus(err)))}
	} else {
		a.Outcome = &weirv1.Applied_Receipt{Receipt: toReceipt(r)}
	}
	w.answers <- a
	<-w.places
}

// writeOf is the command that an operation stands for.
func writeOf(o *weirv1.Operation) (ledger.Write, error) {
	switch o := o.GetWrite().(type) {
	case *weirv1.Operation_Open:
		return pointed(openOf(o.Open), nil)
	case *weirv1.Operation_Update:
		return pointed(updateOf(o.Update), nil)
	case *weirv1.Operation_Grant:
		return pointed(grantOf(o.Grant))
	case *weirv1.Operation_Void:
		return pointed(voidOf(o.Void), nil)
	case *weirv1.Operation_Debit:
		return pointed(debitOf(o.Debit))
	case *weirv1.Operation_Authorize:
		return pointed(authorizeOf(o.Authorize))
	case *weirv1.Operation_Extend:
		return pointed(extendOf(o.Extend), nil)
	case *weirv1.Operation_Capture:
		return pointed(captureOf(o.Capture))
	case *weirv1.Operation_Release:
		return pointed(releaseOf(o.Release), nil)
	case *weirv1.Operation_Refund:
		return pointed(refundOf(o.Refund), nil)
	case *weirv1.Operation_Adjust:
		return pointed(adjustOf(o.Adjust))
	}
	return nil, fmt.Errorf("%w: an operation without a write", ledger.ErrInvalid)
}

// pointer is what a pointer to a command is.
type pointer[C any] interface {
	*C
	ledger.Write
}

func pointed[C any, P pointer[C]](c C, err error) (ledger.Write, error) { return P(&c), err }
