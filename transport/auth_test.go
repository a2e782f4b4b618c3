package transport

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weir-cluster/weir/policy"
)

const authPolicy = `
version: 1
domains:
  d:
    account: [user]
    http:
      attributes: {user: [header X-User, header X-Api-Key], route: path, how: method, site: host, ip: client_ip}
    limits:
      - {name: plans, match: {sales_plan: gold}, key: [user], algorithm: token_bucket, rate: 1/s}
  edge:
    envoy: {descriptors: [{key: k, rate_limit: {unit: day, requests_per_unit: 1}}]}
`

// authServer serves the doors of authPolicy.
func authServer(t *testing.T, check func(policy.Request) (policy.Decision, error)) *HTTPServer {
	t.Helper()
	p, err := policy.Parse("auth.yaml", []byte(authPolicy))
	if err != nil {
		t.Fatal(err)
	}
	s := server(fakeAccess{check: check})
	s.Policy = func() *policy.Policy { return p }
	return s
}

// told returns the attributes that a door makes of a request, as `name=value` in order, or its refusal.
func told(t *testing.T, ask asker, method, path string, headers ...string) string {
	t.Helper()
	var got []string
	res := ask(t, authServer(t, func(q policy.Request) (policy.Decision, error) {
		for _, a := range q.Attributes {
			got = append(got, a.Name+"="+a.Value)
		}
		if q.Domain != "d" || q.Cost != nil || q.Mode != policy.Consume || q.IdempotencyKey != "" || q.MaxWait != 0 {
			t.Errorf("%s asks %+v, want one request of d", path, q)
		}
		return allow(q)
	}), method, path, "", headers...)
	if res.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(res.Body)
		return fmt.Sprintf("%d %s", res.StatusCode, body)
	}
	return strings.Join(got, " ")
}

func TestADoorReadsTheOriginalRequestAndNothingElse(t *testing.T) {
	ask := asking(t)
	const here = " how=GET site=example.com ip=192.0.2.1"
	for _, c := range []struct {
		name, path string
		headers    []string
		want       string
	}{
		{"nothing", "/v1/auth/d", nil, "how=GET site=example.com ip=192.0.2.1 user=anonymous"},
		{"by header", "/v1/auth/d", []string{"X-User", "alice", "X-Api-Key", "k"}, "user=alice" + here},
		{"by the next header", "/v1/auth/d", []string{"X-Api-Key", "k"}, "user=k" + here},
		{"where the map is silent", "/v1/auth/d", []string{"X-User", "a", "X-Sales-Plan", "gold", "X-Other", "x"}, "user=a" + here + " sales_plan=gold"},
		{"no query", "/v1/auth/d?user=eve&X-User=eve", nil, "how=GET site=example.com ip=192.0.2.1 user=anonymous"},
		{"no answer of ours", "/v1/auth/d", []string{"X-User", "a", "X-RL-Status", "200", "X-RL-Reason", "OK", "X-RL-Degrade", "model=large"}, "user=a" + here},
		{"forwarded", "/v1/auth/d", []string{
			"X-User", "a", "X-Forwarded-Uri", "/v1/chat?user=b", "X-Forwarded-Method", "POST", "X-Forwarded-Host", "API.example.org:443", "X-Forwarded-For", "6.6.6.6, 198.51.100.7",
		}, "user=a route=/v1/chat how=POST site=api.example.org ip=198.51.100.7"},
		{"its own headers first", "/v1/auth/d", []string{
			"X-User", "a", "X-Forwarded-Uri", "/dear", "X-Original-Uri", "/cheap", "X-Forwarded-Method", "POST", "X-Original-Method", "GET",
		}, "user=a route=/dear how=POST site=example.com ip=192.0.2.1"},
		{"nginx, its own headers first", "/v1/auth/nginx/d", []string{
			"X-User", "a", "X-Forwarded-Uri", "/cheap", "X-Original-Uri", "/dear?x", "X-Forwarded-Method", "GET", "X-Original-Method", "PUT",
		}, "user=a route=/dear how=PUT site=example.com ip=192.0.2.1"},
		{"the other gateway's headers", "/v1/auth/nginx/d", []string{"X-User", "a", "X-Forwarded-Uri", "/p", "X-Forwarded-Method", "PUT"}, "user=a route=/p how=PUT site=example.com ip=192.0.2.1"},
		{"the address of nginx", "/v1/auth/nginx/d", []string{"X-User", "a", "X-Real-IP", "2001:DB8::1"}, "user=a how=GET site=example.com ip=2001:db8::1"},
		{"no address", "/v1/auth/d", []string{"X-User", "a", "X-Forwarded-For", "1.2.3.4, unknown", "X-Real-IP", "1.2.3.4"}, "user=a how=GET site=example.com"},
	} {
		if got := told(t, ask, "GET", c.path, c.headers...); got != c.want {
			t.Errorf("%s:\ngot  %s\nwant %s", c.name, got, c.want)
		}
	}
}

