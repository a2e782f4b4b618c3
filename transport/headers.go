package transport

import (
	"fmt"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/weir-cluster/weir/policy"
)

// headerLimits bounds how many limits are told in headers; the tightest matter, the body has them all.
const headerLimits = 8

// The styles in which a domain tells its limits in headers; a style that is none of them is ietf.
const (
	styleIETF   = "ietf"   // RateLimit, RateLimit-Policy of draft-ietf-httpapi-ratelimit-headers-11
	styleEnvoy  = "envoy"  // X-RateLimit-* as Envoy's DRAFT_VERSION_03 writes them
	styleOpenAI = "openai" // x-ratelimit-*-requests and -tokens, which the SDKs of language models read
	styleNone   = "none"
)

// rateHeaders tells a decision's limits in the domain's style, but for those in the shadow, and Retry-After on every 429 and 503, whatever
// the style. Retry-After is whole seconds, never earlier than the truth, with up to a tenth added so that
// callers do not come back all at once; jitter is in [0, 1).
func rateHeaders(h http.Header, d policy.Decision, style string, jitter float64) {
	limits := slices.DeleteFunc(slices.Clone(d.Limits), func(l policy.LimitState) bool { return l.Shadow })
	for i := range limits {
		limits[i].Limit, limits[i].Window = quota(limits[i])
	}
	limits = tightest(limits)
	if len(limits) > 0 {
		switch style {
		case styleNone:
		case styleEnvoy:
			envoyHeaders(h, limits)
		case styleOpenAI:
			openAIHeaders(h, limits)
		default:
			ietfHeaders(h, limits)
		}
	}
	if style == styleEnvoy && d.Verdict == policy.Deny && d.Refusing != "" {
		h.Set("X-Envoy-Ratelimited", "true")
	}
	retryAfter(h, d, jitter)
}

// quota is what a limit allocates, and in which window. A token bucket that holds more than its rate's count may have more
// left than that: r would be above q, and a client that spreads q over w would never use it. So its burst is the quota, and
// the window the time in which that is earned, rounded up: over it the bucket gives no less, and in the long run no more.
// A smaller burst is no quota, as rate and window are true without it; r tells how much of it there is at once.
func quota(l policy.LimitState) (units int64, w time.Duration) {
	if l.Burst <= l.Limit || l.Limit <= 0 {
		return l.Limit, l.Window
	}
	earned := math.Ceil(l.Window.Seconds() * float64(l.Burst) / float64(l.Limit))
	return l.Burst, time.Duration(min(earned, float64(math.MaxInt64/int64(time.Second)))) * time.Second
}

// tightest returns at most headerLimits of the limits, which it may sort: those that refused, then those with the
// smallest part left. Fewer stay in the policy's order.
func tightest(all []policy.LimitState) []policy.LimitState {
	if len(all) > headerLimits {
		slices.SortStableFunc(all, tighter)
	}
	return all[:min(len(all), headerLimits)]
}

// tighter orders limits: refused ones by the longest wait, then the others by the part that is left.
func tighter(a, b policy.LimitState) int {
	left := func(l policy.LimitState) float64 {
		switch {
		case l.Refused && l.Wait < 0:
			return math.Inf(-1) // never is the tightest
		case l.Refused:
			return -float64(l.Wait) - 1
		}
		return float64(l.Remaining) / float64(max(l.Limit, 1))
	}
	switch x, y := left(a), left(b); {
	case x < y:
		return -1
	case x > y:
		return 1
	default:
		return 0
	}
}

// comeback is the time after which a limit has more to give: until a refused request would be admitted, else
// until it is full again. It is negative when no time helps.
func comeback(l policy.LimitState) time.Duration {
	if l.Refused {
		return l.Wait
	}
	return l.Reset
}

