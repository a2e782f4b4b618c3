package apitest

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// A promise that lets everything pass would prove nothing.
func TestPromiseIsHeld(t *testing.T) {
	t.Parallel()
	p, err := Load()
	if err != nil {
		t.Fatal(err)
	}
	const (
		view    = `"policy_version":1,"home":"n1","epoch":1,"decision_id":"x"`
		allowed = `{"verdict":"ALLOW","reason":"OK","message":"m","remedy":"none","retry_after_ms":0,"wait_ms":0,"sources":[],"limits":[],` + view + `}`
		denied  = `{"type":"https://a/b","title":"t","status":429,"verdict":"DENY","reason":"RATE_LIMITED","message":"m","remedy":"wait","retry_after_ms":5,"wait_ms":0,"sources":[],"limits":[],` + view + `}`
		problem = `{"type":"https://a/b","title":"t","status":404,"detail":"d","reason":"NOT_FOUND"}`
		js, pr  = "application/json", "application/problem+json"
	)
	for _, c := range []struct {
		name, route, sent string
		status            int
		media, body       string
		header            [2]string
		breaks            string // empty: it is as promised
	}{
		{"allowed", "POST /v1/check", `{"domain":"d"}`, 200, js, allowed, [2]string{}, ""},
		{"refused", "POST /v1/check", `{"domain":"d"}`, 429, pr, denied, [2]string{"Retry-After", "1"}, ""},
		{"unknown member", "POST /v1/check", `{"domain":"d"}`, 200, js, strings.Replace(allowed, `"home"`, `"hom":1,"home"`, 1), [2]string{}, "hom"},
		{"missing member", "POST /v1/check", `{"domain":"d"}`, 200, js, strings.Replace(allowed, `"home":"n1",`, "", 1), [2]string{}, "home"},
		{"unknown reason", "POST /v1/check", `{"domain":"d"}`, 200, js, strings.Replace(allowed, `"OK"`, `"FINE"`, 1), [2]string{}, "reason"},
		{"wrong media", "POST /v1/check", `{"domain":"d"}`, 429, js, denied, [2]string{}, "Content-Type"},
		{"refusal without a type", "POST /v1/check", `{"domain":"d"}`, 429, pr, strings.Replace(denied, `"type":"https://a/b",`, "", 1), [2]string{}, "type"},
		{"unknown status", "POST /v1/check", `{"domain":"d"}`, 418, pr, denied, [2]string{}, "status"},
		{"503 without Retry-After", "GET /v1/view", "", 503, pr, problem, [2]string{}, "Retry-After"},
		{"503", "GET /v1/view", "", 503, pr, problem, [2]string{"Retry-After", "1"}, ""},
		{"undocumented request", "POST /v1/check", `{"domain":"d","colour":1}`, 200, js, allowed, [2]string{}, "request"},
		{"no such path", "GET /v1/nothing", "", 404, pr, problem, [2]string{}, ""},
		{"no such path, no problem", "GET /v1/nothing", "", 404, pr, `{}`, [2]string{}, "type"},
		{"no such path but 200", "GET /v1/nothing", "", 200, js, `{}`, [2]string{}, "404"},
		{"no such method", "DELETE /v1/check", "", 405, pr, problem, [2]string{"Allow", "POST"}, ""},
		{"no such method, no Allow", "DELETE /v1/check", "", 405, pr, problem, [2]string{}, "Allow"},
		{"no body", "GET /v1/auth/d", "", 200, "", "", [2]string{"X-RL-Status", "200"}, "X-RL-Reason"},
		{"a body where there is none", "GET /v1/auth/d", "", 200, js, allowed, [2]string{}, "a body"},
		{"head", "HEAD /healthz", "", 200, "text/plain; charset=utf-8", "", [2]string{}, ""},
	} {
		method, path, _ := strings.Cut(c.route, " ")
		r := httptest.NewRequest(method, "http://node"+path, strings.NewReader(c.sent))
		r.Header.Set("Content-Type", js)
		var broken error
		answer := roundTrip(func(*http.Request) *http.Response {
			res := &http.Response{StatusCode: c.status, Header: http.Header{"Content-Type": {c.media}}, Body: io.NopCloser(strings.NewReader(c.body))}
			if c.header[0] != "" {
				res.Header.Set(c.header[0], c.header[1])
			}
			return res
		})
		res, err := p.Transport(answer, func(err error) { broken = err }).RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		if got, _ := io.ReadAll(res.Body); string(got) != c.body {
			t.Errorf("%s: the body became %q", c.name, got)
		}
		if (broken == nil) != (c.breaks == "") || broken != nil && !strings.Contains(broken.Error(), c.breaks) {
			t.Errorf("%s: %v, want an error with %q", c.name, broken, c.breaks)
		}
	}
}

type roundTrip func(*http.Request) *http.Response

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r), nil }

func BenchmarkCheck(b *testing.B) {
	p, err := Load()
	if err != nil {
		b.Fatal(err)
	}
	body := `{"verdict":"ALLOW","reason":"OK","message":"m","remedy":"none","retry_after_ms":0,"wait_ms":0,"sources":[],"limits":[],"policy_version":1,"home":"n1","epoch":1,"decision_id":"x"}`
	for b.Loop() {
		r := httptest.NewRequest("POST", "http://node/v1/check", nil)
		r.Header.Set("Content-Type", "application/json")
		res := &http.Response{StatusCode: 200, Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(strings.NewReader(body))}
		if err := p.Check(r, []byte(`{"domain":"d"}`), res); err != nil {
			b.Fatal(err)
		}
	}
}
