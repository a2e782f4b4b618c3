package transport

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/weir-cluster/weir/policy"
)

// authTime bounds a check at an auth door unless HTTPServer.AuthTimeout does. It is shorter than gateways wait, so that a
// gateway gets the fallback's verdict rather than its own timeout, and need not have one: Traefik's is 30 s.
const authTime = 40 * time.Millisecond

// The headers that an auth door answers with. What a client sends under these names is never read.
const (
	headerStatus  = "X-RL-Status"  // the true status, such as 429
	headerReason  = "X-RL-Reason"  // the reason of the decision, or the word of the error
	headerDegrade = "X-RL-Degrade" // the attributes to go on with instead: name=value, both percent-encoded, joined by ", "
	headerProblem = "X-RL-Problem" // the body of a refusal, for a gateway that throws bodies away
)

// gateway is a kind of gateway that asks whether a request may pass.
type gateway struct {
	// uri and method are the headers that tell them of the original request. The first is the one that this kind of
	// gateway sets itself, so what a client sends as the other has no say.
	uri, method [2]string
	// refusal is the status of whatever the gateway must not let pass, zero for the true one.
	refusal int
}

// forwardAuth is a gateway that hands a refusal on as it is: Caddy, Traefik, APISIX, HAProxy with Lua.
func forwardAuth() gateway {
	return gateway{
		uri:    [2]string{"X-Forwarded-Uri", "X-Original-Uri"},
		method: [2]string{"X-Forwarded-Method", "X-Original-Method"},
	}
}

// authRequest is nginx, whose auth_request knows 2xx, 401 and 403 and takes all else for an outage.
func authRequest() gateway {
	return gateway{
		uri:     [2]string{"X-Original-Uri", "X-Forwarded-Uri"},
		method:  [2]string{"X-Original-Method", "X-Forwarded-Method"},
		refusal: http.StatusForbidden,
	}
}

// doors is the auth doors: paths that take any method.
func (s *HTTPServer) doors() map[string]http.HandlerFunc {
	return map[string]http.HandlerFunc{
		"/v1/auth/{domain}":       s.auth(forwardAuth()),
		"/v1/auth/nginx/{domain}": s.auth(authRequest()),
	}
}

// auth answers whether the request that the gateway tells of may pass, by the status alone: 200 without a body, else a
// problem. An error that is not the request's own fault keeps its 5xx even at nginx: whether the site stays open without
// a decision is for the gateway to say.
func (s *HTTPServer) auth(g gateway) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		domain := r.PathValue("domain")
		d, err := s.authorize(g, domain, r)
		if err != nil {
			p := authProblem{problem: toProblem(err)}
			if p.Status >= http.StatusInternalServerError {
				p.Detail = "Whether the request may pass could not be decided; try again."
			}
			g.refuse(w, p, p.Status < http.StatusInternalServerError)
			return
		}
		rateHeaders(w.Header(), d, s.Headers(domain), s.Jitter())
		if len(d.Degrade) > 0 {
			w.Header().Set(headerDegrade, pairs(d.Degrade))
		}
		if d.Verdict != policy.Allow && d.Verdict != policy.Degrade {
			g.refuse(w, refusalOf(d), true)
			return
		}
		w.Header().Set(headerStatus, strconv.Itoa(http.StatusOK))
		w.Header().Set(headerReason, d.Reason.String())
		w.Header().Set("Cache-Control", "no-store")
		w.WriteHeader(http.StatusOK)
	}
}

// authorize decides about the original request. The body that may come with it is not read.
func (s *HTTPServer) authorize(g gateway, domain string, r *http.Request) (policy.Decision, error) {
	current := s.Policy()
	if current == nil {
		return policy.Decision{}, fmt.Errorf("%w: this node has no policy yet", policy.ErrUnavailable)
	}
	rules, err := current.Domain(domain)
	if err != nil {
		return policy.Decision{}, err
	}
	q := policy.Request{Domain: domain}
	if q.Attributes, err = rules.FromHTTP(func(a policy.HTTPAttribute) (string, error) { return g.read(r, a) }); err != nil {
		return policy.Decision{}, err
	}
	limit := s.AuthTimeout
	if limit <= 0 {
		limit = authTime
	}
	ctx, cancel := context.WithTimeout(r.Context(), limit)
	defer cancel()
	return s.Access.Check(ctx, q)
}

// authProblem is the body of whatever does not pass. It reaches people outside, so it tells no node and no address.
type authProblem struct {
	problem
	Remedy       string   `json:"remedy,omitempty"`
	RetryAfterMS int64    `json:"retry_after_ms,omitempty"`
	Violated     []string `json:"violated-policies,omitempty"`
	DecisionID   string   `json:"decision_id,omitempty"`
}

func refusalOf(d policy.Decision) authProblem {
	p := authProblem{Remedy: d.Remedy.String(), RetryAfterMS: millisUp(d.RetryAfter), DecisionID: d.ID.String()}
	if p.Status = d.Status(); p.Status < http.StatusBadRequest {
		p.Status = http.StatusServiceUnavailable // QUEUE: an auth door cannot make its caller wait
	}
	p.Type, p.Title = refusalType(d.Reason, p.Status)
	p.Detail, p.Reason = d.Message, d.Reason.String()
	for _, l := range d.Limits {
		if l.Refused && !l.Shadow && len(p.Violated) < headerLimits {
			p.Violated = append(p.Violated, l.Name)
		}
	}
	return p
}

// refuse answers with a problem; final says that the gateway must not let the request pass.
func (g gateway) refuse(w http.ResponseWriter, p authProblem, final bool) {
	w.Header().Set(headerStatus, strconv.Itoa(p.Status))
	w.Header().Set(headerReason, p.Reason)
	if p.Status == http.StatusServiceUnavailable && w.Header().Get("Retry-After") == "" {
		w.Header().Set("Retry-After", strconv.Itoa(1))
	}
	status := p.Status
	if final && g.refusal != 0 {
		status = g.refusal
		if text, err := json.Marshal(p); err == nil {
			w.Header().Set(headerProblem, string(text)) // JSON has no line breaks
		}
	}
	write(w, status, mediaProblem, p)
}

// pairs writes attributes as X-RL-Degrade has them.
func pairs(attributes []policy.Attribute) string {
	all := make([]string, len(attributes))
	for i, a := range attributes {
		all[i] = percent(a.Name) + "=" + percent(a.Value)
	}
	return strings.Join(all, ", ")
}

func percent(text string) string { return strings.ReplaceAll(url.QueryEscape(text), "+", "%20") }