func ietfHeaders(h http.Header, limits []policy.LimitState) {
	var policies, states []string
	for _, l := range limits {
		policies = append(policies, ietfPolicy(l))
		state := fmt.Sprintf("%q;r=%d", l.Name, l.Remaining)
		if t := comeback(l); t >= 0 {
			state += ";t=" + seconds(t)
		}
		states = append(states, state)
	}
	h.Set("RateLimit-Policy", strings.Join(policies, ","))
	h.Set("RateLimit", strings.Join(states, ","))
}

// ietfPolicy is a limit as an item of RateLimit-Policy. A limit of what is in flight has no window.
func ietfPolicy(l policy.LimitState) string {
	item := fmt.Sprintf("%q;q=%d", l.Name, l.Limit)
	switch {
	case l.InFlight:
		return item + `;qu="concurrent-requests"`
	case l.Meter != meterRequests:
		item += fmt.Sprintf(";qu=%q", "weir-"+l.Meter) // no unit is registered for it
	}
	return item + window(";w=", l.Window)
}

// envoyHeaders writes what Envoy builds from a rate limit service's statuses: the tightest limit, then all.
func envoyHeaders(h http.Header, limits []policy.LimitState) {
	first := slices.MinFunc(limits, tighter)
	list := strconv.FormatInt(first.Limit, 10)
	for _, l := range limits {
		length := window(";w=", l.Window)
		if l.InFlight {
			length = ""
		}
		list += fmt.Sprintf(", %d%s;name=%q", l.Limit, length, l.Name)
	}
	h.Set("X-RateLimit-Limit", list)
	h.Set("X-RateLimit-Remaining", strconv.FormatInt(first.Remaining, 10))
	if t := comeback(first); t >= 0 {
		h.Set("X-RateLimit-Reset", seconds(t))
	}
}

// meterRequests is the meter that every domain has.
const meterRequests = "requests"

// openAIHeaders writes the tightest limit of each meter; clients look for requests and tokens.
func openAIHeaders(h http.Header, limits []policy.LimitState) {
	byMeter := slices.Clone(limits)
	slices.SortStableFunc(byMeter, tighter)
	for _, l := range byMeter {
		name := "X-Ratelimit-Limit-" + l.Meter
		if h.Get(name) != "" || l.InFlight { // slots are no rate of a meter
			continue
		}
		h.Set(name, strconv.FormatInt(l.Limit, 10))
		h.Set("X-Ratelimit-Remaining-"+l.Meter, strconv.FormatInt(l.Remaining, 10))
		if t := comeback(l); t >= 0 {
			h.Set("X-Ratelimit-Reset-"+l.Meter, wholeSeconds(t).String())
		}
	}
}

// retryAfter tells when to come back. A 429 without it means that no time helps: the cost is beyond what the
// limit can ever admit.
func retryAfter(h http.Header, d policy.Decision, jitter float64) {
	status := d.Status()
	if status != http.StatusTooManyRequests && status != http.StatusServiceUnavailable {
		return
	}
	if d.RetryAfter <= 0 && status == http.StatusTooManyRequests {
		return
	}
	wait := d.RetryAfter
	for _, l := range d.Limits {
		if l.Refused && !l.Shadow {
			wait = max(wait, l.Wait) // never earlier than a t= beside it
		}
	}
	exact := max(1, wholeSeconds(wait).Seconds())
	h.Set("Retry-After", strconv.FormatFloat(math.Ceil(exact*(1+jitter/10)), 'f', 0, 64))
}

// wholeSeconds rounds up: a time that is cut short would be a lie.
func wholeSeconds(d time.Duration) time.Duration {
	if rest := d % time.Second; rest > 0 {
		d += time.Second - rest
	}
	return d
}

func seconds(d time.Duration) string {
	return strconv.FormatInt(int64(wholeSeconds(d)/time.Second), 10)
}

// window renders a limit's window in seconds; nothing for a limit without one.
func window(prefix string, w time.Duration) string {
	if w < time.Second {
		return ""
	}
	return prefix + strconv.FormatInt(int64(w/time.Second), 10)
}
