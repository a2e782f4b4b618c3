package transport

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sort"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/weir-cluster/weir/api"
	"github.com/weir-cluster/weir/ledger/journal"
	"github.com/weir-cluster/weir/policy"
)

// Bounds of HTTP bodies, in bytes. A batch may hold 1,000 checks, so it gets more than one check does.
const (
	bodyMax   = 64 << 10
	batchMax  = 4 << 20
	policyMax = policy.TextMax
)

// HTTPServer is the HTTP/JSON API. Its zero value is not usable: every field must be set that does not say otherwise.
type HTTPServer struct {
	Access   Access
	Ledger   Ledger
	Policies Policies
	Versions Versions
	Beside   Beside
	Views    Views
	Roster   Roster
	Backups  Backups
	// Events is where events are read; nil: this node serves none.
	Events *EventDoor
	// Webhooks are what this node posts events to.
	Webhooks WebhookDoor
	// Journal tells what this node's own journal has; nil: it has none.
	Journal func() journal.Stats
	// Now is the wall clock, by which a slow consumer of events is told. Needed with Events.
	Now func() time.Time
	// Policy returns the policy that this node decides by, nil before the first.
	Policy func() *policy.Policy
	// JSON answers POST /json as Envoy's rate limit service does; (*RLSServer).JSON is one.
	JSON http.HandlerFunc
	// Headers returns the style of rate-limit headers of a domain: ietf, envoy, openai or none.
	Headers func(domain string) string
	// Ready returns why this node should get no traffic, nil when it should.
	Ready func() error
	// Concern returns what is wrong with a node that should get traffic all the same, empty when nothing is; nil asks for none.
	Concern func() string
	// Metrics writes the node's metrics in the Prometheus text format.
	Metrics func(w io.Writer)
	// Jitter returns a number in [0, 1) that spreads Retry-After.
	Jitter func() float64
	// Timeout bounds a call.
	Timeout time.Duration
	// AuthTimeout bounds a check at the auth doors instead; 40 ms if it is zero. Past it the policy's fallback decides.
	AuthTimeout time.Duration
}

// Handler serves the routes. HEAD is answered wherever GET is.
func (s *HTTPServer) Handler() http.Handler {
	m := http.NewServeMux()
	for pattern, handle := range verbs(s.routes()) {
		m.HandleFunc(pattern, handle)
	}
	for path, handle := range s.doors() {
		m.HandleFunc(path, handle)
	}
	return known(m)
}

// routes is every route but the auth doors; api/openapi.yaml describes them all, and a test holds the two together.
func (s *HTTPServer) routes() map[string]http.HandlerFunc {
	return map[string]http.HandlerFunc{
		"POST /v1/check":                                              s.check,
		"POST /v1/check:batch":                                        s.batch,
		"POST /v1/settle":                                             s.settle,
		"GET /v1/view":                                                s.view,
		"DELETE /v1/members/{name}":                                   s.removeMember,
		"GET /v1/ledger/snapshot":                                     s.snapshot,
		"GET /v1/ledger/status":                                       s.ledgerStatus,
		"GET /v1/events":                                              s.events,
		"DELETE /v1/events/cursors/{name}":                            s.forgetCursor,
		"GET /v1/webhooks/dead":                                       s.deadLetters,
		"POST /v1/webhooks/dead/{id}:redeliver":                       s.redeliver,
		"GET /v1/domains/{domain}/accounts/{id}/home":                 s.home,
		"POST /v1/accounts":                                           s.open,
		"GET /v1/accounts/{id}":                                       s.account,
		"PATCH /v1/accounts/{id}":                                     s.update,
		"POST /v1/accounts/{id}/grants":                               s.grant,
		"POST /v1/accounts/{id}/debits":                               s.debit,
		"POST /v1/accounts/{id}/holds":                                s.hold,
		"POST /v1/accounts/{id}/adjustments":                          s.adjust,
		"DELETE /v1/grants/{id}":                                      s.voidGrant,
		"POST /v1/holds/{id}:capture":                                 s.capture,
		"POST /v1/holds/{id}:release":                                 s.release,
		"POST /v1/holds/{id}:extend":                                  s.extend,
		"POST /v1/charges/{id}:refund":                                s.refund,
		"GET /v1/accounts/{id}/entries":                               s.entries,
		"GET /v1/accounts/{id}/limits":                                s.limits,
		"GET /v1/policy":                                              s.policy,
		"PUT /v1/policy":                                              s.putPolicy,
		"GET /v1/policy/history":                                      s.history,
		"GET /v1/policy/{version}":                                    s.policyVersion,
		"POST /v1/policy:rollback":                                    s.rollback,
		"GET /v1/domains/{domain}/overrides":                          s.overrides,
		"GET /v1/domains/{domain}/accounts/{id}/overrides":            s.overrides,
		"PUT /v1/domains/{domain}/accounts/{id}/overrides/{limit}":    s.override,
		"DELETE /v1/domains/{domain}/accounts/{id}/overrides/{limit}": s.unsetOverride,
		"PUT /v1/domains/{domain}/accounts/{id}/block":                s.block,
		"DELETE /v1/domains/{domain}/accounts/{id}/block":             s.unblock,
		"POST /v1/domains/{domain}/accounts/{id}/resets":              s.reset,
		"POST /json":                                                  func(w http.ResponseWriter, r *http.Request) { s.JSON(w, r) },
		"GET /v1/openapi.yaml":                                        s.openapi,
		"GET /metrics":                                                s.metrics,
		"GET /healthz":                                                s.healthy,
		"GET /readyz":                                                 s.ready,
	}
}

