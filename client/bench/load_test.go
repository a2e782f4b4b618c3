package bench

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	weirv1 "github.com/weir-cluster/weir/api/weir/v1"
)

// slow answers after a time, which may depend on when it is asked.
type slow struct {
	began time.Time
	took  func(since time.Duration) time.Duration
	err   error
}

func (s *slow) caller(context.Context, int) (caller, error) {
	return func(ctx context.Context, t *tally) error {
		select {
		case <-time.After(s.took(time.Since(s.began))):
		case <-ctx.Done():
			return ctx.Err()
		}
		if s.err != nil {
			return s.err
		}
		note(t, weirv1.Verdict_VERDICT_ALLOW, "OK")
		return nil
	}, nil
}

func always(d time.Duration) func(time.Duration) time.Duration {
	return func(time.Duration) time.Duration { return d }
}

// loaded runs a load in virtual time.
func loaded(t *testing.T, l load, s *slow) (m sample, err error) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s.began = time.Now()
		l.nap = time.Sleep
		m, err = l.run(t.Context(), s)
	})
	return m, err
}

func TestClosedLoopCountsWhatCameBackInItsWindow(t *testing.T) {
	t.Parallel()
	// 10 callers, 10 ms each: 1000 a second; a warm-up of 1 s counts in the total only.
	m, err := loaded(t, load{callers: 10, window: 4 * time.Second, warmup: time.Second}, &slow{took: always(10 * time.Millisecond)})
	if err != nil || m.perSecond() < 995 || m.perSecond() > 1005 || m.decisions < 4990 || m.decisions > 5010 {
		t.Errorf("%.0f a second, %d in all, %v", m.perSecond(), m.decisions, err)
	}
	if m.latency.P50 < 9980 || m.latency.P50 > 10020 || m.latency.Max > 10020 || m.latency.Count < 3990 || m.latency.Count > 4020 {
		t.Errorf("latency %+v, want 10 ms of 4000", m.latency)
	}
}

func TestOpenLoopChargesAStallToEveryMessageThatFellIntoIt(t *testing.T) {
	t.Parallel()
	// Of 10 s the server stalls for one. A closed loop sees one slow answer a caller; here a tenth of all
	// messages were meant to be sent in the stall, and they were late by half a second on average.
	stall := func(since time.Duration) time.Duration {
		if since > 4*time.Second && since < 5*time.Second {
			return 5*time.Second - since
		}
		return time.Millisecond
	}
	m, err := loaded(t, load{callers: 4, rate: 1000, window: 10 * time.Second}, &slow{took: stall})
	if err != nil {
		t.Fatal(err)
	}
	if m.latency.Count < 9500 || m.latency.Count > 10500 || m.latency.P50 > 3000 {
		t.Errorf("latency %+v, want 10,000 of 1 ms in the middle", m.latency)
	}
	if m.latency.P99 < 800e3 || m.late.P99 < 800e3 {
		t.Errorf("p99 is %.0f µs, sent late %.0f µs: want the stall in both", m.latency.P99, m.late.P99)
	}
}

func TestOpenLoopBooksWhatIsNeverSentAsErrors(t *testing.T) {
	t.Parallel()
	m, err := loaded(t, load{callers: 1, rate: 100, window: time.Second}, &slow{took: always(500 * time.Millisecond)})
	if err != nil {
		t.Fatal(err)
	}
	if answered, lost := m.decisions, m.errors["DeadlineExceeded"]; answered > 7 || answered+lost < 70 {
		t.Errorf("%d answered, %d lost: want 6 of about 100, and the others not forgotten", answered, lost)
	}
}

func TestLoadThatDecidesNothingSaysWhy(t *testing.T) {
	t.Parallel()
	why := errors.New("nobody is there")
	if _, err := loaded(t, load{callers: 2, window: time.Second}, &slow{took: always(time.Millisecond), err: why}); !errors.Is(err, why) {
		t.Errorf("error %v", err)
	}
}

func TestInterruptedLoadReportsWhatThereWas(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		m, err := load{callers: 1, window: time.Hour}.run(ctx, &slow{began: time.Now(), took: always(10 * time.Millisecond)})
		if err != nil || !m.interrupted || m.took < 2*time.Second || m.took > 2100*time.Millisecond || m.perSecond() < 95 || m.perSecond() > 105 {
			t.Errorf("%v after %v: %.0f a second, %v", m.interrupted, m.took, m.perSecond(), err)
		}
	})
}

func TestSidesTakeTurns(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		fast, lame := &slow{took: always(time.Millisecond)}, &slow{took: always(2 * time.Millisecond)}
		all, err := turns(t.Context(), 3, load{callers: 1, window: time.Second}, side{name: "weir", door: lame}, side{name: "floor", door: fast})
		if err != nil || len(all) != 2 || len(all[0].samples) != 3 || len(all[1].samples) != 3 {
			t.Fatalf("%d sides, %v", len(all), err)
		}
		a := against(all[0], all[1])
		if a.PerSecond < 0.49 || a.PerSecond > 0.51 || a.P50 < 1.9 || a.P50 > 2.1 {
			t.Errorf("half as fast, but %+v", a)
		}
		s := all[0].step("maximum", "weir", load{callers: 1}, 1)
		if s.Loop != Closed || s.Decisions < 1490 || s.Decisions > 1510 || s.Seconds != 3 || s.Verdicts["ALLOW"] < s.Decisions || s.Reasons["OK"] != s.Verdicts["ALLOW"] {
			t.Errorf("step %+v", s)
		}
	})
}
