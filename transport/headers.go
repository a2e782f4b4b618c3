package transport

import (
	"fmt"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/weir-cluster/weir/policy"
)

// headerLimits bounds how many limits are told in headers; the tightest matter, the body has them all.
const headerLimits = 8

// rateHeaders sets RateLimit-Policy and RateLimit (draft-ietf-httpapi-ratelimit-headers-11) unless the
// domain's style is none, and Retry-After on every 429 and 503. Retry-After is whole seconds, never earlier
// than the truth, with up to a tenth added so that callers do not come back all at once; jitter is in [0, 1).
func rateHeaders(h http.Header, d policy.Decision, style string, jitter float64) {
	var longest time.Duration
	if style != "none" && len(d.Limits) > 0 {
		var policies, states []string
		for _, l := range d.Limits[:min(len(d.Limits), headerLimits)] {
			t := l.Reset
			if l.Refused {
				t = l.Wait
			}
			if l.Refused && d.Verdict == policy.Deny {
				longest = max(longest, t)
			}
			policies = append(policies, policyItem(l))
			states = append(states, fmt.Sprintf("%q;r=%d%s", l.Name, l.Remaining, seconds(";t=", t)))
		}
		h.Set("RateLimit-Policy", strings.Join(policies, ","))
		h.Set("RateLimit", strings.Join(states, ","))
	}
	status := d.Status()
	if status != http.StatusTooManyRequests && status != http.StatusServiceUnavailable {
		return
	}
	wait := max(d.RetryAfter, longest)
	if d.RetryAfter <= 0 && status == http.StatusTooManyRequests {
		return // no time will help: the cost is beyond what the limit can ever admit
	}
	exact := max(1, math.Ceil(wait.Seconds()))
	h.Set("Retry-After", strconv.FormatFloat(math.Ceil(exact*(1+jitter/10)), 'f', 0, 64))
}

func policyItem(l policy.LimitState) string {
	item := fmt.Sprintf("%q;q=%d", l.Name, l.Limit)
	if l.Meter != "requests" {
		item += fmt.Sprintf(";qu=%q", "weir-"+l.Meter)
	}
	if l.Window >= time.Second {
		item += fmt.Sprintf(";w=%d", int64(l.Window/time.Second))
	}
	return item
}

// seconds renders a duration rounded up, or nothing when it is not known.
func seconds(prefix string, d time.Duration) string {
	if d < 0 {
		return ""
	}
	return prefix + strconv.FormatInt(int64(math.Ceil(d.Seconds())), 10)
}
