package bench

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	weirv1 "github.com/weir-cluster/weir/api/weir/v1"
)

func TestQuantilesAreThoseOfAllCallers(t *testing.T) {
	t.Parallel()
	l := newLatencies()
	for i := range 1000 { // 1 to 1000 ms over 40 callers
		l.record(i%40, time.Duration(i+1)*time.Millisecond)
	}
	q := l.quantiles()
	rows := []struct {
		name      string
		got, want float64
	}{{"p50", q.P50, 500e3}, {"p99", q.P99, 990e3}, {"p99.9", q.P999, 999e3}, {"max", q.Max, 1000e3}}
	for _, r := range rows {
		if r.got < 0.998*r.want || r.got > 1.002*r.want {
			t.Errorf("%s is %.0f µs, want %.0f", r.name, r.got, r.want)
		}
	}
	if q.Count != 1000 {
		t.Errorf("%d recorded", q.Count)
	}
}

func TestTimesBeyondTheBoundsAreKeptAtThem(t *testing.T) {
	t.Parallel()
	l := newLatencies()
	l.record(0, -time.Second)
	l.record(1, time.Hour)
	if q := l.quantiles(); q.Count != 2 || q.P50 > 1 || q.Max < 0.99*float64(latencyMax.Microseconds()) || q.Max > 1.01*float64(latencyMax.Microseconds()) {
		t.Errorf("%+v", q)
	}
}

// outcomes makes what a batch or a stream answers: ALLOW OK with limits, DENY RATE_LIMITED, a fault, a
// decision that says nothing, and nothing at all.
func outcomes() []*weirv1.Outcome {
	return []*weirv1.Outcome{
		{Decision: &weirv1.Decision{Verdict: weirv1.Verdict_VERDICT_ALLOW, Reason: "OK", Limits: []*weirv1.LimitState{{Name: "a", Limit: 5}}, Home: "n1"}},
		{Decision: &weirv1.Decision{Verdict: weirv1.Verdict_VERDICT_ALLOW, Reason: "OK"}},
		{Decision: &weirv1.Decision{Verdict: weirv1.Verdict_VERDICT_DENY, Reason: "RATE_LIMITED", Message: "later"}},
		{Decision: &weirv1.Decision{Verdict: weirv1.Verdict_VERDICT_ALLOW, Reason: "FALLBACK_SHARE"}},
		{Fault: &weirv1.Fault{Code: 3, Message: "no such domain", Word: "INVALID"}},
		{Decision: &weirv1.Decision{}},
		{},
	}
}

func encoded(t testing.TB, streamed bool) []byte {
	t.Helper()
	var m proto.Message = &weirv1.CheckBatchResponse{Outcomes: outcomes()}
	if streamed {
		s := &weirv1.CheckStreamResponse{}
		for i, o := range outcomes() {
			s.Outcomes = append(s.Outcomes, &weirv1.StreamedOutcome{Id: uint64(i), Outcome: o})
		}
		m = s
	}
	b, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestAnswersAreCountedWithoutDecodingThem(t *testing.T) {
	t.Parallel()
	for _, streamed := range []bool{false, true} {
		var c tally
		n, err := scan(encoded(t, streamed), streamed, &c)
		if err != nil || n != 7 || c.decisions != 5 {
			t.Errorf("streamed %t: %d outcomes, %d decisions, %v", streamed, n, c.decisions, err)
		}
		got := fmt.Sprint(c.verdicts(), c.reasons(), c.errors, c.fallbacks())
		if want := "map[ALLOW:3 DENY:1 UNSPECIFIED:1] map[:1 FALLBACK_SHARE:1 OK:2 RATE_LIMITED:1] map[EMPTY:1 INVALID:1] 1"; got != want {
			t.Errorf("streamed %t: got  %s\nwant %s", streamed, got, want)
		}
	}
	if _, err := scan([]byte{0x0a, 0x7f}, false, &tally{}); !errors.Is(err, errGarbled) {
		t.Errorf("a length beyond the end: %v", err)
	}
}

// Whatever the generated code can read, counting reads alike once it is written out again; nothing panics.
func FuzzCountingAgreesWithDecoding(f *testing.F) {
	f.Add(encoded(f, false), false)
	f.Add(encoded(f, true), true)
	f.Add([]byte{0x0a, 0x02, 0x0a, 0x00}, false)
	f.Add([]byte{0x0a, 0x00, 0x12}, true)
	f.Fuzz(func(t *testing.T, b []byte, streamed bool) {
		_, _ = scan(b, streamed, &tally{})
		var all []*weirv1.Outcome
		var m proto.Message
		if streamed {
			s := &weirv1.CheckStreamResponse{}
			if proto.Unmarshal(b, s) != nil {
				return
			}
			for _, o := range s.GetOutcomes() {
				all = append(all, o.GetOutcome())
			}
			m = s
		} else {
			s := &weirv1.CheckBatchResponse{}
			if proto.Unmarshal(b, s) != nil {
				return
			}
			all, m = s.GetOutcomes(), s
		}
		again, err := proto.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		var got, want tally
		n, err := scan(again, streamed, &got)
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range all {
			switch {
			case o.GetDecision() != nil:
				note(&want, o.GetDecision().GetVerdict(), o.GetDecision().GetReason())
			case o.GetFault() != nil:
				want.fault(o.GetFault().GetWord(), errGarbled)
			default:
				want.fault("EMPTY", errGarbled)
			}
		}
		g, w := fmt.Sprint(got.verdicts(), got.reasons(), got.errors), fmt.Sprint(want.verdicts(), want.reasons(), want.errors)
		if n != len(all) || g != w {
			t.Fatalf("counted %d: %s\nwant %d: %s", n, g, len(all), w)
		}
	})
}

func TestErrorsAreCountedByTheirCode(t *testing.T) {
	t.Parallel()
	var a, b tally
	a.failed(status.Error(codes.Unavailable, "gone"))
	a.failed(fmt.Errorf("call: %w", context.DeadlineExceeded))
	b.failed(status.Error(codes.Unavailable, "gone"))
	b.failed(errors.New("what?"))
	a.add(&b)
	if got, want := fmt.Sprint(a.errors), "map[DeadlineExceeded:1 Unavailable:2 Unknown:1]"; got != want || a.first == nil {
		t.Errorf("got %s, want %s; the first: %v", got, want, a.first)
	}
}

func TestWordsAreBounded(t *testing.T) {
	t.Parallel()
	var c tally
	for i := range 10 * wordsMax {
		note(&c, weirv1.Verdict_VERDICT_DENY, fmt.Sprint("reason", i))
		c.fault(fmt.Sprint("word", i), errGarbled)
	}
	if len(c.kinds) > wordsMax+1 || len(c.errors) > wordsMax+1 || c.decisions != 10*wordsMax || c.reasons()["other"] != 9*wordsMax || c.errors["other"] != 9*wordsMax {
		t.Errorf("%d kinds, %d errors, %d of them other", len(c.kinds), len(c.errors), c.reasons()["other"])
	}
}
