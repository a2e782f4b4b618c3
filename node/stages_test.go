package node

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weir-cluster/weir/policy"
)

func TestEachStageEndsBeforeTheOneItWasBuiltOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ended := make(chan string, 3)
		slow := func(name string, takes time.Duration, err error) stage {
			return stage{name, func(ctx context.Context) error {
				<-ctx.Done()
				time.Sleep(takes)
				ended <- name
				return err
			}}
		}
		broken := errors.New("did not close")
		r := start([]stage{slow("base", 0, nil), slow("middle", time.Second, broken), slow("top", time.Minute, nil)})
		if err := r.stop(); !errors.Is(err, broken) || !strings.Contains(err.Error(), "middle") {
			t.Errorf("stop: %v", err)
		}
		if got := []string{<-ended, <-ended, <-ended}; !slices.Equal(got, []string{"top", "middle", "base"}) {
			t.Errorf("ended %v", got)
		}
	})
}

func TestTheFirstStageThatFailsEndsTheWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start([]stage{
			{"lasting", func(ctx context.Context) error { <-ctx.Done(); return nil }},
			{"done", func(context.Context) error { return nil }},
			{"failing", func(context.Context) error { return context.DeadlineExceeded }},
		})
		if err := r.wait(t.Context()); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "failing") {
			t.Errorf("wait: %v", err)
		}
		if err := r.stop(); err != nil {
			t.Errorf("stop: %v", err)
		}
	})
}

func TestLimitNamesInMetricsAreBounded(t *testing.T) {
	m := quietMeters()
	for i := range limitNamesMax + 50 {
		m.count(pathHome, time.Millisecond, &policy.Decision{Verdict: policy.Deny, Reason: policy.RateLimited, Refusing: fmt.Sprint("limit-", i)}, nil)
	}
	var b strings.Builder
	m.write(&b)
	if n := strings.Count(b.String(), "weir_decisions_total{"); n != limitNamesMax+1 {
		t.Errorf("%d series for %d limits, want %d", n, limitNamesMax+50, limitNamesMax+1)
	}
	if !strings.Contains(b.String(), `limit="other",verdict="DENY",reason="RATE_LIMITED",path="home"} 50`) {
		t.Error("what is past the bound is not counted as other")
	}
}
