package rest

import (
	"net/http"
	"testing"
	"time"
)

func TestChangesForOneAccountAreSentToItsPath(t *testing.T) {
	t.Parallel()
	const account = " /v1/domains/d/accounts/a%2Fb"
	day := time.Date(2027, 1, 31, 0, 0, 0, 0, time.UTC)
	rows := []struct {
		want       string
		repeatable bool
		change     func(c *Client) (uint64, error)
	}{
		{"PUT" + account + `/overrides/l {"rate":"5/s","burst":9,"until":"2027-01-31T00:00:00Z"}`, true, func(c *Client) (uint64, error) {
			return c.SetOverride(t.Context(), "d", "a/b", "l", Terms{Rate: "5/s", Burst: 9, Until: day})
		}},
		{"DELETE" + account + "/overrides/l ", true, func(c *Client) (uint64, error) {
			return c.UnsetOverride(t.Context(), "d", "a/b", "l")
		}},
		{"PUT" + account + `/block {"why":"w"}`, true, func(c *Client) (uint64, error) {
			return c.Block(t.Context(), "d", "a/b", Block{Account: "not sent", Why: "w"})
		}},
		{"DELETE" + account + "/block ", true, func(c *Client) (uint64, error) { return c.Unblock(t.Context(), "d", "a/b") }},
		{"POST" + account + `/resets {"limit":"l"}`, false, func(c *Client) (uint64, error) { return c.Reset(t.Context(), "d", "a/b", "l") }},
	}
	for _, r := range rows {
		got := ""
		note := sees(200, jsonMedia, `{"revision":7}`, func(q *http.Request, body string) { got = q.Method + " " + q.URL.EscapedPath() + " " + body })
		if revision, err := r.change(one(t, note)); err != nil || revision != 7 || got != r.want {
			t.Errorf("sent\n%s, want\n%s; revision %d, %v", got, r.want, revision, err)
		}
		_, err := r.change(one(t, answer(400, problemMedia, `{"detail":"no such limit"}`)))
		wantError(t, err, "status 400: no such limit")
		// The first node breaks the connection after the request: only what may be repeated goes on to the second.
		w := &wire{hosts: map[string]http.HandlerFunc{"a:1": nil, "b:1": note}}
		if _, err := r.change(dial(t, w, "a:1,b:1")); (err == nil) != r.repeatable {
			t.Errorf("%s after a lost answer: %v, asked %q", r.want, err, w.asked)
		}
	}
}

func TestStandingAndWhatHoldsBesideKeepEveryField(t *testing.T) {
	t.Parallel()
	path := ""
	see := func(body string) *Client {
		return one(t, sees(200, jsonMedia, body, func(r *http.Request, _ string) { path = r.URL.RequestURI() }))
	}
	standing := `{"domain":"d","account":"a","blocked":{"why":"w","until":"2027-01-31T00:00:00Z"},"limits":[` +
		`{"name":"l","limit":5,"remaining":3,"reset_ms":4,"meter":"requests","window_ms":60000,"shadow":true,"overridden":true}],"policy_version":6,"home":"n1","epoch":7}`
	s, err := see(standing).Limits(t.Context(), "d", "a b", map[string]string{"model": "x&y", "kind": ""})
	if want := "/v1/accounts/a%20b/limits?attribute=kind%3A&attribute=model%3Ax%26y&domain=d"; err != nil || path != want {
		t.Errorf("asked %s, want %s; %v", path, want, err)
	}
	wantJSON(t, s, standing)
	beside := `{"overrides":[{"account":"a","name":"l","rate":"5/s","burst":9,"limit":3,"window":"1h","until":"2027-01-31T00:00:00Z","idle":"gone"}],` +
		`"blocks":[{"account":"b","why":"w","until":"2027-01-31T00:00:00Z"}]}`
	for account, want := range map[string]string{"": "/v1/domains/d/overrides", "a/b": "/v1/domains/d/accounts/a%2Fb/overrides"} {
		got, err := see(beside).Special(t.Context(), "d", account)
		if err != nil || path != want {
			t.Errorf("asked %s, want %s; %v", path, want, err)
		}
		wantJSON(t, got, beside)
	}
	_, err = one(t, answer(404, problemMedia, `{"detail":"no"}`)).Special(t.Context(), "d", "")
	wantError(t, err, "status 404: no")
}

func TestPolicyVersionsAreListedReadAndRolledBack(t *testing.T) {
	t.Parallel()
	body := `{"versions":[{"version":3,"at":"2026-11-23T08:00:00Z","note":"n","bytes":11,"hash":"ab"}]}`
	all, err := one(t, answer(200, jsonMedia, body)).PolicyHistory(t.Context())
	if err != nil || len(all) != 1 {
		t.Fatalf("history %+v, %v", all, err)
	}
	wantJSON(t, all[0], `{"version":3,"at":"2026-11-23T08:00:00Z","note":"n","bytes":11,"hash":"ab"}`)
	got := ""
	note := func(r *http.Request, body string) {
		got = r.Method + " " + r.URL.RequestURI() + " " + r.Header.Get("If-Match") + " " + body
	}
	text, err := one(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", `"2"`)
		sees(200, "application/yaml", "version: 1\n", note)(w, r)
	}).PolicyTextAt(t.Context(), 2)
	if err != nil || string(text) != "version: 1\n" || got != "GET /v1/policy/2  " {
		t.Errorf("%q by %q, %v", text, got, err)
	}
	version, err := one(t, sees(200, jsonMedia, `{"version":5}`, note)).RollbackPolicy(t.Context(), 2, "4")
	if err != nil || version != 5 || got != `POST /v1/policy:rollback "4" {"version":2}` {
		t.Errorf("rolled back to %d by %q, %v", version, got, err)
	}
	_, err = one(t, sees(200, jsonMedia, `{"version":5}`, note)).ApplyPolicy(t.Context(), []byte("y"), "", "a b")
	if err != nil || got != "PUT /v1/policy?note=a+b  y" {
		t.Errorf("applied by %q, %v", got, err)
	}
}