// known answers what no route of m matches with a problem: 405 that names the methods of a path that has others,
// else 404.
func known(m *http.ServeMux) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		otherwise, pattern := m.Handler(r)
		if pattern != "" {
			m.ServeHTTP(w, r)
			return
		}
		says := refusal{header: make(http.Header)}
		otherwise.ServeHTTP(&says, r)
		if allow := says.header.Get("Allow"); says.status == http.StatusMethodNotAllowed {
			noMethod(w, r, allow)
			return
		}
		noRoute(w, r)
	})
}

// noMethod answers a method that a path does not take, with those that it takes.
func noMethod(w http.ResponseWriter, r *http.Request, allow string) {
	w.Header().Set("Allow", allow)
	write(w, http.StatusMethodNotAllowed, mediaProblem, problem{
		Type: typeOurs + wordMethod, Title: "No such method here", Status: http.StatusMethodNotAllowed, Reason: wordMethod,
		Detail: fmt.Sprintf("%s does not take %s, it takes %s", r.URL.Path, r.Method, allow),
	})
}

// noRoute answers a path that there is not.
func noRoute(w http.ResponseWriter, r *http.Request) {
	write(w, http.StatusNotFound, mediaProblem, problem{
		Type: typeOurs + wordNotFound, Title: "No such route", Status: http.StatusNotFound, Reason: wordNotFound,
		Detail: fmt.Sprintf("no route for %s %s: GET /v1/openapi.yaml lists them", r.Method, r.URL.Path),
	})
}

// refusal is a ResponseWriter that keeps what the mux answers by itself, but for the body.
type refusal struct {
	header http.Header
	status int
}

func (r *refusal) Header() http.Header         { return r.header }
func (r *refusal) Write(b []byte) (int, error) { return len(b), nil }
func (r *refusal) WriteHeader(status int)      { r.status = status }

// healthy answers GET /healthz.
func (s *HTTPServer) healthy(w http.ResponseWriter, _ *http.Request) {
	_, _ = io.WriteString(w, "ok\n")
}

// openapi answers GET /v1/openapi.yaml.
func (s *HTTPServer) openapi(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", mediaYAML)
	_, _ = w.Write(api.OpenAPI())
}

func (s *HTTPServer) metrics(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; version=0.0.4")
	s.Metrics(w)
}

func (s *HTTPServer) ready(w http.ResponseWriter, _ *http.Request) {
	if err := s.Ready(); err != nil {
		http.Error(w, "not ready: "+err.Error(), http.StatusServiceUnavailable)
		return
	}
	said := "ready\n"
	if s.Concern != nil {
		if concern := s.Concern(); concern != "" {
			said = "ready, but " + concern + "\n"
		}
	}
	_, _ = io.WriteString(w, said)
}

// read decodes a bounded body strictly: one JSON value, valid UTF-8, no unknown field, no name twice.
func read[T any](w http.ResponseWriter, r *http.Request, limit int64, into *T) error {
	b, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	if err != nil {
		return fmt.Errorf("%w: read the body: %w", policy.ErrInvalid, err)
	}
	return decodeStrict(b, into)
}

func decodeStrict[T any](b []byte, into *T) error {
	if !utf8.Valid(b) {
		return fmt.Errorf("%w: the body is not valid UTF-8", policy.ErrInvalid)
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return fmt.Errorf("%w: %s", policy.ErrInvalid, plainJSON(err))
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: more than one JSON value in the body", policy.ErrInvalid)
	}
	return strictNames(b)
}

// plainJSON says what a JSON error means without Go's words.
func plainJSON(err error) string {
	var kind *json.UnmarshalTypeError
	var syntax *json.SyntaxError
	switch {
	case errors.As(err, &kind):
		return fmt.Sprintf("%s: found a %s at byte %d, expected %s", kind.Field, kind.Value, kind.Offset, jsonKind(kind.Type.Kind().String()))
	case errors.As(err, &syntax):
		return fmt.Sprintf("not JSON: %s at byte %d", syntax, syntax.Offset)
	case errors.Is(err, io.EOF):
		return "the body is empty, expected a JSON object"
	case errors.Is(err, io.ErrUnexpectedEOF):
		return "the JSON ends too early"
	default:
		return strings.TrimPrefix(err.Error(), "json: ")
	}
}

func jsonKind(goKind string) string {
	switch {
	case strings.HasPrefix(goKind, "int"):
		return "an integer of 64 bits"
	case strings.HasPrefix(goKind, "uint"):
		return "a small non-negative integer"
	case goKind == "struct", goKind == "map":
		return "an object"
	case goKind == "slice":
		return "an array"
	case goKind == "bool":
		return "true or false"
	default:
		return "a string"
	}
}

// sorted returns the pairs of a JSON object in the order of their names, so that equal bodies are equal
// requests.
func sorted[V any, P any](in map[string]V, pair func(string, V) P) []P {
	names := make([]string, 0, len(in))
	for name := range in {
		names = append(names, name)
	}
	sort.Strings(names)
	out := make([]P, len(names))
	for i, name := range names {
		out[i] = pair(name, in[name])
	}
	return out
}