func TestNoSpellingOfAPathEvadesALimit(t *testing.T) {
	long := "/" + strings.Repeat("é", 200)
	for uri, want := range map[string]string{
		"/v1/chat": "/v1/chat", "/v1/chat/": "/v1/chat", "//v1///chat": "/v1/chat", "/v1/%63hat?q=/../": "/v1/chat", "/x/../v1/./chat": "/v1/chat",
		"/../v1/chat": "/v1/chat", "/v1%2fchat": "/v1/chat", "/v1/%2e%2e/a": "/a", "/v1/%252e": "/v1/%2e", "http://host/v1/chat?x": "/v1/chat", "*": "/*", "/": "/", "/a+b c": "/a+b c",
		long: long[:255], "chat": "", "/%zz": "", "/\x01": "",
	} {
		got, err := originalPath(uri)
		if got != want || (err != nil) != (want == "") || err != nil && !errors.Is(err, policy.ErrInvalid) {
			t.Errorf("%q: %q, %v, want %q", uri, got, err, want)
		}
	}
}

// The last entry is the gateway's own; whatever stands before it came from outside.
func TestTheClientsAddressIsTheOneThatTheGatewaySaw(t *testing.T) {
	for _, c := range []struct{ forwarded, real, want string }{
		{"6.6.6.6|7.7.7.7, 192.0.2.7", "", "192.0.2.7"},
		{"6.6.6.6, 192.0.2.7:4711", "8.8.8.8", "192.0.2.7"},
		{"[2001:DB8::7]:4711", "", "2001:db8::7"},
		{"::ffff:192.0.2.7", "", "192.0.2.7"},
		{"fe80::1%eth0", "", "fe80::1"},
		{"192.0.2.7, ", "", ""},
		{"_hidden", "8.8.8.8", ""},
		{"", "192.0.2.8", "192.0.2.8"},
		{"", "", "192.0.2.1"},
	} {
		r := httptest.NewRequest("GET", "/", nil)
		for _, line := range strings.Split(c.forwarded, "|") {
			if line != "" {
				r.Header.Add("X-Forwarded-For", line)
			}
		}
		if c.real != "" {
			r.Header.Set("X-Real-Ip", c.real)
		}
		if got, err := clientIP(r); got != c.want || err != nil {
			t.Errorf("%+v: %q, %v", c, got, err)
		}
	}
}

