package transport

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	weirv1 "github.com/weir-cluster/weir/api/weir/v1"
	"github.com/weir-cluster/weir/cluster"
	"github.com/weir-cluster/weir/policy"
)

// newer is a field that no node here knows, as a newer client or node would send it.
const newer = "\xa2\x06\x03abc"

// abroad is judged with a home elsewhere for every request whose domain is not "at once".
type abroad struct {
	judged
	t *testing.T
	// home gets what is forwarded, and may keep answer. Without one everything is echoed at once.
	home func(q *weirv1.CheckRequest, left time.Duration, answer func(cluster.Carried, error))
	// resume decides what came back with an error.
	resume func(ctx context.Context, q policy.Request, heard error) (policy.Decision, error)
}

func (a abroad) Forward(_ context.Context, _ *policy.Request, encoded string, left time.Duration, answer func(cluster.Carried, error)) bool {
	q := &weirv1.CheckRequest{}
	if err := proto.Unmarshal([]byte(encoded), q); err != nil {
		a.t.Errorf("forwarded %x: %v", encoded, err)
	}
	if a.home == nil {
		answer(a.echo(q), nil)
	} else {
		a.home(q, left, answer)
	}
	return true
}

func (a abroad) Resume(ctx context.Context, q policy.Request, heard error) (policy.Decision, error) {
	return a.resume(ctx, q, heard)
}

// echo is a decision that says what was asked, with what the asker sent that is not known and something of its own.
func (a abroad) echo(q *weirv1.CheckRequest) cluster.Carried {
	return cluster.Carried{Encoded: append(encoded(a.t, &weirv1.Decision{
		Verdict: weirv1.Verdict_VERDICT_ALLOW, Message: said(fromRequest(q)).Message + hex(q), Home: "elsewhere", Epoch: 9,
	}), newer...)}
}

// hex writes what is not known of a message.
func hex(m proto.Message) string { return fmt.Sprintf("%.20x", m.ProtoReflect().GetUnknown()) }

// withNewer is a check of a domain with a field that is not known.
func withNewer(domain string, attributes ...string) *weirv1.CheckRequest {
	r := of(domain, attributes...)
	r.ProtoReflect().SetUnknown([]byte(newer))
	return r
}

func TestAForwardedCheckPassesThroughAsItIs(t *testing.T) {
	unknown := hex(withNewer(""))
	common := of("away", "x=1")
	common.Mode, common.Cost = weirv1.Mode_MODE_PEEK, []*weirv1.Cost{{Meter: "tokens", Amount: 7}}
	knocking(t, abroad{t: t}, func(t *testing.T, c weirv1.AccessServiceClient) {
		look := func(way string, d *weirv1.Decision, want string) {
			t.Helper()
			if d.GetMessage() != want || d.GetHome() != "elsewhere" || d.GetEpoch() != 9 || string(d.ProtoReflect().GetUnknown()) != newer {
				t.Errorf("%s: %v, want %q and what is not known", way, d, want)
			}
		}
		d, err := c.Check(t.Context(), withNewer("away", "a=1"))
		if err != nil {
			t.Fatal(err)
		}
		look("alone", d, "away CONSUME a=1"+unknown)
		b, err := c.CheckBatch(t.Context(), &weirv1.CheckBatchRequest{Checks: []*weirv1.CheckRequest{
			of("at once", "a=1"), withNewer("away", "b=2"), of("at once"), withNewer("away", "c=3"),
		}})
		if err != nil || heard(b.GetOutcomes()[0]) != "at once CONSUME a=1" || heard(b.GetOutcomes()[2]) != "at once CONSUME" {
			t.Fatal(b, err)
		}
		look("in a batch", b.GetOutcomes()[1].GetDecision(), "away CONSUME b=2"+unknown)
		look("in a batch", b.GetOutcomes()[3].GetDecision(), "away CONSUME c=3"+unknown)
		m := streamed(withNewer("", "a=1"), withNewer("far"))
		m.Common = common
		s := opened(t.Context(), t, c, m)
		for n := 0; n < 2; {
			r, err := s.Recv()
			if err != nil {
				t.Fatal(err)
			}
			for _, o := range r.GetOutcomes() {
				look("on a stream", o.GetOutcome().GetDecision(), []string{"away PEEK x=1 a=1 tokens", "far PEEK x=1 tokens"}[o.GetId()-1]+unknown)
				n++
			}
		}
	})
}

