package stream_test

import (
	"context"
	"errors"
	"io"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

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
	deaf     int // how many streams, the first ones, nobody serves
	mu       sync.Mutex
	opened   []*pipe
	servers  sync.WaitGroup
}

func (l *link) open(ctx context.Context) (grpc.BidiStreamingClient[weirv1.CheckStreamRequest, weirv1.CheckStreamResponse], error) {
	p := &pipe{ctx: ctx, up: make(chan *weirv1.CheckStreamRequest), down: make(chan *weirv1.CheckStreamResponse), broken: make(chan struct{}), messages: &l.messages}
	l.mu.Lock()
	l.opened = append(l.opened, p)
	deaf := len(l.opened) <= l.deaf
	l.mu.Unlock()
	if deaf {
		return clientEnd{p}, nil
	}
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
	synctest.Test(t, func(t *testing.T) {
		l := &link{answer: echo}
		c, gate := stalled(l)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- c.Run(ctx) }()
		var calls sync.WaitGroup
		for i := range 1000 {
			calls.Go(func() {
				o, err := c.Check(t.Context(), &weirv1.CheckRequest{Domain: strconv.Itoa(i)}, uint64(i))
				if err != nil || o.GetDecision().GetMessage() != strconv.Itoa(i) || o.GetDecision().GetEpoch() != uint64(i) {
					t.Errorf("call %d: %v, %v", i, o, err)
				}
			})
		}
		synctest.Wait() // all wait for the stream, so all that fits goes into each message
		close(gate)
		calls.Wait()
		if n := l.messages.Load(); n != 8 {
			t.Errorf("%d messages for 1,000 checks that waited, want 8 of at most 128", n)
		}
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
		l.servers.Wait()
	})
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

// stalled returns a client whose stream opens only when the test says so.
func stalled(l *link) (*stream.Client, chan struct{}) {
	gate := make(chan struct{})
	return stream.NewClient(func(ctx context.Context) (grpc.BidiStreamingClient[weirv1.CheckStreamRequest, weirv1.CheckStreamResponse], error) {
		select {
		case <-gate:
			return l.open(ctx)
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}), gate
}

// What nobody waits for any more must not take from anybody's limits.
func TestACallGivenUpBeforeItWasSentIsNotSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var served sync.Map
		l := &link{answer: func(ctx context.Context, c *weirv1.StreamedCheck) *weirv1.Outcome {
			served.Store(c.GetCheck().GetDomain(), c.GetTimeoutMs())
			return echo(ctx, c)
		}}
		c, gate := stalled(l)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- c.Run(ctx) }()
		var calls sync.WaitGroup
		ask := func(domain string, patience time.Duration) {
			calls.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				defer cancel()
				_, err := c.Check(ctx, &weirv1.CheckRequest{Domain: domain}, 0)
				if (err != nil) != (patience < time.Second) {
					t.Errorf("%s: %v", domain, err)
				}
			})
			synctest.Wait()
		}
		ask("first", 5*time.Second) // opens the stream, and waits for it
		ask("given up", 10*time.Millisecond)
		ask("patient", 3*time.Second)
		time.Sleep(time.Second)
		close(gate)
		calls.Wait()
		synctest.Wait()
		if _, sent := served.Load("given up"); sent {
			t.Error("a call that was given up was sent")
		}
		if left, _ := served.Load("patient"); left != int64(2000) {
			t.Errorf("the server was told of %v ms, 2000 are left", left)
		}
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
		l.servers.Wait()
	})
}

func TestNobodyWaitsForAClientThatEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &link{answer: echo}
		c, _ := stalled(l) // never opens
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- c.Run(ctx) }()
		failed := make(chan error, 3)
		check := func() {
			_, err := c.Check(t.Context(), &weirv1.CheckRequest{}, 0)
			failed <- err
		}
		go check()
		synctest.Wait()
		go check() // waits behind the first
		synctest.Wait()
		cancel()
		<-done
		go check() // comes too late
		for range 3 {
			if err := <-failed; !errors.Is(err, stream.ErrBroken) {
				t.Errorf("%v", err)
			}
		}
	})
}

func TestAnAnswerThatComesTooLateHarmsNobody(t *testing.T) {
	l := &link{answer: func(ctx context.Context, c *weirv1.StreamedCheck) *weirv1.Outcome {
		if c.GetCheck().GetDomain() == "slow" {
			time.Sleep(time.Second)
		}
		return echo(ctx, c)
	}}
	running(t, l, func(t *testing.T, c *stream.Client) {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		if _, err := c.Check(ctx, &weirv1.CheckRequest{Domain: "slow"}, 0); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("slow: %v", err)
		}
		time.Sleep(2 * time.Second) // the answer comes
		if _, err := c.Check(t.Context(), &weirv1.CheckRequest{Domain: "next"}, 0); err != nil {
			t.Errorf("next: %v", err)
		}
	})
	if n := len(l.opened); n != 1 {
		t.Errorf("%d streams", n)
	}
}