// What steers a decision and came twice is refused: whoever is behind the gateway may believe the other.
func TestAHeaderThatCameTwiceIsRefused(t *testing.T) {
	for _, name := range []string{"X-User", "X-Forwarded-Uri", "X-Forwarded-Method", "X-Forwarded-Host", "X-Real-Ip", "X-Sales-Plan"} {
		r := httptest.NewRequest("GET", "/v1/auth/d", nil)
		r.Header[name] = []string{"/a", "/a"}
		w := httptest.NewRecorder()
		authServer(t, allow).Handler().ServeHTTP(w, r)
		if w.Code != 400 || !strings.Contains(w.Body.String(), "came 2 times") {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
	}
}

// answered is what a door says of a decision or an error: status, X-RL-Status, X-RL-Reason and Retry-After.
func answered(t *testing.T, ask asker, path string, d policy.Decision, err error) (string, *http.Response) {
	t.Helper()
	res := ask(t, authServer(t, func(policy.Request) (policy.Decision, error) { return d, err }), "POST", path, "")
	h := res.Header
	return strings.TrimSpace(fmt.Sprintf("%d %s %s %s", res.StatusCode, h.Get(headerStatus), h.Get(headerReason), h.Get("Retry-After"))), res
}

func TestEachDoorAnswersInItsGatewaysTerms(t *testing.T) {
	ask := asking(t)
	deny := func(r policy.Reason) policy.Decision {
		d := twoLimits(policy.Deny)
		d.Reason, d.Message, d.Home = r, "No.", "n1"
		return d
	}
	for _, c := range []struct {
		name        string
		d           policy.Decision
		err         error
		true, nginx string
	}{
		{"allowed", twoLimits(policy.Allow), nil, "200 200 OK", "200 200 OK"},
		{"rate", deny(policy.RateLimited), nil, "429 429 RATE_LIMITED 3", "403 429 RATE_LIMITED 3"},
		{"credit", deny(policy.CreditsExhausted), nil, "402 402 CREDITS_EXHAUSTED", "403 402 CREDITS_EXHAUSTED"},
		{"blocked", deny(policy.Blocked), nil, "403 403 BLOCKED", "403 403 BLOCKED"},
		{"closed", deny(policy.FallbackClosed), nil, "503 503 FALLBACK_CLOSED 3", "403 503 FALLBACK_CLOSED 3"},
		{"queued", policy.Decision{Verdict: policy.Queue, Reason: policy.OK}, nil, "503 503 OK 1", "403 503 OK 1"},
		{"the request's fault", policy.Decision{}, policy.ErrInvalid, "400 400 INVALID", "403 400 INVALID"},
		{"undecided", policy.Decision{}, fmt.Errorf("%w: dial 10.0.0.1", policy.ErrUnavailable), "503 503 UNAVAILABLE 1", "503 503 UNAVAILABLE 1"},
		{"too late", policy.Decision{}, context.DeadlineExceeded, "503 503 TIMEOUT 1", "503 503 TIMEOUT 1"},
		{"broken", policy.Decision{}, errors.New("10.0.0.1"), "500 500 INTERNAL", "500 500 INTERNAL"},
	} {
		for path, want := range map[string]string{"/v1/auth/d": c.true, "/v1/auth/nginx/d": c.nginx} {
			got, res := answered(t, ask, path, c.d, c.err)
			if got != want {
				t.Errorf("%s at %s: %s, want %s", c.name, path, got, want)
			}
			body, _ := io.ReadAll(res.Body)
			if strings.Contains(string(body), "10.0.0.1") || strings.Contains(string(body), "n1") {
				t.Errorf("%s at %s tells people outside of a node: %s", c.name, path, body)
			}
			if passed := res.StatusCode == 200; passed != (len(body) == 0) {
				t.Errorf("%s at %s: status %d with the body %q", c.name, path, res.StatusCode, body)
			}
			if refused := strings.HasPrefix(got, "403") && path == "/v1/auth/nginx/d"; refused != (res.Header.Get(headerProblem)+"\n" == string(body)) {
				t.Errorf("%s at %s: X-RL-Problem %q, body %q", c.name, path, res.Header.Get(headerProblem), body)
			}
		}
	}
}

func TestARefusalAtADoorIsAWholeProblem(t *testing.T) {
	d := twoLimits(policy.Deny)
	d.Message, d.Remedy = "Limit rpm allows 60.", policy.RemedyWait
	_, res := answered(t, asking(t), "/v1/auth/d", d, nil)
	var p authProblem
	if err := json.NewDecoder(res.Body).Decode(&p); err != nil {
		t.Fatal(err)
	}
	if p.Type != typeQuota || p.Status != 429 || p.Detail != d.Message || p.Remedy != "wait" || p.RetryAfterMS != 2300 ||
		!slices.Equal(p.Violated, []string{"rpm"}) || p.DecisionID == "" || res.Header.Get("RateLimit") == "" || res.Header.Get("RateLimit-Policy") == "" {
		t.Errorf("%+v %v", p, res.Header)
	}
}

func TestADoorTellsWhatToGoOnWith(t *testing.T) {
	d := policy.Decision{Verdict: policy.Degrade, Reason: policy.OK, Degrade: []policy.Attribute{{Name: "model", Value: "small, a/b=c\r\nX: y"}, {Name: "tier", Value: "2"}}}
	got, res := answered(t, asking(t), "/v1/auth/nginx/d", d, nil)
	if want := "model=small%2C%20a%2Fb%3Dc%0D%0AX%3A%20y, tier=2"; got != "200 200 OK" || res.Header.Get(headerDegrade) != want {
		t.Errorf("%s, %s: %q, want %q", got, headerDegrade, res.Header.Get(headerDegrade), want)
	}
}

func TestADoorTakesEveryMethodAndReadsNoBody(t *testing.T) {
	ask := asking(t)
	for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"} {
		if got := told(t, ask, method, "/v1/auth/nginx/d", "X-User", "a"); got != "user=a how="+method+" site=example.com ip=192.0.2.1" {
			t.Errorf("%s: %s", method, got)
		}
	}
	for _, path := range []string{"/v1/auth/d", "/v1/auth/nginx/d"} {
		r := httptest.NewRequest("PROPFIND", path, unread{t})
		w := httptest.NewRecorder()
		authServer(t, allow).Handler().ServeHTTP(w, r)
		if w.Code != 200 {
			t.Errorf("PROPFIND %s: %d", path, w.Code)
		}
	}
}

