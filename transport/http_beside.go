package transport

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/weir-cluster/weir/policy"
)

// termsBody is what an override changes of a limit.
type termsBody struct {
	Rate   string    `json:"rate,omitempty"`
	Burst  int64     `json:"burst,omitempty"`
	Limit  int64     `json:"limit,omitempty"`
	Window string    `json:"window,omitempty"`
	Until  time.Time `json:"until,omitzero"`
}

type overrideBody struct {
	Account string `json:"account"`
	Name    string `json:"name"`
	termsBody
	Idle string `json:"idle,omitempty"`
}

type blockBody struct {
	Why   string    `json:"why,omitempty"`
	Until time.Time `json:"until,omitzero"`
}

type blockedBody struct {
	Account string `json:"account"`
	blockBody
}

type besideBody struct {
	Overrides []overrideBody `json:"overrides"`
	Blocks    []blockedBody  `json:"blocks"`
}

type resetBody struct {
	Limit string `json:"limit"`
}

type revisionBody struct {
	Revision uint64 `json:"revision"`
}

// standingBody is how an account stands with its limits.
type standingBody struct {
	Domain        string       `json:"domain"`
	Account       string       `json:"account"`
	Blocked       *blockBody   `json:"blocked,omitempty"`
	Limits        []limitState `json:"limits"`
	PolicyVersion uint64       `json:"policy_version"`
	Home          string       `json:"home"`
	Epoch         uint64       `json:"epoch"`
}

// limitState is a limit with what tells it apart, for operators.
type limitState struct {
	limitBody
	Meter    string `json:"meter"`
	WindowMS int64  `json:"window_ms"`
}

// overrides answers GET /v1/domains/{domain}/overrides, and of one account. A domain that the policy has no more is
// listed as long as there is something to list.
func (s *HTTPServer) overrides(w http.ResponseWriter, r *http.Request) {
	all := s.Beside.Beside(r.PathValue("domain"), r.PathValue("id"))
	if current := s.Policy(); current != nil && len(all.Overrides)+len(all.Blocks) == 0 {
		if _, err := current.Domain(r.PathValue("domain")); err != nil {
			fail(w, err)
			return
		}
	}
	b := besideBody{Overrides: make([]overrideBody, len(all.Overrides)), Blocks: make([]blockedBody, len(all.Blocks))}
	for i, o := range all.Overrides {
		t := o.Terms
		b.Overrides[i] = overrideBody{o.Account, o.Limit, termsBody{t.Rate, t.Burst, t.Limit, t.Window, o.Until}, o.Idle}
	}
	for i, k := range all.Blocks {
		b.Blocks[i] = blockedBody{k.Account, blockBody{k.Why, k.Until}}
	}
	write(w, http.StatusOK, mediaJSON, b)
}

// override answers PUT /v1/domains/{domain}/accounts/{id}/overrides/{limit}.
func (s *HTTPServer) override(w http.ResponseWriter, r *http.Request) {
	var b termsBody
	if err := read(w, r, bodyMax, &b); err != nil {
		fail(w, err)
		return
	}
	s.change(w, r, func(ctx context.Context) (uint64, error) {
		return s.Beside.SetOverride(ctx, policy.Override{
			Domain: r.PathValue("domain"), Account: r.PathValue("id"), Limit: r.PathValue("limit"), Until: b.Until,
			Terms: policy.Terms{Rate: b.Rate, Burst: b.Burst, Limit: b.Limit, Window: b.Window},
		})
	})
}

// unsetOverride answers DELETE /v1/domains/{domain}/accounts/{id}/overrides/{limit}.
func (s *HTTPServer) unsetOverride(w http.ResponseWriter, r *http.Request) {
	s.change(w, r, func(ctx context.Context) (uint64, error) {
		return s.Beside.UnsetOverride(ctx, r.PathValue("domain"), r.PathValue("id"), r.PathValue("limit"))
	})
}