// What a home does not decide goes on with what is left of the time, and what was asked.
func TestWhatComesBackUndecidedIsResumed(t *testing.T) {
	trouble := errors.New("no decision")
	a := abroad{t: t, home: func(_ *weirv1.CheckRequest, left time.Duration, answer func(cluster.Carried, error)) {
		if left == 2*time.Second { // as from a full queue: while it is being forwarded
			answer(cluster.Carried{}, trouble)
			return
		}
		time.AfterFunc(300*time.Millisecond, func() { answer(cluster.Carried{Took: 300 * time.Millisecond}, trouble) })
	}}
	a.resume = func(ctx context.Context, q policy.Request, heard error) (policy.Decision, error) {
		deadline, _ := ctx.Deadline()
		return policy.Decision{Message: fmt.Sprint(said(q).Message, " ", time.Until(deadline))}, map[bool]error{heard == trouble: nil}[true]
	}
	knocking(t, a, func(t *testing.T, c weirv1.AccessServiceClient) {
		for left, want := range map[time.Duration]string{time.Second: "700ms", 2 * time.Second: "2s", time.Hour: "59.7s"} {
			m := streamed(of("away", "a=1"))
			m.Checks[0].TimeoutMs = left.Milliseconds()
			if got := hear(t, opened(t.Context(), t, c, m)); got != "1:away CONSUME a=1 "+want {
				t.Errorf("on a stream with %s: %s, want %s", left, got, want)
			}
			ctx, cancel := context.WithTimeout(t.Context(), left)
			d, err := c.Check(ctx, of("away", "a=1"))
			if err != nil || d.GetMessage() != "away CONSUME a=1 "+want {
				t.Errorf("alone with %s: %v, %v, want %s", left, d, err, want)
			}
			cancel()
			ctx, cancel = context.WithTimeout(t.Context(), left)
			b, err := c.CheckBatch(ctx, &weirv1.CheckBatchRequest{Checks: []*weirv1.CheckRequest{of("at once"), of("away", "a=1")}})
			if err != nil || heard(b.GetOutcomes()[1]) != "away CONSUME a=1 "+want {
				t.Errorf("in a batch with %s: %v, %v, want %s", left, b, err, want)
			}
			cancel()
		}
	})
}

// hanging keeps the answers to a domain "hung"; all others it echoes.
func hanging(t *testing.T) (abroad, func() []func(cluster.Carried, error)) {
	t.Helper()
	var mu sync.Mutex
	var kept []func(cluster.Carried, error)
	a := abroad{t: t}
	a.home = func(q *weirv1.CheckRequest, _ time.Duration, answer func(cluster.Carried, error)) {
		if q.GetDomain() != "hung" {
			answer(a.echo(q), nil)
			return
		}
		mu.Lock()
		defer mu.Unlock()
		kept = append(kept, answer)
	}
	return a, func() []func(cluster.Carried, error) {
		mu.Lock()
		defer mu.Unlock()
		return kept
	}
}

func TestAHomeThatHangsHoldsUpNoOther(t *testing.T) {
	a, kept := hanging(t)
	knocking(t, a, func(t *testing.T, c weirv1.AccessServiceClient) {
		began := time.Now()
		s := opened(t.Context(), t, c, streamed(of("hung"), of("at once"), of("hung"), of("away")))
		got := map[string]bool{}
		for len(got) < 2 {
			for _, one := range strings.Split(hear(t, s), ", ") {
				got[one] = true
			}
		}
		if !got["2:at once CONSUME"] || !got["4:away CONSUME"] || time.Since(began) != 0 {
			t.Errorf("%v after %s", got, time.Since(began))
		}
		if err := s.CloseSend(); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		for i, answer := range kept() {
			answer(a.echo(of(fmt.Sprint("at last ", i))), nil)
		}
		var all []string
		for word := hear(t, s); word != io.EOF.Error(); word = hear(t, s) {
			all = append(all, word)
		}
		if got := strings.Join(all, ", "); got != "1:at last 0 CONSUME, 3:at last 1 CONSUME" {
			t.Errorf("who hung up properly got %s", got)
		}
	})
}

