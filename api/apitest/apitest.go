// Package apitest holds HTTP traffic to the OpenAPI document, in tests: what a node answers must be what
// api/openapi.yaml promises.
package apitest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/gorillamux"

	"github.com/weir-cluster/weir/api"
)

// Promise is the OpenAPI document, ready to judge traffic. It may be used by many goroutines.
type Promise struct {
	document *openapi3.T
	router   routers.Router
	schemas  *schemas
}

// Load reads and validates the document. It fails on whatever OpenAPI 3.1 forbids.
func Load() (*Promise, error) {
	document, err := openapi3.NewLoader().LoadFromData(api.OpenAPI())
	if err != nil {
		return nil, fmt.Errorf("load openapi.yaml: %w", err)
	}
	if err := document.Validate(context.Background()); err != nil {
		return nil, fmt.Errorf("validate openapi.yaml: %w", err)
	}
	router, err := gorillamux.NewRouter(document)
	if err != nil {
		return nil, fmt.Errorf("route openapi.yaml: %w", err)
	}
	schemas, err := newSchemas(document)
	if err != nil {
		return nil, fmt.Errorf("read the schemas of openapi.yaml: %w", err)
	}
	return &Promise{document, router, schemas}, nil
}

// Routes returns each method and path of the document, such as "GET /v1/view", in no order.
func (p *Promise) Routes() []string {
	var all []string
	for path, item := range p.document.Paths.Map() {
		for method := range item.Operations() {
			all = append(all, method+" "+path)
		}
	}
	return all
}

// Check returns how a response breaks the promise: its status, media type, headers or body are not documented for
// its route. A request that was answered with success must be as documented, too. sent is the request's body; the
// response's body can still be read afterwards.
func (p *Promise) Check(r *http.Request, sent []byte, res *http.Response) error {
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	_ = res.Body.Close()
	res.Body = io.NopCloser(bytes.NewReader(body))
	if err := p.judge(r, sent, res, body); err != nil {
		return fmt.Errorf("%s %s, status %d: %w; body: %.300s", r.Method, r.URL.Path, res.StatusCode, err, body)
	}
	return nil
}

func (p *Promise) judge(r *http.Request, sent []byte, res *http.Response, body []byte) error {
	r = r.Clone(r.Context())
	r.Body = io.NopCloser(bytes.NewReader(sent))
	if r.Method == http.MethodHead {
		r.Method = http.MethodGet // the same but for the body, which is not judged
		body = nil
	}
	route, values, err := p.router.FindRoute(r)
	if err != nil {
		return p.unrouted(res, body, err)
	}
	if res.StatusCode < http.StatusMultipleChoices {
		if err := p.request(r, sent, route, values); err != nil {
			return fmt.Errorf("it was done, but the request is not as documented: %w", err)
		}
	}
	promised := route.Operation.Responses.Status(res.StatusCode)
	if promised == nil {
		return errors.New("the status is not documented")
	}
	bare := len(promised.Value.Content) == 0
	if bare && len(body) > 0 {
		return errors.New("a body is not documented")
	}
	for name, h := range promised.Value.Headers {
		if err := p.header(h.Value, res.Header[http.CanonicalHeaderKey(name)]); err != nil {
			return fmt.Errorf("header %s: %w", name, err)
		}
	}
	media := promised.Value.Content.Get(res.Header.Get("Content-Type"))
	switch {
	case bare:
		return nil
	case media == nil:
		return fmt.Errorf("the Content-Type %q is not documented", res.Header.Get("Content-Type"))
	case media.Schema == nil || body == nil:
		return nil
	case media.Schema.Value.Type.Is(openapi3.TypeString): // plain text
		return nil
	}
	return p.schemas.judge(media.Schema.Value, body)
}

// request judges what was done.
func (p *Promise) request(r *http.Request, sent []byte, route *routers.Route, values map[string]string) error {
	if err := openapi3filter.ValidateRequest(r.Context(), &openapi3filter.RequestValidationInput{
		Request: r, PathParams: values, Route: route, Options: &openapi3filter.Options{ExcludeRequestBody: true},
	}); err != nil {
		return err
	}
	if route.Operation.RequestBody == nil {
		if len(sent) > 0 {
			return errors.New("it has a body")
		}
		return nil
	}
	for name, media := range route.Operation.RequestBody.Value.Content {
		if media.Schema != nil && name == "application/json" { // which people forget to say
			return p.schemas.judge(media.Schema.Value, sent)
		}
	}
	return nil
}

func (p *Promise) header(h *openapi3.Header, values []string) error {
	if len(values) == 0 {
		if h.Required {
			return errMissing
		}
		return nil
	}
	return p.schemas.header(h.Schema.Value, values[0])
}

// unrouted judges the answer to what is not in the document: 404, or 405 with Allow, and a problem.
func (p *Promise) unrouted(res *http.Response, body []byte, missing error) error {
	method := errors.Is(missing, routers.ErrMethodNotAllowed)
	switch {
	case method && (res.StatusCode != http.StatusMethodNotAllowed || res.Header.Get("Allow") == ""):
		return fmt.Errorf("%w, expected 405 with Allow", missing)
	case !method && res.StatusCode != http.StatusNotFound:
		return fmt.Errorf("%w, expected 404", missing)
	case res.Header.Get("Content-Type") != "application/problem+json":
		return fmt.Errorf("%w, expected a problem, got %s", missing, res.Header.Get("Content-Type"))
	case body == nil:
		return nil
	}
	return p.schemas.judge(p.document.Components.Schemas["Problem"].Value, body)
}

// Transport returns a RoundTripper that has next answer, checks every exchange, and reports what breaks the promise.
func (p *Promise) Transport(next http.RoundTripper, report func(error)) http.RoundTripper {
	return judged{p, next, report}
}

type judged struct {
	promise *Promise
	next    http.RoundTripper
	report  func(error)
}

// RoundTrip implements http.RoundTripper.
func (j judged) RoundTrip(r *http.Request) (*http.Response, error) {
	var sent []byte
	if r.Body != nil {
		var err error
		if sent, err = io.ReadAll(r.Body); err != nil {
			return nil, err
		}
		_ = r.Body.Close()
		r = r.Clone(r.Context())
		r.Body = io.NopCloser(bytes.NewReader(sent))
	}
	res, err := j.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	if err := j.promise.Check(r, sent, res); err != nil {
		j.report(err)
	}
	return res, nil
}
