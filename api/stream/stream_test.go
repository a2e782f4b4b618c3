package stream_test

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/weir-cluster/weir/api/stream"
	weirv1 "github.com/weir-cluster/weir/api/weir/v1"
)

// pipe is a stream in memory. Closing broken ends it for both sides.
type pipe struct {
	grpc.ClientStream
	grpc.ServerStream

	ctx      context.Context
	up       chan *weirv1.CheckStreamRequest
	down     chan *weirv1.CheckStreamResponse
	broken   chan struct{}
	messages *atomic.Int64
}

var errCut = errors.New("cut")

type clientEnd struct{ *pipe }

func (c clientEnd) Context() context.Context     { return c.ctx }
func (c clientEnd) CloseSend() error             { return nil }
func (c clientEnd) Header() (metadata.MD, error) { return nil, nil }
func (c clientEnd) Trailer() metadata.MD         { return nil }
func (c clientEnd) SendMsg(any) error            { return errCut }
func (c clientEnd) RecvMsg(any) error            { return errCut }

func (c clientEnd) Send(m *weirv1.CheckStreamRequest) error {
	c.messages.Add(1)
	select {
	case c.up <- m:
		return nil
	case <-c.broken:
		return errCut
	case <-c.ctx.Done():
		return c.ctx.Err()
	}
}

func (c clientEnd) Recv() (*weirv1.CheckStreamResponse, error) {
	select {
	case m := <-c.down:
		return m, nil
	case <-c.broken:
		return nil, errCut
	case <-c.ctx.Done():
		return nil, c.ctx.Err()
	}
}

type serverEnd struct{ *pipe }

func (s serverEnd) Context() context.Context     { return s.ctx }
func (s serverEnd) SetHeader(metadata.MD) error  { return nil }
func (s serverEnd) SendHeader(metadata.MD) error { return nil }
func (s serverEnd) SetTrailer(metadata.MD)       {}
func (s serverEnd) SendMsg(any) error            { return errCut }
func (s serverEnd) RecvMsg(any) error            { return errCut }
func (s serverEnd) Recv() (*weirv1.CheckStreamRequest, error) {
	select {
	case m := <-s.up:
		return m, nil
	case <-s.broken:
		return nil, errCut
	case <-s.ctx.Done():
		return nil, s.ctx.Err()
	}
}

func (s serverEnd) Send(m *weirv1.CheckStreamResponse) error {
	select {
	case s.down <- m:
		return nil
	case <-s.broken:
		return errCut
	case <-s.ctx.Done():
		return s.ctx.Err()
	}
}

// link opens pipes that a server answers.
type link struct {
	answer   stream.Answer
	messages atomic.Int64
	mu       sync.Mutex
	opened   []*pipe
	servers  sync.WaitGroup
}

func (l *link) open(ctx context.Context) (grpc.BidiStreamingClient[weirv1.CheckStreamRequest, weirv1.CheckStreamResponse], error) {
	p := &pipe{ctx: ctx, up: make(chan *weirv1.CheckStreamRequest), down: make(chan *weirv1.CheckStreamResponse), broken: make(chan struct{}), messages: &l.messages}
	l.mu.Lock()
	l.opened = append(l.opened, p)
	l.mu.Unlock()
	l.servers.Go(func() { _ = stream.Serve(serverEnd{p}, l.answer, time.Minute) })
	return clientEnd{p}, nil
}

// echo answers with the account that asked.
func echo(_ context.Context, c *weirv1.StreamedCheck) *weirv1.Outcome {
	return &weirv1.Outcome{Decision: &weirv1.Decision{Message: c.GetCheck().GetDomain(), Epoch: c.GetEpoch()}}
}

// running runs a client over l in a bubble until the test is done with it.
func running(t *testing.T, l *link, use func(*testing.T, *stream.Client)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		c := stream.NewClient(l.open)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- c.Run(ctx) }()
		use(t, c)
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
		l.servers.Wait()
	})
}

func TestEveryCallGetsItsOwnAnswer(t *testing.T) {
	l := &link{answer: echo}
	running(t, l, func(t *testing.T, c *stream.Client) {
		var calls sync.WaitGroup
		for i := range 1000 {
			calls.Go(func() {
				o, err := c.Check(t.Context(), &weirv1.CheckRequest{Domain: strconv.Itoa(i)}, uint64(i))
				if err != nil || o.GetDecision().GetMessage() != strconv.Itoa(i) || o.GetDecision().GetEpoch() != uint64(i) {
					t.Errorf("call %d: %v, %v", i, o, err)
				}
			})
		}
		calls.Wait()
	})
	if n := l.messages.Load(); n >= 500 {
		t.Errorf("%d messages for 1,000 concurrent checks: they are not coalesced", n)
	}
}

func TestALoneCheckWaitsForNothing(t *testing.T) {
	l := &link{answer: echo}
	running(t, l, func(t *testing.T, c *stream.Client) {
		began := time.Now()
		if _, err := c.Check(t.Context(), &weirv1.CheckRequest{}, 0); err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took != 0 { // virtual time: any timer would show
			t.Errorf("a lone check took %s", took)
		}
	})
}

func TestABrokenStreamFailsItsCallsAndIsReplaced(t *testing.T) {
	first := true
	l := &link{}
	l.answer = func(ctx context.Context, c *weirv1.StreamedCheck) *weirv1.Outcome {
		if c.GetCheck().GetDomain() == "hold" && first {
			<-ctx.Done()
		}
		return echo(ctx, c)
	}
	running(t, l, func(t *testing.T, c *stream.Client) {
		failed := make(chan error)
		go func() {
			_, err := c.Check(t.Context(), &weirv1.CheckRequest{Domain: "hold"}, 0)
			failed <- err
		}()
		synctest.Wait()
		first = false
		close(l.opened[0].broken)
		if err := <-failed; !errors.Is(err, stream.ErrBroken) {
			t.Errorf("call on a broken stream: %v", err)
		}
		if o, err := c.Check(t.Context(), &weirv1.CheckRequest{Domain: "again"}, 0); err != nil || o.GetDecision().GetMessage() != "again" {
			t.Errorf("after the break: %v, %v", o, err)
		}
	})
}

func TestADeadlineReachesTheServer(t *testing.T) {
	var left atomic.Int64
	l := &link{answer: func(ctx context.Context, c *weirv1.StreamedCheck) *weirv1.Outcome {
		deadline, _ := ctx.Deadline()
		left.Store(int64(time.Until(deadline)))
		time.Sleep(time.Second)
		return echo(ctx, c)
	}}
	running(t, l, func(t *testing.T, c *stream.Client) {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
		defer cancel()
		if _, err := c.Check(ctx, &weirv1.CheckRequest{}, 0); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("check: %v", err)
		}
	})
	if got := time.Duration(left.Load()); got != 30*time.Millisecond {
		t.Errorf("the server had %s", got)
	}
}

func TestAFullQueueSaysSoAtOnce(t *testing.T) {
	c := stream.NewClient(nil) // Run does not run: nothing is taken from the queue
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for i := 0; ; i++ {
		_, err := c.Check(ctx, &weirv1.CheckRequest{}, 0)
		if errors.Is(err, stream.ErrBusy) {
			break
		}
		if i > 1<<16 {
			t.Fatalf("the queue has no bound: %v", err)
		}
	}
}