// The answers to a caller that is gone come too late for everybody.
func TestACallerThatHangsUpWaitsForNoHome(t *testing.T) {
	a, kept := hanging(t)
	var resumed atomic.Int64
	a.resume = func(context.Context, policy.Request, error) (policy.Decision, error) {
		resumed.Add(1)
		return policy.Decision{}, nil
	}
	began := time.Now()
	knocking(t, a, func(t *testing.T, c weirv1.AccessServiceClient) {
		began = time.Now()
		ctx, cancel := context.WithCancel(t.Context())
		opened(ctx, t, c, streamed(of("hung"), of("hung"), of("hung"), of("hung")))
		broken := opened(ctx, t, c, streamed(of("hung")))
		bad := &weirv1.CheckStreamRequest{}
		bad.ProtoReflect().SetUnknown([]byte{0x0a, 0x03, 0x12, 0x09, 0x00})
		if err := broken.Send(bad); err != nil {
			t.Error(err)
		}
		if _, err := broken.Recv(); status.Code(err) != codes.Internal {
			t.Errorf("a broken message: %v", err)
		}
		var calls sync.WaitGroup
		calls.Go(func() { _, _ = c.Check(ctx, of("hung")) })
		calls.Go(func() {
			_, _ = c.CheckBatch(ctx, &weirv1.CheckBatchRequest{Checks: []*weirv1.CheckRequest{of("hung"), of("hung")}})
		})
		synctest.Wait()
		cancel()
		calls.Wait()
		synctest.Wait()
		if n := len(kept()); n != 8 {
			t.Errorf("%d were forwarded", n)
		}
		for i, answer := range kept() { // the server runs on
			answer(a.echo(of("too late")), map[bool]error{true: cluster.ErrUnreachable}[i%2 == 1])
		}
		if took := time.Since(began); took != 0 {
			t.Errorf("it took %s", took)
		}
	})
	if n := resumed.Load(); n != 0 {
		t.Errorf("%d checks were resumed for nobody", n)
	}
}

// Ten thousand checks may be open at homes elsewhere, and none holds a goroutine.
func TestTenThousandForwardedChecksAreOpenAtOnce(t *testing.T) {
	a, kept := hanging(t)
	const streams, each = 10, openMax
	knocking(t, a, func(t *testing.T, c weirv1.AccessServiceClient) {
		var m []*weirv1.CheckRequest
		for range each {
			m = append(m, of("hung"))
		}
		var all []checkStream
		for range streams {
			all = append(all, opened(t.Context(), t, c, streamed(m...), streamed(of("at once"), of("hung"))))
		}
		for _, s := range all {
			if got := hear(t, s); got != "1:at once CONSUME" {
				t.Errorf("what needs no place got %s", got)
			}
		}
		synctest.Wait()
		if n := len(kept()); n != streams*each {
			t.Errorf("%d are open", n)
		}
		first := kept()
		for _, answer := range first {
			answer(a.echo(of("at last")), nil)
		}
		synctest.Wait()
		second := kept()[len(first):]
		if len(second) != streams {
			t.Errorf("%d found a place when there was room", len(second))
		}
		for _, answer := range second {
			answer(a.echo(of("at last")), nil)
		}
		for _, s := range all {
			_ = s.CloseSend()
			got := 0
			for m, err := s.Recv(); err == nil; m, err = s.Recv() {
				got += len(m.GetOutcomes())
			}
			if got != each+1 {
				t.Errorf("%d answers", got)
			}
		}
	})
}

func TestACheckThatIsTooLargeToShareAMessageIsNotForwardedSo(t *testing.T) {
	for size, want := range map[int]string{encodedMax - 100: "away CONSUME", encodedMax + 100: "checked"} {
		a := abroad{t: t}
		a.check = func(context.Context, policy.Request) (policy.Decision, error) {
			return policy.Decision{Message: "checked"}, nil
		}
		knocking(t, a, func(t *testing.T, c weirv1.AccessServiceClient) {
			q := of("away")
			field := append([]byte{0xa2, 0x06}, appendVarint(nil, uint64(size))...)
			q.ProtoReflect().SetUnknown(append(field, make([]byte, size)...))
			d, err := c.Check(t.Context(), q)
			if err != nil || !strings.HasPrefix(d.GetMessage(), want) {
				t.Errorf("alone, with %d bytes: %.40s, %v", size, d.GetMessage(), err)
			}
			if got := hear(t, opened(t.Context(), t, c, streamed(q))); !strings.HasPrefix(got, "1:"+want) {
				t.Errorf("on a stream, with %d bytes: %.40s", size, got)
			}
		})
	}
}