// unread is a body that must not be read.
type unread struct{ t *testing.T }

func (u unread) Read([]byte) (int, error) {
	u.t.Error("the body was read")
	return 0, io.EOF
}

func TestADoorRefusesWhatItCannotAsk(t *testing.T) {
	ask := asking(t)
	for path, says := range map[string]string{"/v1/auth/dd": "did you mean `d`?", "/v1/auth/edge": "Envoy tree", "/v1/auth/nginx/dd": "did you mean `d`?"} {
		res := ask(t, authServer(t, allow), "GET", path, "")
		body, _ := io.ReadAll(res.Body)
		if res.Header.Get(headerStatus) != "400" || !strings.Contains(string(body), says) {
			t.Errorf("%s: %v %s", path, res.Header, body)
		}
	}
	s := authServer(t, allow)
	s.Policy = func() *policy.Policy { return nil }
	if res := ask(t, s, "GET", "/v1/auth/nginx/d", ""); res.StatusCode != 503 {
		t.Errorf("without a policy: %d, want 503", res.StatusCode)
	}
}

// A door does not wait for a home longer than a gateway would: after 40 ms, or what it is told, the router has the
// fallback decide.
func TestADoorHasADeadlineOfItsOwn(t *testing.T) {
	for limit, want := range map[time.Duration]time.Duration{0: 40 * time.Millisecond, time.Second: time.Second} {
		synctest.Test(t, func(t *testing.T) {
			s := authServer(t, nil)
			s.AuthTimeout = limit
			s.Access = slow{}
			start, w := time.Now(), httptest.NewRecorder()
			s.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/v1/auth/nginx/d", nil))
			if took := time.Since(start); took != want || w.Code != 200 || w.Header().Get(headerReason) != "FALLBACK_SHARE" {
				t.Errorf("%v: %d %s after %v, want the fallback after %v", limit, w.Code, w.Header().Get(headerReason), took, want)
			}
		})
	}
}

// slow is a router whose homes never answer.
type slow struct{ Access }

func (slow) Check(ctx context.Context, _ policy.Request) (policy.Decision, error) {
	<-ctx.Done()
	return policy.Decision{Verdict: policy.Allow, Reason: policy.FallbackShare}, nil
}

func FuzzOriginalPath(f *testing.F) {
	for _, uri := range []string{"/", "*", "//a/../b?c", "/%2e%2E/%00", "http://h/é", "/a//b/", "/" + strings.Repeat("%C3%A9", 200)} {
		f.Add(uri)
	}
	f.Fuzz(func(t *testing.T, uri string) {
		p, err := originalPath(uri)
		if err != nil {
			return
		}
		if !strings.HasPrefix(p, "/") || len(p) > policy.AttributeValueMax || strings.Contains(p, "//") || strings.Contains(p+"/", "/../") || strings.Contains(p+"/", "/./") {
			t.Errorf("%q became %q", uri, p)
		}
	})
}
