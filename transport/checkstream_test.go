package transport

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	weirv1 "github.com/weir-cluster/weir/api/weir/v1"
	"github.com/weir-cluster/weir/cluster"
	"github.com/weir-cluster/weir/policy"
)

type checkStream = grpc.BidiStreamingClient[weirv1.CheckStreamRequest, weirv1.CheckStreamResponse]

// opened opens a stream and sends messages.
func opened(ctx context.Context, t *testing.T, c weirv1.AccessServiceClient, messages ...*weirv1.CheckStreamRequest) checkStream {
	t.Helper()
	s, err := c.CheckStream(ctx)
	for _, m := range messages {
		if err == nil {
			err = s.Send(m)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// hear receives a message and writes its outcomes by id.
func hear(t *testing.T, s checkStream) string {
	t.Helper()
	m, err := s.Recv()
	if err != nil {
		return err.Error()
	}
	words := make([]string, len(m.GetOutcomes()))
	for i, o := range m.GetOutcomes() {
		words[i] = fmt.Sprintf("%d:%s", o.GetId(), heard(o.GetOutcome()))
	}
	return strings.Join(words, ", ")
}

func TestWhatIsDecidedAtOnceDoesNotWaitForTheRest(t *testing.T) {
	slow := judged{check: func(_ context.Context, q policy.Request) (policy.Decision, error) {
		time.Sleep(time.Second)
		return said(q), nil
	}}
	knocking(t, slow, func(t *testing.T, c weirv1.AccessServiceClient) {
		began := time.Now()
		s := opened(t.Context(), t, c, streamed(of("at once", "a=1"), of("late", "b=2"), of("at once", "c=3")))
		if got, want := hear(t, s), "1:at once CONSUME a=1, 3:at once CONSUME c=3"; got != want || time.Since(began) != 0 {
			t.Errorf("got %q after %s, want %q", got, time.Since(began), want)
		}
		if err := s.Send(streamed(of("at once", "d=4"), of("at once", "overwrites=what was before"))); err != nil {
			t.Error(err)
		}
		if err := s.CloseSend(); err != nil {
			t.Error(err)
		}
		if got := hear(t, s); !strings.HasPrefix(got, "1:at once CONSUME d=4, 2:") || time.Since(began) != 0 {
			t.Errorf("got %q after %s", got, time.Since(began))
		}
		if got, want := hear(t, s), "2:late CONSUME b=2"; got != want || time.Since(began) != time.Second {
			t.Errorf("got %q after %s, want %q", got, time.Since(began), want)
		}
		if _, err := s.Recv(); !errors.Is(err, io.EOF) {
			t.Errorf("after the last answer: %v", err)
		}
	})
}

func TestAMessageHoldsUpToAThousandChecks(t *testing.T) {
	for n, want := range map[int]codes.Code{0: codes.OK, policy.BatchMax: codes.OK, policy.BatchMax + 1: codes.InvalidArgument, 100 * policy.BatchMax: codes.InvalidArgument} {
		knocking(t, judged{}, func(t *testing.T, c weirv1.AccessServiceClient) {
			m := &weirv1.CheckStreamRequest{}
			for i := range n {
				m.Checks = append(m.Checks, &weirv1.StreamedCheck{Id: uint64(i), Check: of([]string{"at once", "late"}[i%2])})
			}
			s := opened(t.Context(), t, c, m)
			_ = s.CloseSend()
			answered := map[uint64]bool{}
			for {
				r, err := s.Recv()
				if err != nil {
					if errors.Is(err, io.EOF) {
						err = nil
					}
					if status.Code(err) != want || want == codes.OK && len(answered) != n {
						t.Errorf("%d checks: %d answered, %v", n, len(answered), err)
					}
					return
				}
				for _, o := range r.GetOutcomes() {
					answered[o.GetId()] = true
				}
			}
		})
	}
}

func TestATimeoutIsBoundedByTheServers(t *testing.T) {
	for asked, want := range map[int64]time.Duration{0: time.Minute, 5: 5 * time.Millisecond, 3_600_000: time.Minute, 1 << 62: time.Minute, -1: time.Minute, 18446744073710: time.Minute} {
		left := judged{check: func(ctx context.Context, _ policy.Request) (policy.Decision, error) {
			deadline, _ := ctx.Deadline()
			return policy.Decision{Message: time.Until(deadline).String()}, nil
		}}
		knocking(t, left, func(t *testing.T, c weirv1.AccessServiceClient) {
			m := streamed(of("late"))
			m.Checks[0].TimeoutMs = asked
			if got := hear(t, opened(t.Context(), t, c, m)); got != "1:"+want.String() {
				t.Errorf("asked for %d ms: got %s, want %s", asked, got, want)
			}
		})
	}
}

// counting decides each check after a while and counts how many it decides at once.
func counting(open, most *atomic.Int64, while time.Duration) judged {
	return judged{check: func(ctx context.Context, q policy.Request) (policy.Decision, error) {
		most.Store(max(most.Load(), open.Add(1)))
		defer open.Add(-1)
		select {
		case <-time.After(while):
			return said(q), nil
		case <-ctx.Done():
			return policy.Decision{}, ctx.Err()
		}
	}}
}

func TestOnlySoManyChecksOfAStreamWaitAndTheOthersAreAnswered(t *testing.T) {
	var open, most atomic.Int64
	knocking(t, counting(&open, &most, time.Second), func(t *testing.T, c weirv1.AccessServiceClient) {
		s := opened(t.Context(), t, c)
		const messages, late = 4, 600
		m := streamed(of("at once"))
		for i := range late {
			m.Checks = append(m.Checks, &weirv1.StreamedCheck{Id: uint64(i) + 2, Check: of("late")})
		}
		go func() {
			for range messages {
				if err := s.Send(m); err != nil {
					t.Error(err)
				}
			}
		}()
		atOnce, all := 0, 0
		began := time.Now()
		for all < messages*(late+1) {
			r, err := s.Recv()
			if err != nil {
				t.Fatal(err)
			}
			for _, o := range r.GetOutcomes() {
				all++
				if o.GetId() == 1 {
					if atOnce++; atOnce == 2 && time.Since(began) != 0 {
						t.Errorf("the second message's answer came after %s: it waited for a place that it did not need", time.Since(began))
					}
				}
			}
		}
		if most.Load() != openMax || time.Since(began) != 3*time.Second {
			t.Errorf("%d at once, %s in all", most.Load(), time.Since(began))
		}
	})
}

// Who does not read must neither hang the server nor have it keep answers without bound.
func TestACallerThatReadsNothingIsNotReadEither(t *testing.T) {
	var asked atomic.Int64
	quick := judged{check: func(context.Context, policy.Request) (policy.Decision, error) {
		asked.Add(1)
		return policy.Decision{Message: strings.Repeat("x", 1000)}, nil
	}}
	knocking(t, quick, func(t *testing.T, c weirv1.AccessServiceClient) {
		ctx, cancel := context.WithCancel(t.Context())
		s := opened(ctx, t, c)
		var m []*weirv1.CheckRequest
		for range policy.BatchMax {
			m = append(m, of("late"))
		}
		go func() {
			for s.Send(streamed(m...)) == nil {
			}
		}()
		synctest.Wait()
		if n := asked.Load(); n > 10*policy.BatchMax {
			t.Errorf("%d checks were decided for a caller that reads nothing", n)
		}
		cancel()
	})
}

// After a change of the view everybody may be told of it at once: a message must stay below what gRPC takes.
func TestOutcomesWithViewsDoNotPileUpInOneMessage(t *testing.T) {
	view := make([]byte, 200<<10)
	moved := judged{check: func(context.Context, policy.Request) (policy.Decision, error) {
		return policy.Decision{}, &cluster.NotHomeError{View: view}
	}}
	knocking(t, moved, func(t *testing.T, c weirv1.AccessServiceClient) {
		var m []*weirv1.CheckRequest
		for range 200 {
			m = append(m, of("late"))
		}
		s := opened(t.Context(), t, c, streamed(m...))
		for got := 0; got < len(m); {
			r, err := s.Recv()
			if err != nil {
				t.Fatal(err)
			}
			if got += len(r.GetOutcomes()); proto.Size(r) > 1<<20 {
				t.Fatalf("a message of %d bytes with %d views", proto.Size(r), len(r.GetOutcomes()))
			}
		}
	})
}

func TestABrokenMessageEndsItsStreamOnly(t *testing.T) {
	knocking(t, judged{}, func(t *testing.T, c weirv1.AccessServiceClient) {
		s := opened(t.Context(), t, c)
		bad := &weirv1.CheckStreamRequest{}
		bad.ProtoReflect().SetUnknown([]byte{0x0a, 0x03, 0x12, 0x09, 0x00}) // a check that is longer than its message
		if err := s.Send(bad); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Recv(); status.Code(err) != codes.Internal {
			t.Errorf("got %v", err)
		}
		if got := hear(t, opened(t.Context(), t, c, streamed(of("at once")))); got != "1:at once CONSUME" {
			t.Errorf("the next stream: %s", got)
		}
	})
}

// A server that stops waits for what it still has to answer, and not for callers that keep their streams open.
func TestAServerThatStopsEndsItsStreamsWithTheirLastAnswer(t *testing.T) {
	slow := judged{check: func(_ context.Context, q policy.Request) (policy.Decision, error) {
		time.Sleep(time.Second)
		return said(q), nil
	}}
	serving(t, slow, func(t *testing.T, c weirv1.AccessServiceClient, stop func()) {
		began := time.Now()
		idle := opened(t.Context(), t, c, streamed(of("at once")))
		if got := hear(t, idle); got != "1:at once CONSUME" {
			t.Error(got)
		}
		busy := opened(t.Context(), t, c, streamed(of("late", "a=1")))
		synctest.Wait()
		var stopped sync.WaitGroup
		stopped.Go(stop)
		if got := hear(t, idle); got != io.EOF.Error() || time.Since(began) != 0 {
			t.Errorf("the idle stream: %s after %s", got, time.Since(began))
		}
		if got := hear(t, busy); got != "1:late CONSUME a=1" || time.Since(began) != time.Second {
			t.Errorf("the busy stream: %s after %s", got, time.Since(began))
		}
		if got := hear(t, busy); got != io.EOF.Error() {
			t.Errorf("the busy stream ends with %s", got)
		}
		stopped.Wait()
		if took := time.Since(began); took != time.Second {
			t.Errorf("the stop took %s", took)
		}
	})
}

// While one message is on its way the answers that come share the next.
func TestAnswersThatComeWhileOneIsSentShareAMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var sent []int
		o := outbox{buffers: new(buffers), send: func(r *reply) error {
			time.Sleep(time.Second)
			m := &weirv1.CheckStreamResponse{}
			if err := proto.Unmarshal(*r.buffer, m); err != nil {
				t.Error(err)
			}
			sent = append(sent, len(m.GetOutcomes()))
			return nil
		}}
		o.room.L = &o.mu
		var all sync.WaitGroup
		for i := range 100 {
			all.Go(func() { o.add(uint64(i), &policy.Decision{Message: strconv.Itoa(i)}, nil) })
			if i == 0 {
				synctest.Wait()
			}
		}
		all.Wait()
		if fmt.Sprint(sent) != "[1 99]" {
			t.Errorf("messages of %v", sent)
		}
	})
}
