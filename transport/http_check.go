package transport

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/weir-cluster/weir/policy"
)

// checkBody is a check as JSON.
type checkBody struct {
	Domain         string            `json:"domain"`
	Attributes     map[string]string `json:"attributes"`
	Cost           map[string]int64  `json:"cost"`
	IdempotencyKey string            `json:"idempotency_key"`
	Ticket         string            `json:"ticket"`
	MaxWaitMS      int64             `json:"max_wait_ms"`
	Mode           string            `json:"mode"`
	Explain        bool              `json:"explain"`
}

func (b checkBody) request() (policy.Request, error) {
	q := policy.Request{
		Domain: b.Domain, IdempotencyKey: b.IdempotencyKey, Ticket: b.Ticket, MaxWait: millis(b.MaxWaitMS), Explain: b.Explain,
		Attributes: sorted(b.Attributes, func(n, v string) policy.Attribute { return policy.Attribute{Name: n, Value: v} }),
		Cost:       costs(b.Cost),
	}
	if b.Mode != "" {
		mode, ok := policy.ParseMode(b.Mode)
		if !ok {
			return q, fmt.Errorf("%w: mode %q, expected CONSUME, PEEK or RESERVE", policy.ErrInvalid, b.Mode)
		}
		q.Mode = mode
	}
	return q, nil
}

func costs(in map[string]int64) []policy.Cost {
	if len(in) == 0 {
		return nil
	}
	return sorted(in, func(m string, n int64) policy.Cost { return policy.Cost{Meter: m, Amount: n} })
}

// decisionBody is a decision as JSON, with the members of a problem when it refuses.
type decisionBody struct {
	Type          string            `json:"type,omitempty"`
	Title         string            `json:"title,omitempty"`
	Status        int               `json:"status,omitempty"`
	Violated      []string          `json:"violated-policies,omitempty"`
	Verdict       string            `json:"verdict"`
	Reason        string            `json:"reason"`
	Message       string            `json:"message"`
	Remedy        string            `json:"remedy"`
	RetryAfterMS  int64             `json:"retry_after_ms"`
	WaitMS        int64             `json:"wait_ms"`
	Ticket        string            `json:"ticket,omitempty"`
	Degrade       map[string]string `json:"degrade,omitempty"`
	Sources       []drawBody        `json:"sources"`
	Limits        []limitBody       `json:"limits"`
	Reservation   string            `json:"reservation,omitempty"`
	PolicyVersion uint64            `json:"policy_version"`
	Home          string            `json:"home"`
	Epoch         uint64            `json:"epoch"`
	DecisionID    string            `json:"decision_id"`
	Unreplicated  bool              `json:"unreplicated,omitempty"`
	Explain       []stepBody        `json:"explain,omitempty"`
}

type drawBody struct {
	Source  string `json:"source"`
	Meter   string `json:"meter"`
	Amount  int64  `json:"amount"`
	Credits int64  `json:"credits_micros"`
	Grant   string `json:"grant,omitempty"`
}

type limitBody struct {
	Name       string `json:"name"`
	Limit      int64  `json:"limit"`
	Remaining  int64  `json:"remaining"`
	ResetMS    int64  `json:"reset_ms"`
	Shadow     bool   `json:"shadow,omitempty"`
	Overridden bool   `json:"overridden,omitempty"`
}

func toLimitBody(l policy.LimitState) limitBody {
	return limitBody{l.Name, l.Limit, l.Remaining, millisUp(l.Reset), l.Shadow, l.Overridden}
}

type stepBody struct {
	Rule   string `json:"rule"`
	Result string `json:"result"`
	Detail string `json:"detail,omitempty"`
}

func toBody(d policy.Decision) decisionBody {
	b := decisionBody{
		Verdict: d.Verdict.String(), Reason: d.Reason.String(), Message: d.Message, Remedy: d.Remedy.String(),
		RetryAfterMS: millisUp(d.RetryAfter), WaitMS: millisUp(d.Wait), Ticket: d.Ticket, Reservation: d.Reservation,
		PolicyVersion: d.PolicyVersion, Home: d.Home, Epoch: d.Epoch, DecisionID: d.ID.String(), Unreplicated: d.Unreplicated,
		Sources: drawBodies(d.Sources), Limits: make([]limitBody, len(d.Limits)),
	}
	for i, l := range d.Limits {
		b.Limits[i] = toLimitBody(l)
		if l.Refused && !l.Shadow && d.Verdict == policy.Deny {
			b.Violated = append(b.Violated, l.Name)
		}
	}
	for _, a := range d.Degrade {
		if b.Degrade == nil {
			b.Degrade = make(map[string]string)
		}
		b.Degrade[a.Name] = a.Value
	}
	for _, s := range d.Explain {
		b.Explain = append(b.Explain, stepBody(s))
	}
	if d.Verdict == policy.Deny {
		b.Status = d.Status()
		b.Type, b.Title = refusalType(d.Reason, b.Status)
	}
	return b
}

