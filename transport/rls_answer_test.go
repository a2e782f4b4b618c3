package transport

import (
	"testing"
	"time"

	rlsv3 "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"

	"github.com/weir-cluster/weir/policy"
)

// What limits nobody is not told as the limit; what was changed for an account is told whole.
func TestTheToldLimitIsTheOneThatHolds(t *testing.T) {
	shadow := policy.LimitState{Name: "sh", Limit: 1, Window: time.Minute, Shadow: true, Refused: true}
	real := policy.LimitState{Name: "tb", Limit: 6, Window: time.Minute, Remaining: 5}
	if l, known := tight(policy.Decision{Limits: []policy.LimitState{shadow, real}}, true); !known || l.Name != "tb" {
		t.Errorf("in a domain of ours %s, %v", l.Name, known)
	}
	if l, known := tight(policy.Decision{Limits: []policy.LimitState{shadow}}, false); !known || l.Name != "sh" {
		t.Errorf("a rule in shadow_mode %s, %v", l.Name, known)
	}
	if _, known := tight(policy.Decision{Limits: []policy.LimitState{shadow}}, true); known {
		t.Error("a shadow alone is told as a limit")
	}
	burst := policy.LimitState{Name: "tb", Limit: 60, Burst: 100, Window: time.Minute, Remaining: 100}
	if l := boundOf(burst); l.GetRequestsPerUnit() != 100 || l.GetUnit() != rlsv3.RateLimitResponse_RateLimit_SECOND || l.GetUnitMultiplier().GetValue() != 100 {
		t.Errorf("60 a minute with a burst of 100 is told as %v", l)
	}
	a := &asked{
		open: true, unit: policy.EnvoyMinute, multiple: 1, rule: &policy.EnvoyRule{Name: "per-user", Count: 3}, request: policy.Request{},
		decision: policy.Decision{Limits: []policy.LimitState{{Name: "per-user", Limit: 9, Window: time.Hour, Remaining: 8, Overridden: true}}},
	}
	st := a.status(time.Unix(600, 0))
	if l := st.GetCurrentLimit(); l.GetName() != "per-user" || l.GetRequestsPerUnit() != 9 || l.GetUnit() != rlsv3.RateLimitResponse_RateLimit_HOUR {
		t.Errorf("overridden: %v", l)
	}
	if got := st.GetDurationUntilReset().AsDuration(); got != 3000*time.Second {
		t.Errorf("its window ends in %s, want 3000s", got)
	}
}
