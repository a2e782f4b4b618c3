package policy

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"
	"pgregory.net/rapid"
)

// anyLimit draws a limit of any algorithm, as a policy writes it, with the settings appended.
func anyLimit(t *rapid.T, name, settings string) string {
	count := rapid.IntRange(1, 9).Draw(t, "count")
	how := rapid.SampledFrom([]string{
		"token_bucket, rate: %d/7s, burst: 6", "fixed_window, limit: %d, window: 10s", "sliding_window, limit: %d, window: 10s",
		"rolling_log, limit: %d, window: 10s", "calendar_window, limit: %d, window: day, time_zone: America/New_York",
		"calendar_window, limit: %d, window: month", "concurrency, limit: %d, ttl: 11s",
	}).Draw(t, "algorithm")
	return "      - {name: " + name + ", key: [user], algorithm: " + fmt.Sprintf(how, count) + settings + "}\n"
}

func anyLimits(t *rapid.T, n int, settings string) (text string) {
	for i := range n {
		text += anyLimit(t, fmt.Sprint("l", i), settings)
	}
	return text
}

func underLimits(limits string) string {
	return "version: 1\ndomains:\n  llm:\n    account: [user]\n    limits:\n" + limits
}

// must asks the rig, for rapid's T.
func (g *rig) must(t *rapid.T, r Request) Decision {
	d, err := g.w.Check(context.Background(), r)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func (g *rig) sleep(t *rapid.T, most time.Duration) {
	g.now = g.now.Add(time.Duration(rapid.Int64Range(0, int64(most)).Draw(t, "pause")))
}

// TestLimitsTakeTogetherOrNotAtAll looks at every limit before and after each check, over any set of limits.
func TestLimitsTakeTogetherOrNotAtAll(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		g := newRig(new(testing.B), underLimits(anyLimits(t, rapid.IntRange(1, 5).Draw(t, "limits"), "")))
		for range rapid.IntRange(1, 20).Draw(t, "steps") {
			g.sleep(t, 6*time.Second)
			r := alice(fmt.Sprint("requests:", rapid.IntRange(1, 4).Draw(t, "requests")))
			before := g.must(t, Standing(r.Domain, r.Attributes))
			d := g.must(t, r)
			after := g.must(t, Standing(r.Domain, r.Attributes))
			if len(before.Limits) != len(d.Limits) || len(after.Limits) != len(d.Limits) {
				t.Fatalf("%d limits stood before, %d decided, %d stood after", len(before.Limits), len(d.Limits), len(after.Limits))
			}
			refused := slices.ContainsFunc(d.Limits, func(l LimitState) bool { return l.Refused })
			if refused != (d.Verdict == Deny) {
				t.Fatalf("%+v", d)
			}
			for i, l := range d.Limits {
				was, is := before.Limits[i].Remaining, after.Limits[i].Remaining
				taken := was - is
				cost := r.Cost[0].Amount
				if g.policy.domains["llm"].limits[i].bound.Algorithm.String() == "concurrency" {
					cost = 1
				}
				if refused && taken != 0 || !refused && taken != cost || l.Remaining != is {
					t.Fatalf("%s: %s %d, then %d left, %d said", d.Verdict, l.Name, was, is, l.Remaining)
				}
			}
		}
	})
}

// TestWaitingAsToldSucceeds is the honest reply: nobody else asks, then after retry_after the same request is allowed, and
// a moment earlier it is not.
func TestWaitingAsToldSucceeds(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		charge := rapid.Bool().Draw(t, "on_deny")
		settings := ""
		if charge {
			settings = ", on_deny: charge"
		}
		limits := anyLimits(t, rapid.IntRange(1, 3).Draw(t, "limits"), "")
		if charge {
			limits += "      - {name: strict, key: [user], algorithm: token_bucket, rate: 3/7s, burst: 4" + settings + "}\n"
		}
		g := newRig(new(testing.B), underLimits(limits))
		denied := 0
		for range rapid.IntRange(1, 20).Draw(t, "steps") {
			g.sleep(t, 3*time.Second)
			r := alice(fmt.Sprint("requests:", rapid.IntRange(1, 4).Draw(t, "requests")))
			d := g.must(t, r)
			if d.Verdict == Allow {
				continue
			}
			if denied++; d.RetryAfter == 0 {
				if d.Remedy != RemedyAskOwner {
					t.Fatalf("no wait, and nobody to ask: %+v", d)
				}
				continue
			}
			early := r
			early.Mode = Peek
			g.now = g.now.Add(d.RetryAfter - 1)
			if e := g.must(t, early); e.Verdict != Deny {
				t.Fatalf("told to wait %v by %s, and a nanosecond less was enough", d.RetryAfter, d.Refusing)
			}
			g.now = g.now.Add(1)
			if e := g.must(t, r); e.Verdict != Allow {
				t.Fatalf("waited %v as told by %s, and got %+v", d.RetryAfter, d.Refusing, e)
			}
		}
	})
}

// TestShadowLimitsChangeNothing decides the same with any limits in shadow beside the others as without.
func TestShadowLimitsChangeNothing(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		limits := anyLimits(t, rapid.IntRange(1, 3).Draw(t, "limits"), "")
		settings := rapid.SampledFrom([]string{"", ", fallback: closed", ", fallback: open"}).Draw(t, "settings")
		plain := newRig(new(testing.B), underLimits(limits))
		shaded := newRig(new(testing.B), underLimits(limits+anyLimit(t, "s1", ", shadow: true"+settings)+anyLimit(t, "s2", ", shadow: true")))
		for range rapid.IntRange(1, 20).Draw(t, "steps") {
			plain.sleep(t, 6*time.Second)
			shaded.now = plain.now
			r := alice(fmt.Sprint("requests:", rapid.IntRange(1, 4).Draw(t, "requests")))
			if rapid.Bool().Draw(t, "peek") {
				r.Mode = Peek
			}
			want, got := plain.must(t, r), shaded.must(t, r)
			got.Limits = slices.DeleteFunc(got.Limits, func(l LimitState) bool { return l.Shadow })
			if got.ID, want.ID = (ulid.ULID{}), (ulid.ULID{}); !reflect.DeepEqual(got, want) {
				t.Fatalf("with limits in shadow %+v, without %+v", got, want)
			}
		}
	})
}

// TestDenialsAndLooksOfAnyAlgorithmChangeNothing decides the same after denials and looks as without them.
func TestDenialsAndLooksOfAnyAlgorithmChangeNothing(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		document := underLimits(anyLimits(t, rapid.IntRange(1, 4).Draw(t, "limits"), ""))
		a, b := newRig(new(testing.B), document), newRig(new(testing.B), document)
		for range rapid.IntRange(1, 25).Draw(t, "steps") {
			a.sleep(t, 6*time.Second)
			b.now = a.now
			r := alice(fmt.Sprint("requests:", rapid.IntRange(1, 5).Draw(t, "requests")))
			look := r
			look.Mode = Peek
			seen, d := a.must(t, look), a.must(t, r)
			if seen.Verdict != d.Verdict || seen.Reason != d.Reason || seen.RetryAfter != d.RetryAfter {
				t.Fatalf("looked %+v, got %+v", seen, d)
			}
			if d.Verdict == Deny {
				continue // b never sees it
			}
			e := b.must(t, r)
			if d.ID, e.ID = (ulid.ULID{}), (ulid.ULID{}); !reflect.DeepEqual(d, e) {
				t.Fatalf("after denials and looks %+v, without %+v", d, e)
			}
		}
	})
}
