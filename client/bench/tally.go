package bench

import (
	"context"
	"errors"
	"strings"

	"google.golang.org/grpc/status"

	weirv1 "github.com/weir-cluster/weir/api/weir/v1"
)

// wordsMax bounds the reasons and error words that are told apart; further ones count as other.
const wordsMax = 64

// tally counts what came back. It is used by one goroutine; add sums up several.
type tally struct {
	decisions int64
	kinds     []kind           // few, so a walk is the quickest way to one
	errors    map[string]int64 // by gRPC code or word
	first     error            // of the errors, for whoever wonders
}

// kind counts decisions of one verdict and reason.
type kind struct {
	verdict weirv1.Verdict
	reason  string
	n       int64
}

// note counts one decision. The reason may be bytes of a buffer that is used again.
func note[R string | []byte](t *tally, v weirv1.Verdict, reason R) {
	t.decisions++
	for i := range t.kinds {
		if k := &t.kinds[i]; k.verdict == v && k.reason == string(reason) {
			k.n++
			return
		}
	}
	t.many(v, string(reason), 1)
}

func (t *tally) many(v weirv1.Verdict, reason string, n int64) {
	for i := range t.kinds {
		if k := &t.kinds[i]; k.verdict == v && k.reason == reason {
			k.n += n
			return
		}
	}
	if len(t.kinds) >= wordsMax && reason != "other" {
		t.many(weirv1.Verdict_VERDICT_UNSPECIFIED, "other", n)
		return
	}
	t.kinds = append(t.kinds, kind{v, reason, n})
}

// fault counts one check or call that came back without a decision.
func (t *tally) fault(word string, err error) {
	if t.first == nil {
		t.first = err
	}
	if t.errors == nil {
		t.errors = make(map[string]int64)
	}
	if _, known := t.errors[word]; !known && len(t.errors) >= wordsMax {
		word = "other"
	}
	t.errors[word]++
}

// failed counts a call that failed.
func (t *tally) failed(err error) {
	switch s, ok := status.FromError(err); {
	case errors.Is(err, context.DeadlineExceeded):
		t.fault("DeadlineExceeded", err)
	case ok:
		t.fault(s.Code().String(), err)
	default:
		t.fault("Unknown", err)
	}
}

func (t *tally) add(other *tally) {
	t.decisions += other.decisions
	for _, k := range other.kinds {
		t.many(k.verdict, k.reason, k.n)
	}
	for word, n := range other.errors {
		if t.errors == nil {
			t.errors = make(map[string]int64)
		}
		t.errors[word] += n
	}
	if t.first == nil {
		t.first = other.first
	}
}

// verdicts and reasons are the counts as a report has them.
func (t *tally) verdicts() map[string]int64 {
	all := make(map[string]int64)
	for _, k := range t.kinds {
		all[strings.TrimPrefix(k.verdict.String(), "VERDICT_")] += k.n
	}
	return all
}

func (t *tally) reasons() map[string]int64 {
	all := make(map[string]int64)
	for _, k := range t.kinds {
		all[k.reason] += k.n
	}
	return all
}

// fallbacks counts the decisions that were made without the home.
func (t *tally) fallbacks() int64 {
	n := int64(0)
	for _, k := range t.kinds {
		if strings.HasPrefix(k.reason, "FALLBACK_") {
			n += k.n
		}
	}
	return n
}