// served sends one message to a server and returns its answers.
func served(t *testing.T, m *weirv1.CheckStreamRequest, answer stream.Answer) (replies []*weirv1.CheckStreamResponse, err error) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		p := &pipe{ctx: ctx, up: make(chan *weirv1.CheckStreamRequest), down: make(chan *weirv1.CheckStreamResponse), broken: make(chan struct{})}
		done := make(chan error)
		go func() { done <- stream.Serve(serverEnd{p}, answer, time.Minute) }()
		p.up <- m
		synctest.Wait() // all is answered, so what fits into a message is in it
		for got := 0; got < len(m.GetChecks()); {
			select {
			case r := <-p.down:
				replies = append(replies, r)
				got += len(r.GetOutcomes())
				synctest.Wait()
			case err = <-done:
				cancel()
				return
			}
		}
		cancel()
		<-done
	})
	return replies, err
}

func TestAMessageOfTooManyChecksEndsTheStream(t *testing.T) {
	m := &weirv1.CheckStreamRequest{Checks: make([]*weirv1.StreamedCheck, 1025)}
	for i := range m.Checks {
		m.Checks[i] = &weirv1.StreamedCheck{}
	}
	if _, err := served(t, m, echo); status.Code(err) != codes.InvalidArgument {
		t.Errorf("%v", err)
	}
}

// After a change of the view everybody may be told of it at once: a message must stay below what gRPC takes.
func TestOutcomesWithViewsDoNotPileUpInOneMessage(t *testing.T) {
	m := &weirv1.CheckStreamRequest{}
	for i := range uint64(200) {
		m.Checks = append(m.Checks, &weirv1.StreamedCheck{Id: i})
	}
	view := make([]byte, 200<<10)
	replies, err := served(t, m, func(context.Context, *weirv1.StreamedCheck) *weirv1.Outcome {
		return &weirv1.Outcome{Fault: &weirv1.Fault{View: view}}
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range replies {
		if size := proto.Size(r); size > 2<<20 {
			t.Fatalf("a message of %d bytes with %d views", size, len(r.GetOutcomes()))
		}
	}
}

func TestATimeoutIsBoundedByTheServers(t *testing.T) {
	for asked, want := range map[int64]time.Duration{0: time.Minute, 5: 5 * time.Millisecond, 3_600_000: time.Minute, 1 << 62: time.Minute, -1: time.Minute, 18446744073710: time.Minute} {
		_, err := served(t, &weirv1.CheckStreamRequest{Checks: []*weirv1.StreamedCheck{{TimeoutMs: asked}}}, func(ctx context.Context, c *weirv1.StreamedCheck) *weirv1.Outcome {
			deadline, _ := ctx.Deadline()
			if got := time.Until(deadline); got != want {
				t.Errorf("asked for %d ms: %s, want %s", asked, got, want)
			}
			return echo(ctx, c)
		})
		if err != nil {
			t.Error(err)
		}
	}
}

// deaf is the server's end of a stream that brings a few messages and takes none.
type deaf struct {
	serverEnd
	messages int
}

func (d *deaf) Recv() (*weirv1.CheckStreamRequest, error) {
	if d.messages--; d.messages < 0 {
		return nil, io.EOF
	}
	m := &weirv1.CheckStreamRequest{Checks: make([]*weirv1.StreamedCheck, 1024)}
	for i := range m.Checks {
		m.Checks[i] = &weirv1.StreamedCheck{}
	}
	return m, nil
}

func (d *deaf) Send(*weirv1.CheckStreamResponse) error { return errCut }

func TestAServerNeitherHangsOnADeafClientNorDecidesWithoutBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var open, most, total atomic.Int64
		err := stream.Serve(&deaf{serverEnd{&pipe{ctx: t.Context()}}, 4}, func(ctx context.Context, c *weirv1.StreamedCheck) *weirv1.Outcome {
			most.Store(max(most.Load(), open.Add(1)))
			total.Add(1)
			time.Sleep(time.Millisecond)
			open.Add(-1)
			return echo(ctx, c)
		}, time.Minute)
		if !errors.Is(err, errCut) || total.Load() != 4096 || most.Load() > 1024 {
			t.Errorf("%v after %d checks, %d at once", err, total.Load(), most.Load())
		}
	})
}

// Zero would mean the server's own timeout, which is far longer than what is left.
func TestTheLeastTimeIsAMillisecond(t *testing.T) {
	var told atomic.Int64
	l := &link{answer: func(ctx context.Context, c *weirv1.StreamedCheck) *weirv1.Outcome {
		told.Store(c.GetTimeoutMs())
		return echo(ctx, c)
	}}
	running(t, l, func(t *testing.T, c *stream.Client) {
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Microsecond)
		defer cancel()
		if _, err := c.Check(ctx, &weirv1.CheckRequest{}, 0); err != nil {
			t.Error(err)
		}
	})
	if told.Load() != 1 {
		t.Errorf("the server was told of %d ms", told.Load())
	}
}
