package transport

import (
	"encoding/json"
	"math"
	"net/http"
	"slices"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	rlsv3 "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weir-cluster/weir/policy"
)

type (
	descriptorStatus = rlsv3.RateLimitResponse_DescriptorStatus
	currentLimit     = rlsv3.RateLimitResponse_RateLimit
)

// answer puts what the homes said together. A quota rule refuses nothing as long as another quota rule of the call has
// room; the indices of those that have none are in the metadata, and so is the metadata of those that have.
func (c *call) answer(now time.Time, jitter float64) *rlsv3.RateLimitResponse {
	r := &rlsv3.RateLimitResponse{OverallCode: rlsv3.RateLimitResponse_OK, Statuses: make([]*descriptorStatus, len(c.asks))}
	var violations []int
	quotas := 0
	for i := range c.asks {
		a := &c.asks[i]
		r.Statuses[i] = a.status(now)
		if a.rule != nil && a.rule.Quota {
			quotas++
			if a.over() {
				violations = append(violations, i)
			}
		}
	}
	if len(violations) < quotas {
		for _, i := range violations {
			r.Statuses[i].Code = rlsv3.RateLimitResponse_OK
		}
	}
	worst := -1
	for i, st := range r.GetStatuses() {
		if st.GetCode() == rlsv3.RateLimitResponse_OVER_LIMIT && (worst < 0 || longer(c.asks[i].decision, c.asks[worst].decision)) {
			worst = i
		}
	}
	if worst >= 0 {
		r.OverallCode = rlsv3.RateLimitResponse_OVER_LIMIT
	}
	c.headers(r, worst, jitter)
	c.metadata(r, worst, violations)
	return r
}

func (a *asked) over() bool {
	return a.open && a.decision.Verdict != policy.Allow && a.decision.Verdict != policy.Degrade
}

// longer reports whether a refuses for longer than b; what no wait helps refuses longest.
func longer(a, b policy.Decision) bool {
	if b.RetryAfter <= 0 {
		return false
	}
	return a.RetryAfter <= 0 || a.RetryAfter > b.RetryAfter
}

// status is the descriptor's own: of the limit in an Envoy tree as it is configured, of others' the tightest.
func (a *asked) status(now time.Time) *descriptorStatus {
	st := &descriptorStatus{Code: rlsv3.RateLimitResponse_OK}
	if a.rule != nil && a.rule.Unlimited {
		st.LimitRemaining = math.MaxUint32
		return st
	}
	if !a.open {
		return st
	}
	if a.over() {
		st.Code = rlsv3.RateLimitResponse_OVER_LIMIT
	}
	l, known := tight(a.decision, a.native)
	if a.native {
		if known {
			st.CurrentLimit = boundOf(l)
			st.LimitRemaining = narrow(l.Remaining)
			st.DurationUntilReset = durationpb.New(max(wholeSeconds(comeback(l)), time.Second))
		}
		return st
	}
	st.CurrentLimit = a.bound()
	window := int64(time.Duration(a.multiple) * a.unit.Window() / time.Second)
	if known {
		st.LimitRemaining = narrow(l.Remaining)
		if l.Overridden { // for this account, with a window of its own perhaps
			name := st.CurrentLimit.Name
			st.CurrentLimit = boundOf(l)
			st.CurrentLimit.Name = name
			window = max(1, int64(l.Window/time.Second))
		}
	}
	st.DurationUntilReset = &durationpb.Duration{Seconds: window - now.Unix()%window}
	return st
}

// bound is the limit of an Envoy tree, or the one that the descriptor brought along.
func (a *asked) bound() *currentLimit {
	b := &currentLimit{Unit: rlsv3.RateLimitResponse_RateLimit_Unit(a.unit)}
	if o := a.request.Override; o != nil {
		b.RequestsPerUnit = o.Count
	} else {
		b.Name, b.RequestsPerUnit = a.rule.Name, a.rule.Count
	}
	if a.multiple > 1 {
		b.UnitMultiplier = wrapperspb.UInt32(a.multiple)
	}
	return b
}

// boundOf says in Envoy's units what a limit of ours is.
func boundOf(l policy.LimitState) *currentLimit {
	units, window := quota(l)
	b := &currentLimit{Name: l.Name, RequestsPerUnit: narrow(units)}
	window = wholeSeconds(window)
	for _, u := range []policy.EnvoyUnit{
		policy.EnvoyYear, policy.EnvoyMonth, policy.EnvoyWeek, policy.EnvoyDay, policy.EnvoyHour, policy.EnvoyMinute, policy.EnvoySecond,
	} {
		n := window / u.Window()
		if window == 0 || window%u.Window() != 0 || n > 1 && u.Window() > policy.EnvoyDay.Window() {
			continue
		}
		if b.Unit = rlsv3.RateLimitResponse_RateLimit_Unit(u); n > 1 {
			b.UnitMultiplier = wrapperspb.UInt32(uint32(min(n, math.MaxUint32)))
		}
		break
	}
	return b
}