// block answers PUT /v1/domains/{domain}/accounts/{id}/block.
func (s *HTTPServer) block(w http.ResponseWriter, r *http.Request) {
	var b blockBody
	if err := read(w, r, bodyMax, &b); err != nil {
		fail(w, err)
		return
	}
	s.change(w, r, func(ctx context.Context) (uint64, error) {
		return s.Beside.Block(ctx, policy.Block{Domain: r.PathValue("domain"), Account: r.PathValue("id"), Why: b.Why, Until: b.Until})
	})
}

// unblock answers DELETE /v1/domains/{domain}/accounts/{id}/block.
func (s *HTTPServer) unblock(w http.ResponseWriter, r *http.Request) {
	s.change(w, r, func(ctx context.Context) (uint64, error) {
		return s.Beside.Unblock(ctx, r.PathValue("domain"), r.PathValue("id"))
	})
}

// reset answers POST /v1/domains/{domain}/accounts/{id}/resets.
func (s *HTTPServer) reset(w http.ResponseWriter, r *http.Request) {
	var b resetBody
	if err := read(w, r, bodyMax, &b); err != nil {
		fail(w, err)
		return
	}
	s.change(w, r, func(ctx context.Context) (uint64, error) {
		return s.Beside.Reset(ctx, r.PathValue("domain"), r.PathValue("id"), b.Limit)
	})
}

// change has the cluster agree on a change for one account, and answers with its revision.
func (s *HTTPServer) change(w http.ResponseWriter, r *http.Request, do func(context.Context) (uint64, error)) {
	ctx, cancel := context.WithTimeout(r.Context(), s.Timeout)
	defer cancel()
	revision, err := do(ctx)
	if err != nil {
		fail(w, err)
		return
	}
	write(w, http.StatusOK, mediaJSON, revisionBody{revision})
}

// limits answers GET /v1/accounts/{id}/limits: what a check of the account would meet, asked at its home by a
// look that costs nothing, so that every limit answers.
func (s *HTTPServer) limits(w http.ResponseWriter, r *http.Request) {
	q, err := s.standing(r.PathValue("id"), r.URL.RawQuery)
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
	b := standingBody{
		Domain: q.Domain, Account: r.PathValue("id"), Limits: make([]limitState, len(d.Limits)),
		PolicyVersion: d.PolicyVersion, Home: d.Home, Epoch: d.Epoch,
	}
	for i, l := range d.Limits {
		b.Limits[i] = limitState{toLimitBody(l), l.Meter, l.Window.Milliseconds()}
	}
	for _, k := range s.Beside.Beside(q.Domain, b.Account).Blocks {
		b.Blocked = &blockBody{k.Why, k.Until}
	}
	write(w, http.StatusOK, mediaJSON, b)
}

// standing makes the look of GET /v1/accounts/{id}/limits from its query: one domain, and further attributes as
// name:value.
func (s *HTTPServer) standing(account, query string) (policy.Request, error) {
	var q policy.Request
	values, err := url.ParseQuery(query)
	if err != nil {
		return q, fmt.Errorf("%w: the query: %w", policy.ErrInvalid, err)
	}
	for name := range values {
		if name != "domain" && name != "attribute" {
			return q, fmt.Errorf("%w: the query has %q, expected domain and attribute", policy.ErrInvalid, name)
		}
	}
	current := s.Policy()
	if current == nil {
		return q, fmt.Errorf("%w: this node has no policy yet", policy.ErrUnavailable)
	}
	q = policy.Request{Domain: values.Get("domain"), Mode: policy.Peek, Cost: []policy.Cost{{Meter: meterRequests}}}
	if q.Attributes, err = current.AttributesOf(q.Domain, account); err != nil {
		return q, err
	}
	if d, err := current.Domain(q.Domain); err == nil && d.Envoy() != nil && len(values["attribute"]) > 0 {
		return q, fmt.Errorf("%w: domain %q is an Envoy tree, in which further attributes are another account: put them into its id", policy.ErrInvalid, q.Domain)
	}
	for _, pair := range values["attribute"] {
		name, value, ok := strings.Cut(pair, ":")
		if !ok {
			return q, fmt.Errorf("%w: attribute %q in the query, expected name:value", policy.ErrInvalid, pair)
		}
		q.Attributes = append(q.Attributes, policy.Attribute{Name: name, Value: value})
	}
	return q, nil
}
