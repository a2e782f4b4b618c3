package bench

import (
	"errors"
	"testing"
	"time"

	weirv1 "github.com/weir-cluster/weir/api/weir/v1"
)

// bucket is an exact token bucket, or one that gives some more or some less.
type bucket struct {
	level, rate, burst float64
	at                 time.Duration
	extra              int // admissions beyond it
	stingy             int // refusals though there was some
}

func (b *bucket) take(now time.Duration) bool {
	b.level = min(b.burst, b.level+b.rate*(now-b.at).Seconds())
	b.at = now
	switch {
	case b.level >= 1 && b.stingy > 0 && now > time.Second:
		b.stingy--
		b.level--
		return false
	case b.level >= 1:
		b.level--
		return true
	case b.extra > 0:
		b.extra--
		return true
	}
	return false
}

// audited asks a bucket every step for a span, an answer taking trip each way.
func audited(b *bucket, step, span, trip time.Duration) Audit {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	var s books
	for at := time.Duration(0); at <= span; at += step {
		d := &weirv1.Decision{Verdict: weirv1.Verdict_VERDICT_DENY, Reason: "RATE_LIMITED"}
		if b.take(at + trip) {
			d = &weirv1.Decision{Verdict: weirv1.Verdict_VERDICT_ALLOW, Reason: "OK"}
		}
		s.note(start.Add(at), start.Add(at+2*trip), d, nil)
	}
	return s.audit(b.rate, b.burst)
}

func TestAuditFindsWhatTheBoundForbids(t *testing.T) {
	t.Parallel()
	const ms = time.Millisecond
	exact := func(extra, stingy int) *bucket {
		return &bucket{level: 100, rate: 50, burst: 100, extra: extra, stingy: stingy}
	}
	rows := []struct {
		name        string
		b           *bucket
		trip        time.Duration
		over, under int64
	}{
		{"exact", exact(0, 0), 0, 0, 0},
		{"exact, slow answers", exact(0, 0), 40 * ms, 0, 0},
		{"one too many", exact(1, 0), 0, 1, 0},
		{"twenty too many, slow answers", exact(20, 0), ms, 20, 0},
		{"thirty too few", exact(0, 30), 0, 0, 30},
	}
	for _, r := range rows {
		a := audited(r.b, 5*ms, 10*time.Second, r.trip)
		if near(a.Over, r.over) || near(a.Under, r.under) || a.Admitted > a.Most+r.over || a.Least > a.Most {
			t.Errorf("%s: over %d, under %d of %+v; want %d, %d", r.name, a.Over, a.Under, a, r.over, r.under)
		}
	}
}

// near reports whether got is not want, give or take the one that the end of a bound may hide; 0 is exact.
func near(got, want int64) bool { return got > want || got < want-1 || want == 0 && got != 0 }

func TestAuditOfSlowAskingCountsNothingAgainstTheBucket(t *testing.T) {
	t.Parallel()
	a := audited(&bucket{level: 100, rate: 50, burst: 100}, time.Second, 10*time.Second, time.Millisecond)
	if a.Admitted != 11 || a.Least != 0 || a.Over != 0 || a.Under != 0 {
		t.Errorf("%+v: nothing was refused, so nothing was due beyond what was asked", a)
	}
}

func TestLostAnswersAreNotCalledUnderAdmission(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	yes := &weirv1.Decision{Verdict: weirv1.Verdict_VERDICT_ALLOW, Reason: "FALLBACK_SHARE"}
	var b books
	b.note(start, start, yes, nil)
	b.note(start.Add(1), start.Add(2), nil, errors.New("lost"))
	b.note(start.Add(3), start.Add(4), &weirv1.Decision{Verdict: weirv1.Verdict_VERDICT_DENY}, nil)
	if a := b.audit(0, 3); a.Admitted != 1 || a.Least != 2 || a.Errors != 1 || a.Under != 0 || a.Fallback != 1 {
		t.Errorf("%+v", a)
	}
	b = books{}
	b.note(start, start, yes, nil)
	b.note(start.Add(3), start.Add(4), &weirv1.Decision{Verdict: weirv1.Verdict_VERDICT_DENY}, nil)
	if a := b.audit(0, 3); a.Least != 2 || a.Under != 1 {
		t.Errorf("two of three were due and one came: %+v", a)
	}
	if a := (&books{}).audit(50, 100); a != (Audit{Rate: 50, Burst: 100, Most: 100}) {
		t.Errorf("nothing asked: %+v", a)
	}
}