// tight returns the limit that refused, else the one with least left.
func tight(d policy.Decision, native bool) (l policy.LimitState, known bool) {
	for _, s := range d.Limits {
		if native && s.Shadow {
			continue // it limits nobody; a rule of Envoy's in shadow_mode tells its numbers all the same
		}
		if d.Refusing != "" && s.Name == d.Refusing {
			return s, true
		}
		if !known || s.Remaining < l.Remaining {
			l, known = s, true
		}
	}
	return l, known
}

func narrow(n int64) uint32 { return uint32(min(max(n, 0), math.MaxUint32)) }

// headers adds what the client gets to see: the limits in the domain's style and, when the call is refused, why and
// until when, with the whole decision as the body.
func (c *call) headers(r *rlsv3.RateLimitResponse, worst int, jitter float64) {
	if worst < 0 && c.style == styleNone {
		return
	}
	d := policy.Decision{Verdict: policy.Allow, Reason: policy.OK}
	if worst >= 0 {
		d = c.asks[worst].decision
	}
	d.Limits = nil
	for i := range c.asks {
		for _, l := range c.asks[i].decision.Limits {
			l.Refused = l.Refused && r.GetStatuses()[i].GetCode() == rlsv3.RateLimitResponse_OVER_LIMIT
			d.Limits = append(d.Limits, l)
		}
	}
	h := make(http.Header)
	rateHeaders(h, d, c.style, jitter)
	if worst >= 0 {
		h.Set("X-RL-Reason", d.Reason.String())
		if body, err := json.Marshal(toBody(d)); err == nil {
			h.Set("Content-Type", mediaProblem)
			r.RawBody = body
		}
	}
	for name, values := range h {
		r.ResponseHeadersToAdd = append(r.ResponseHeadersToAdd, &corev3.HeaderValue{Key: strings.ToLower(name), Value: values[0]})
	}
	slices.SortFunc(r.GetResponseHeadersToAdd(), func(a, b *corev3.HeaderValue) int { return strings.Compare(a.GetKey(), b.GetKey()) })
}

// metadata adds what the proxy's other filters and its log get to see, if there is anything to tell.
func (c *call) metadata(r *rlsv3.RateLimitResponse, worst int, violations []int) {
	fields := make(map[string]*structpb.Value)
	for i := range c.asks {
		a := &c.asks[i]
		if a.open && a.decision.Reason != policy.OK && a.decision.Verdict != policy.Deny {
			fields["reason"] = structpb.NewStringValue(a.decision.Reason.String())
		}
	}
	if worst >= 0 {
		d := c.asks[worst].decision
		fields["reason"] = structpb.NewStringValue(d.Reason.String())
		fields["retry_after_ms"] = structpb.NewNumberValue(float64(millisUp(d.RetryAfter)))
		fields["limit"] = structpb.NewStringValue(d.Refusing)
	}
	if len(violations) > 0 {
		list := &structpb.ListValue{}
		for _, i := range violations {
			list.Values = append(list.Values, structpb.NewNumberValue(float64(i)))
		}
		fields["quotaModeViolations"] = structpb.NewListValue(list)
	}
	if passing := c.passing(); passing != nil {
		fields["metadata"] = structpb.NewStructValue(passing)
	}
	if len(fields) > 0 {
		r.DynamicMetadata = &structpb.Struct{Fields: fields}
	}
}

// passing merges the metadata of the quota rules that have room. The first to name a field wins, so that what is listed
// first is preferred while it lasts.
func (c *call) passing() *structpb.Struct {
	var all *structpb.Struct
	for i := range c.asks {
		a := &c.asks[i]
		if a.rule == nil || !a.rule.Quota || a.rule.Metadata == nil || a.over() {
			continue
		}
		one := &structpb.Struct{}
		if protojson.Unmarshal(a.rule.Metadata, one) != nil {
			continue // it was made from the policy, so it parses
		}
		if all == nil {
			all = one
			continue
		}
		for name, v := range one.GetFields() {
			if _, taken := all.GetFields()[name]; !taken {
				all.Fields[name] = v
			}
		}
	}
	return all
}
