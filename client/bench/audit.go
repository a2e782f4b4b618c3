package bench

import (
	"context"
	"math"
	"strings"
	"sync"
	"time"

	weirv1 "github.com/weir-cluster/weir/api/weir/v1"
)

// The limit that is audited, as in Policy.
const (
	auditLimit = "exact"
	auditRate  = 50.0 // a second
	auditBurst = 100.0
	auditPress = 4 // times the rate that is asked for
	auditCall  = 2 * time.Second
)

// Audit is how many checks of one account were admitted, asked for through all nodes at once, against what
// its token bucket must admit: burst + rate x time.
type Audit struct {
	Rate     float64 `json:"rate"` // a second
	Burst    float64 `json:"burst"`
	Seconds  float64 `json:"seconds"`
	Asked    int64   `json:"asked"`
	Admitted int64   `json:"admitted"`
	Most     int64   `json:"most"`      // the exact bound: first check sent to last answer
	Least    int64   `json:"least"`     // what the bucket must have given: first answer to last refusal
	Over     int64   `json:"over"`      // admitted beyond Most
	Under    int64   `json:"under"`     // refused although there was some, below Least
	Fallback int64   `json:"fallbacks"` // decided without the home
	Errors   int64   `json:"errors"`
}

// auditor asks for more than the limit gives, through every node.
type auditor struct {
	stubs   []weirv1.AccessServiceClient
	request *weirv1.CheckRequest
	press   time.Duration // between two checks at one node

	mu    sync.Mutex
	books books
}

// newAuditor asks for an account that nobody used before.
func newAuditor(c connections, account string) *auditor {
	a := &auditor{
		request: &weirv1.CheckRequest{Domain: auditDomain, Attributes: []*weirv1.Attribute{{Name: "user", Value: account}}},
		press:   time.Duration(float64(len(c)) / (auditRate * auditPress) * float64(time.Second)),
	}
	for _, one := range c {
		a.stubs = append(a.stubs, weirv1.NewAccessServiceClient(one))
	}
	return a
}

// run asks until ctx ends and returns what came of it.
func (a *auditor) run(ctx context.Context) Audit {
	var all sync.WaitGroup
	for _, s := range a.stubs {
		all.Go(func() {
			tick := time.NewTicker(a.press)
			defer tick.Stop()
			for {
				a.ask(s)
				select {
				case <-tick.C:
				case <-ctx.Done():
					return
				}
			}
		})
	}
	all.Wait()
	return a.books.audit(auditRate, auditBurst)
}

// ask is not cut short when the run ends: an answer that is lost would look like one that was not given.
func (a *auditor) ask(s weirv1.AccessServiceClient) {
	ctx, cancel := context.WithTimeout(context.Background(), auditCall)
	defer cancel()
	sent := time.Now()
	d, err := s.Check(ctx, a.request)
	answered := time.Now()
	a.mu.Lock()
	defer a.mu.Unlock()
	a.books.note(sent, answered, d, err)
}

// books is what an audit counts.
type books struct {
	asked, admitted, fallbacks, errors int64

	firstSent, firstAnswered, lastAnswered time.Time
	lastRefused                            time.Time // when the last check was sent that was refused
}

func (b *books) note(sent, answered time.Time, d *weirv1.Decision, err error) {
	b.asked++
	if b.firstSent.IsZero() || sent.Before(b.firstSent) {
		b.firstSent = sent
	}
	if answered.After(b.lastAnswered) {
		b.lastAnswered = answered
	}
	if err != nil {
		b.errors++ // perhaps admitted: it can only hide over-admission, and the count says so
		return
	}
	if b.firstAnswered.IsZero() || answered.Before(b.firstAnswered) {
		b.firstAnswered = answered
	}
	if strings.HasPrefix(d.GetReason(), "FALLBACK_") {
		b.fallbacks++
	}
	switch {
	case d.GetVerdict() == weirv1.Verdict_VERDICT_ALLOW:
		b.admitted++
	case sent.After(b.lastRefused):
		b.lastRefused = sent
	}
}

// audit compares with a bucket that was full at the first check. It decided the first check after that was
// sent and the last one before that was answered, so no more than Most can be right. Every refusal says that
// the bucket had less than one left, so at the last of them no fewer than Least had been admitted, unless it
// stood full in between: it would have taken burst / rate without a check.
func (b *books) audit(rate, burst float64) Audit {
	a := Audit{
		Rate: rate, Burst: burst, Seconds: b.lastAnswered.Sub(b.firstSent).Seconds(), Asked: b.asked, Admitted: b.admitted,
		Fallback: b.fallbacks, Errors: b.errors,
	}
	a.Most = int64(math.Floor(burst + rate*a.Seconds))
	if b.lastRefused.After(b.firstAnswered) && !b.firstAnswered.IsZero() {
		a.Least = max(0, int64(math.Ceil(burst+rate*b.lastRefused.Sub(b.firstAnswered).Seconds()))-1)
	}
	a.Over, a.Under = max(0, a.Admitted-a.Most), max(0, a.Least-a.Admitted-a.Errors)
	return a
}