func drawBodies(in []policy.Draw) []drawBody {
	out := make([]drawBody, len(in))
	for i, d := range in {
		out[i] = drawBody{d.Source.String(), d.Meter, d.Amount, int64(d.Credits), d.Grant}
	}
	return out
}

// check answers POST /v1/check with the true status.
func (s *HTTPServer) check(w http.ResponseWriter, r *http.Request) {
	var b checkBody
	if err := read(w, r, bodyMax, &b); err != nil {
		fail(w, err)
		return
	}
	q, err := b.request()
	if err != nil {
		fail(w, err)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), s.Timeout)
	defer cancel()
	d, err := s.Access.Check(ctx, q)
	if err != nil {
		fail(w, err)
		return
	}
	media := mediaJSON
	if d.Verdict == policy.Deny {
		media = mediaProblem
	}
	rateHeaders(w.Header(), d, s.Headers(q.Domain), s.Jitter())
	write(w, d.Status(), media, toBody(d))
}

type batchRequest struct {
	Checks []json.RawMessage `json:"checks"`
}

type batchBody struct {
	Decisions []json.RawMessage `json:"decisions"`
}

type errorBody struct {
	Error problem `json:"error"`
}

// batch answers POST /v1/check:batch: 200 with one decision or error for each check, in order.
func (s *HTTPServer) batch(w http.ResponseWriter, r *http.Request) {
	var b batchRequest
	if err := read(w, r, batchMax, &b); err != nil {
		fail(w, err)
		return
	}
	if err := batchSize(len(b.Checks)); err != nil { // before there is room for each
		fail(w, err)
		return
	}
	requests := make([]policy.Request, len(b.Checks))
	for i, raw := range b.Checks {
		var c checkBody
		err := decodeStrict(raw, &c)
		if err == nil {
			requests[i], err = c.request()
		}
		if err != nil {
			fail(w, fmt.Errorf("checks[%d]: %w", i, err))
			return
		}
	}
	ctx, cancel := context.WithTimeout(r.Context(), s.Timeout)
	defer cancel()
	answers := checkAll(ctx, s.Access, requests)
	out := batchBody{Decisions: make([]json.RawMessage, len(answers))}
	for i, a := range answers {
		var err error
		if out.Decisions[i], err = a.json(); err != nil {
			fail(w, err)
			return
		}
	}
	write(w, http.StatusOK, mediaJSON, out)
}

func (a answer) json() (json.RawMessage, error) {
	if a.err != nil {
		return json.Marshal(errorBody{toProblem(a.err)})
	}
	return json.Marshal(toBody(a.decision))
}

type settleBody struct {
	Reservation string           `json:"reservation"`
	Actual      map[string]int64 `json:"actual"`
	Outcome     string           `json:"outcome"`
	LatencyMS   int64            `json:"latency_ms"`
	ExtendMS    int64            `json:"extend_ms"`
	Final       bool             `json:"final"`
}

type settledBody struct {
	Sources   []drawBody `json:"sources"`
	Final     bool       `json:"final"`
	ExpiresMS int64      `json:"expires_ms"`
}

// settle answers POST /v1/settle.
func (s *HTTPServer) settle(w http.ResponseWriter, r *http.Request) {
	var b settleBody
	if err := read(w, r, bodyMax, &b); err != nil {
		fail(w, err)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), s.Timeout)
	defer cancel()
	done, err := s.Access.Settle(ctx, policy.Settlement{
		Reservation: b.Reservation, Actual: costs(b.Actual), Outcome: b.Outcome, Final: b.Final,
		Latency: millis(b.LatencyMS), Extend: millis(b.ExtendMS),
	})
	if err != nil {
		fail(w, err)
		return
	}
	write(w, http.StatusOK, mediaJSON, settledBody{drawBodies(done.Sources), done.Final, millisUp(done.Expires)})
}
