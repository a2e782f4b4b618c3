package client

import (
	"fmt"
	"net/http"
	"unicode/utf8"

	weirv1 "github.com/weir-cluster/weir/api/weir/v1"
)

// Bounds of a request, as the API has them.
const (
	attributesMax = 32
	nameBytesMax  = 64
	valueBytesMax = 256
	keyBytesMax   = 255
	metersMax     = 16
	waitMSMax     = 24 * 60 * 60 * 1000
)

// Words of the API that a client says itself.
const (
	verdictAllow   = "ALLOW"
	verdictDegrade = "DEGRADE"
	verdictQueue   = "QUEUE"
	verdictDeny    = "DENY"

	reasonFallback = "FALLBACK_" // the beginning of the others
	reasonOpen     = "FALLBACK_OPEN"
	reasonShare    = "FALLBACK_SHARE"
	reasonClosed   = "FALLBACK_CLOSED"

	remedyNone    = "none"
	remedyWait    = "wait"
	sourceLimit   = "LIMIT"
	fallbackShare = "share"
)

// Types and titles of problems (RFC 9457), those that the nodes use. The first two are of
// draft-ietf-httpapi-ratelimit-headers-11.
const (
	problemQuota    = "https://iana.org/assignments/http-problem-types#quota-exceeded"
	problemCapacity = "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity"
	problemOurs     = "https://weir-cluster.github.io/problems/"

	titleQuota     = "Request cannot be satisfied as assigned quota has been exceeded"
	titleCapacity  = "Request cannot be satisfied due to temporary reduced capacity"
	titleCredits   = "Credits are used up"
	titleForbidden = "Access is not allowed"
)

// validate returns ErrInvalid for what would not fit the wire, where one bad check could spoil a message of many. What
// attributes and costs returns is validated there. All else is for the node to judge.
func (q *CheckRequest) validate() error {
	bad := func(format string, args ...any) error {
		return fmt.Errorf("%w: %s", ErrInvalid, fmt.Sprintf(format, args...))
	}
	texts := []struct {
		what, text string
		bytesMax   int
	}{{"domain", q.Domain, nameBytesMax}, {"idempotency key", q.IdempotencyKey, keyBytesMax}, {"ticket", q.Ticket, valueBytesMax}}
	for _, t := range texts {
		if len(t.text) > t.bytesMax || !utf8.ValidString(t.text) {
			return bad("the %s is not UTF-8 of at most %d bytes", t.what, t.bytesMax)
		}
	}
	switch {
	case q.Domain == "":
		return bad("it names no domain")
	case len(q.Attributes) > attributesMax:
		return bad("it has %d attributes, at most %d are allowed", len(q.Attributes), attributesMax)
	case len(q.Cost) > metersMax:
		return bad("it names %d meters, at most %d are allowed", len(q.Cost), metersMax)
	case q.MaxWaitMS < 0 || q.MaxWaitMS > waitMSMax:
		return bad("a wait of %d ms is outside 0 to %d", q.MaxWaitMS, waitMSMax)
	case q.Mode != "" && q.Mode != Consume && q.Mode != Peek && q.Mode != Reserve:
		return bad("mode %q, expected %s, %s or %s", q.Mode, Consume, Peek, Reserve)
	}
	return nil
}

func ofDraws(in []*weirv1.Draw) []Draw {
	out := make([]Draw, len(in))
	for i, d := range in {
		out[i] = Draw{Source: d.GetSource(), Meter: d.GetMeter(), Amount: d.GetAmount(), CreditsMicros: d.GetCreditsMicros(), Grant: d.GetGrant()}
	}
	return out
}

// refuse makes a denial the problem that it is over HTTP too.
func (d *Decision) refuse() {
	if d.Verdict != verdictDeny {
		return
	}
	for _, l := range d.Limits {
		if l.Refused && !l.Shadow {
			d.Violated = append(d.Violated, l.Name)
		}
	}
	d.Status = statusOf(d.Reason)
	switch d.Status {
	case http.StatusTooManyRequests:
		d.Type, d.Title = problemQuota, titleQuota
	case http.StatusServiceUnavailable:
		d.Type, d.Title = problemCapacity, titleCapacity
	case http.StatusPaymentRequired:
		d.Type, d.Title = problemOurs+d.Reason, titleCredits
	default:
		d.Type, d.Title = problemOurs+d.Reason, titleForbidden
	}
}

// statusOf is the HTTP status of a reason that refuses. One that is newer than this client is taken for an outage.
func statusOf(reason string) int {
	switch reason {
	case "RATE_LIMITED", "CONCURRENCY_LIMITED", "QUOTA_EXHAUSTED", "FAIR_SHARE", reasonShare:
		return http.StatusTooManyRequests
	case "CREDITS_EXHAUSTED":
		return http.StatusPaymentRequired
	case "BLOCKED", "NO_MATCH":
		return http.StatusForbidden
	default:
		return http.StatusServiceUnavailable
	}
}

func verdictWord(v weirv1.Verdict) string {
	switch v {
	case weirv1.Verdict_VERDICT_ALLOW:
		return verdictAllow
	case weirv1.Verdict_VERDICT_DEGRADE:
		return verdictDegrade
	case weirv1.Verdict_VERDICT_QUEUE:
		return verdictQueue
	default:
		return verdictDeny
	}
}

// fallbackWord is a fallback as the policy language writes it, empty for none.
func fallbackWord(f weirv1.Fallback) string {
	switch f {
	case weirv1.Fallback_FALLBACK_SHARE:
		return fallbackShare
	case weirv1.Fallback_FALLBACK_OPEN:
		return FallbackOpen.String()
	case weirv1.Fallback_FALLBACK_CLOSED:
		return FallbackClosed.String()
	default:
		return ""
	}
}
