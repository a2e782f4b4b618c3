package stream_test

import (
	"cmp"
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

// SendMsg sends what the client wrote by hand to a server that reads it as generated.
func (c clientEnd) SendMsg(frame any) error {
	m := &weirv1.CheckStreamRequest{}
	if err := recode(frame, m); err != nil {
		return err
	}
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

func (c clientEnd) RecvMsg(frame any) error {
	select {
	case m := <-c.down:
		return recode(m, frame)
	case <-c.broken:
		return errCut
	case <-c.ctx.Done():
		return c.ctx.Err()
	}
}

func (c clientEnd) Send(*weirv1.CheckStreamRequest) error      { return errCut }
func (c clientEnd) Recv() (*weirv1.CheckStreamResponse, error) { return nil, errCut }

// recode makes one message another by way of its bytes, as gRPC's codec does.
func recode(from, to any) error {
	b, err := proto.Marshal(from.(proto.Message))
	if err != nil {
		return err
	}
	return proto.Unmarshal(b, to.(proto.Message))
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

// answer decides one check of a stream.
type answer func(ctx context.Context, c *weirv1.StreamedCheck) *weirv1.Outcome

// serve answers each check of a stream by itself, within its timeout, until the stream ends.
func serve(s serverEnd, a answer) {
	ctx, cancel := context.WithCancel(s.Context())
	var all sync.WaitGroup
	defer all.Wait()
	defer cancel()
	out := make(chan *weirv1.StreamedOutcome)
	all.Go(func() {
		for {
			select {
			case o := <-out:
				_ = s.Send(&weirv1.CheckStreamResponse{Outcomes: []*weirv1.StreamedOutcome{o}})
			case <-ctx.Done():
				return
			}
		}
	})
	for {
		m, err := s.Recv()
		if err != nil {
			return
		}
		for _, c := range m.GetChecks() {
			all.Go(func() {
				ctx, cancel := context.WithTimeout(ctx, time.Duration(cmp.Or(c.GetTimeoutMs(), 60_000))*time.Millisecond)
				defer cancel()
				o := &weirv1.StreamedOutcome{Id: c.GetId(), Outcome: a(ctx, c)}
				select {
				case out <- o:
				case <-s.ctx.Done():
				case <-s.broken:
				}
			})
		}
	}
}

// link opens pipes that a server answers.
type link struct {
	answer   answer
	messages atomic.Int64
	deaf     int // how many streams, the first ones, nobody serves
	room     int // for messages that nobody reads yet
	mu       sync.Mutex
	opened   []*pipe
	servers  sync.WaitGroup
}

func (l *link) open(ctx context.Context) (grpc.BidiStreamingClient[weirv1.CheckStreamRequest, weirv1.CheckStreamResponse], error) {
	p := &pipe{ctx: ctx, up: make(chan *weirv1.CheckStreamRequest, l.room), down: make(chan *weirv1.CheckStreamResponse), broken: make(chan struct{}), messages: &l.messages}
	l.mu.Lock()
	l.opened = append(l.opened, p)
	deaf := len(l.opened) <= l.deaf
	l.mu.Unlock()
	if deaf {
		return clientEnd{p}, nil
	}
	l.servers.Go(func() { serve(serverEnd{p}, l.answer) })
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
