package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The headers of a Guard's answers. What a request brings along under these names is taken off it.
const (
	headerReason  = "X-RL-Reason"
	headerDegrade = "X-RL-Degrade" // name=value, both percent-encoded, joined by ", "
	headerLimits  = 8              // limits told in headers, the first ones
)

// Checker decides requests. Client and rest.Client are two.
type Checker interface {
	Check(ctx context.Context, q CheckRequest) (Decision, error)
}

// Guard asks before an HTTP handler is called. It is safe for concurrent use and must not change while it is used.
type Guard struct {
	Checker Checker
	Domain  string
	// Attributes tells who asks for what; never from a header that callers choose, unless whoever sent it was verified.
	Attributes func(*http.Request) map[string]string
	// Cost is meter to units. Nil is one request.
	Cost func(*http.Request) map[string]int64
	// Key is the idempotency key. Nil is none.
	Key func(*http.Request) string
}

// Handler calls next with what is allowed; DecisionOf and DegradeOf tell next how. A refusal is answered with its true
// status, as application/problem+json, and says when to come back; what could not be decided is 400 or 503. Limits are
// told in RateLimit and RateLimit-Policy (draft-ietf-httpapi-ratelimit-headers-11).
func (g *Guard) Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		q := CheckRequest{Domain: g.Domain, Attributes: g.Attributes(r)}
		if g.Cost != nil {
			q.Cost = g.Cost(r)
		}
		if g.Key != nil {
			q.IdempotencyKey = g.Key(r)
		}
		d, err := g.Checker.Check(r.Context(), q)
		if err != nil {
			if r.Context().Err() == nil { // else nobody waits for an answer
				refuse(w, undecided(err))
			}
			return
		}
		tell(w.Header(), d)
		if !d.Allowed() {
			refuse(w, d)
			return
		}
		r = r.WithContext(context.WithValue(r.Context(), decisionKey{}, d))
		r.Header = r.Header.Clone()
		r.Header.Del(headerReason)
		r.Header.Del(headerDegrade)
		if len(d.Degrade) > 0 {
			r.Header.Set(headerDegrade, pairs(d.Degrade))
			w.Header().Set(headerDegrade, pairs(d.Degrade))
		}
		next.ServeHTTP(w, r)
	})
}

type decisionKey struct{}

// DecisionOf returns the decision that let a request through a Guard or an Interceptor.
func DecisionOf(ctx context.Context) (Decision, bool) {
	d, ok := ctx.Value(decisionKey{}).(Decision)
	return d, ok
}

// DegradeOf returns the attributes that a request must go on with instead of its own, nil for none.
func DegradeOf(ctx context.Context) map[string]string {
	d, _ := DecisionOf(ctx)
	return d.Degrade
}

// undecided makes an error what is answered to a caller, who is told nothing of nodes and addresses.
func undecided(err error) Decision {
	d := Decision{Verdict: verdictDeny, Reason: "UNAVAILABLE", Message: "Whether the request may pass could not be decided; try again.", Remedy: remedyWait, RetryAfterMS: askAgain.Milliseconds()}
	if errors.Is(err, ErrInvalid) || errors.Is(err, ErrConflict) || errors.Is(err, ErrTooOld) || errors.Is(err, ErrNotFound) {
		d = Decision{Verdict: verdictDeny, Reason: "INVALID", Message: "Whether the request may pass cannot be decided: it lacks what the policy asks for.", Remedy: remedyNone}
	}
	d.refuse()
	if d.Reason == "INVALID" {
		d.Type, d.Title, d.Status = problemOurs+d.Reason, "Invalid request", http.StatusBadRequest
	}
	return d
}

// problem is the body of a refusal. It reaches people outside, so it names no node.
type problem struct {
	Type         string   `json:"type"`
	Title        string   `json:"title"`
	Status       int      `json:"status"`
	Detail       string   `json:"detail"`
	Reason       string   `json:"reason"`
	Remedy       string   `json:"remedy,omitempty"`
	RetryAfterMS int64    `json:"retry_after_ms,omitempty"`
	Violated     []string `json:"violated-policies,omitempty"`
	DecisionID   string   `json:"decision_id,omitempty"`
}

// refuse answers with a problem. What waits in a queue is refused too: nobody comes back with its ticket.
func refuse(w http.ResponseWriter, d Decision) {
	if d.Status == 0 {
		d.Type, d.Title, d.Status = problemCapacity, titleCapacity, http.StatusServiceUnavailable
		d.RetryAfterMS = max(d.RetryAfterMS, d.WaitMS)
	}
	if wait := comeBack(d); wait > 0 {
		w.Header().Set("Retry-After", strconv.FormatInt(wait, 10))
	}
	body, err := json.Marshal(problem{
		d.Type, d.Title, d.Status, d.Message, d.Reason, d.Remedy, d.RetryAfterMS, d.Violated[:min(len(d.Violated), headerLimits)], d.DecisionID,
	})
	if err != nil {
		http.Error(w, "write the refusal as JSON", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set(headerReason, d.Reason)
	w.WriteHeader(d.Status)
	_, _ = w.Write(append(body, '\n')) // a caller who has gone away is nobody's error
}

// comeBack is a refusal's Retry-After in whole seconds, never before the truth and up to a tenth after it, so that
// callers do not come back together. Zero: no time helps.
func comeBack(d Decision) int64 {
	if d.Status != http.StatusTooManyRequests && d.Status != http.StatusServiceUnavailable {
		return 0
	}
	if d.RetryAfterMS <= 0 {
		if d.Status == http.StatusTooManyRequests {
			return 0
		}
		return 1
	}
	exact := wholeSeconds(d.RetryAfterMS)
	return exact + rand.Int64N(exact/10+1)
}

func wholeSeconds(ms int64) int64 {
	const second = int64(time.Second / time.Millisecond)
	return (ms + second - 1) / second
}

// tell writes a decision's limits as headers, but for those in the shadow.
func tell(h http.Header, d Decision) {
	var policies, states []string
	for _, l := range d.Limits {
		if l.Shadow || len(states) == headerLimits {
			continue
		}
		item := fmt.Sprintf("%q;q=%d", l.Name, l.Limit)
		switch {
		case l.InFlight:
			item += `;qu="concurrent-requests"`
		case l.Meter != "" && l.Meter != meterRequests:
			item += fmt.Sprintf(";qu=%q", "weir-"+l.Meter)
		}
		if !l.InFlight && l.WindowMS >= 1000 {
			item += ";w=" + strconv.FormatInt(l.WindowMS/1000, 10)
		}
		policies = append(policies, item)
		state := fmt.Sprintf("%q;r=%d", l.Name, l.Remaining)
		back := l.ResetMS
		if l.Refused {
			back = l.WaitMS
		}
		if back >= 0 {
			state += ";t=" + strconv.FormatInt(wholeSeconds(back), 10)
		}
		states = append(states, state)
	}
	if len(states) > 0 {
		h.Set("RateLimit-Policy", strings.Join(policies, ","))
		h.Set("RateLimit", strings.Join(states, ","))
	}
}

func pairs(attributes map[string]string) string {
	out := make([]string, 0, len(attributes))
	for name, value := range attributes {
		out = append(out, escaped(name)+"="+escaped(value))
	}
	slices.Sort(out)
	return strings.Join(out, ", ")
}

func escaped(text string) string { return strings.ReplaceAll(url.QueryEscape(text), "+", "%20") }
