package stream

import (
	"context"
	"errors"
	"io"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	weirv1 "github.com/weir-cluster/weir/api/weir/v1"
)

// openMax bounds the checks of one stream that are decided at once; past it the stream is not read, and
// the sender waits.
const openMax = 1024

// Answer decides one check of a stream. It must honour ctx and never return nil.
type Answer func(ctx context.Context, c *weirv1.StreamedCheck) *weirv1.Outcome

// Serve answers the checks of one stream concurrently until the caller hangs up or its context ends. A
// check without a timeout gets the default one.
func Serve(s grpc.BidiStreamingServer[weirv1.CheckStreamRequest, weirv1.CheckStreamResponse], answer Answer, timeout time.Duration) error {
	g, ctx := errgroup.WithContext(s.Context())
	answered := make(chan *weirv1.StreamedOutcome, openMax)
	g.Go(func() error {
		defer close(answered)
		work, wctx := errgroup.WithContext(ctx)
		work.SetLimit(openMax)
		err := receive(s, func(c *weirv1.StreamedCheck) {
			work.Go(func() error {
				answered <- &weirv1.StreamedOutcome{Id: c.GetId(), Outcome: within(wctx, c, answer, timeout)}
				return nil
			})
		})
		return errors.Join(work.Wait(), err)
	})
	g.Go(func() error { return reply(s, answered) })
	return g.Wait()
}

func receive(s grpc.BidiStreamingServer[weirv1.CheckStreamRequest, weirv1.CheckStreamResponse], each func(*weirv1.StreamedCheck)) error {
	for {
		m, err := s.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if len(m.GetChecks()) > openMax {
			return status.Errorf(codes.InvalidArgument, "%d checks in one message: at most %d", len(m.GetChecks()), openMax)
		}
		for _, c := range m.GetChecks() {
			each(c)
		}
	}
}

func within(ctx context.Context, c *weirv1.StreamedCheck, answer Answer, timeout time.Duration) *weirv1.Outcome {
	if asked := c.GetTimeoutMs(); asked > 0 && asked < timeout.Milliseconds() {
		timeout = time.Duration(asked) * time.Millisecond
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	return answer(ctx, c)
}

// viewsBytesMax ends a message: a view is by far the most that an outcome can carry, and after a change of
// the view many outcomes carry one.
const viewsBytesMax = 1 << 20

func viewBytes(o *weirv1.StreamedOutcome) int { return len(o.GetOutcome().GetFault().GetView()) }

// reply sends what is answered, everything that is ready in one message. After a failed send it goes on
// reading, so that no answer blocks.
func reply(s grpc.BidiStreamingServer[weirv1.CheckStreamRequest, weirv1.CheckStreamResponse], answered <-chan *weirv1.StreamedOutcome) error {
	var failed error
	for o := range answered {
		m := &weirv1.CheckStreamResponse{Outcomes: []*weirv1.StreamedOutcome{o}}
		views := viewBytes(o)
		for more := true; more && len(m.Outcomes) < packMax && views < viewsBytesMax; {
			select {
			case o, ok := <-answered:
				if more = ok; ok {
					m.Outcomes = append(m.Outcomes, o)
					views += viewBytes(o)
				}
			default:
				more = false
			}
		}
		if failed == nil {
			failed = s.Send(m)
		}
	}
	return failed
}
