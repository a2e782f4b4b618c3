package policy

import "net/http"

// The words of the wire, by value. They are fixed: add, never rename.
var (
	modeWords    = [...]string{Consume: "CONSUME", Peek: "PEEK", Reserve: "RESERVE"}
	verdictWords = [...]string{Deny: "DENY", Allow: "ALLOW", Degrade: "DEGRADE", Queue: "QUEUE"}
	remedyWords  = [...]string{RemedyNone: "none", RemedyWait: "wait", RemedyBuy: "buy", RemedyAskOwner: "ask_owner"}
	sourceWords  = [...]string{FromLimit: "LIMIT", FromIncluded: "INCLUDED", FromPromo: "PROMO", FromCredit: "CREDIT", FromOverdraft: "OVERDRAFT"}
	reasonWords  = [...]string{
		ReasonUnknown: "UNKNOWN", OK: "OK", OKCredit: "OK_CREDIT", FallbackOpen: "FALLBACK_OPEN", FallbackShare: "FALLBACK_SHARE",
		FallbackClosed: "FALLBACK_CLOSED", RateLimited: "RATE_LIMITED", QuotaExhausted: "QUOTA_EXHAUSTED",
		CreditsExhausted: "CREDITS_EXHAUSTED", Blocked: "BLOCKED", NoMatch: "NO_MATCH", LedgerUnavailable: "LEDGER_UNAVAILABLE",
		ConcurrencyLimited: "CONCURRENCY_LIMITED", FallbackDeputy: "FALLBACK_DEPUTY",
	}
)

// reasonStatus is the HTTP status of each reason when it refuses, and of those that never refuse.
var reasonStatus = [...]int{
	ReasonUnknown: http.StatusInternalServerError, OK: http.StatusOK, OKCredit: http.StatusOK, FallbackOpen: http.StatusOK,
	FallbackShare: http.StatusTooManyRequests, FallbackClosed: http.StatusServiceUnavailable,
	RateLimited: http.StatusTooManyRequests, QuotaExhausted: http.StatusTooManyRequests,
	CreditsExhausted: http.StatusPaymentRequired, Blocked: http.StatusForbidden, NoMatch: http.StatusForbidden,
	LedgerUnavailable: http.StatusServiceUnavailable, ConcurrencyLimited: http.StatusTooManyRequests,
	FallbackDeputy: http.StatusTooManyRequests,
}

// String returns the word of the wire, such as CONSUME.
func (m Mode) String() string { return word(modeWords[:], int(m)) }

// String returns the word of the wire, such as ALLOW.
func (v Verdict) String() string { return word(verdictWords[:], int(v)) }

// String returns the word of the wire, such as RATE_LIMITED.
func (r Reason) String() string { return word(reasonWords[:], int(r)) }

// String returns the word of the wire, such as ask_owner.
func (r Remedy) String() string { return word(remedyWords[:], int(r)) }

// String returns the word of the wire, such as LIMIT.
func (s Source) String() string { return word(sourceWords[:], int(s)) }

// Status returns the HTTP status that a decision with this reason is answered with; for FallbackShare and FallbackDeputy the one
// of a refusal, because only the verdict tells (Decision.Status looks at both).
func (r Reason) Status() int {
	if int(r) < len(reasonStatus) {
		return reasonStatus[r]
	}
	return http.StatusInternalServerError
}

// Status returns the HTTP status of the answer: 200 for what may go ahead, 202 for what waits in the queue,
// and the reason's for a denial.
func (d Decision) Status() int {
	switch d.Verdict {
	case Allow, Degrade:
		return http.StatusOK
	case Queue:
		return http.StatusAccepted
	default:
		return d.Reason.Status()
	}
}

// ParseMode returns the mode of a word such as PEEK; the empty word is Consume.
func ParseMode(w string) (Mode, bool) {
	if w == "" {
		return Consume, true
	}
	i, ok := value(modeWords[:], w)
	return Mode(i), ok
}

// ParseVerdict returns the verdict of a word such as DENY.
func ParseVerdict(w string) (Verdict, bool) {
	i, ok := value(verdictWords[:], w)
	return Verdict(i), ok
}

// ParseReason returns the reason of a word such as OK_CREDIT.
func ParseReason(w string) (Reason, bool) {
	i, ok := value(reasonWords[:], w)
	return Reason(i), ok
}

// ParseRemedy returns the remedy of a word such as buy.
func ParseRemedy(w string) (Remedy, bool) {
	i, ok := value(remedyWords[:], w)
	return Remedy(i), ok
}

// ParseSource returns the source of a word such as PROMO.
func ParseSource(w string) (Source, bool) {
	i, ok := value(sourceWords[:], w)
	return Source(i), ok
}

func word(words []string, i int) string {
	if i < len(words) {
		return words[i]
	}
	return "UNKNOWN"
}

func value(words []string, w string) (int, bool) {
	for i := range words {
		if words[i] == w {
			return i, true
		}
	}
	return 0, false
}
