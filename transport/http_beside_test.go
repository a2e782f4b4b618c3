package transport

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/weir-cluster/weir/policy"
)

// fakeState is what is agreed, and notes what it is asked to change.
type fakeState struct {
	asked string
	err   error
}

func (f *fakeState) note(format string, args ...string) (uint64, error) {
	f.asked = format + " " + strings.Join(args, " ")
	return 7, f.err
}

func (f *fakeState) Document() (uint64, []byte) { return 3, []byte("version: 1\n") }

func (f *fakeState) Put(_ context.Context, name string, text []byte, expect int64, note string) (uint64, error) {
	return f.note("put", name, string(text), fmt.Sprint(expect), note)
}

func (f *fakeState) History() []policy.Version {
	return []policy.Version{
		{Version: 3, At: time.Date(2026, 11, 23, 8, 0, 0, 0, time.UTC), Note: "n", Bytes: 11, Hash: "ab"},
		{Version: 2, Bytes: 9, Hash: "cd"},
	}
}

func (f *fakeState) TextOf(version uint64) ([]byte, error) {
	return fmt.Appendf(nil, "text of %d\n", version), nil
}

func (f *fakeState) Rollback(_ context.Context, version uint64, expect int64) (uint64, error) {
	return f.note("rollback", fmt.Sprint(version), fmt.Sprint(expect))
}

func (f *fakeState) SetOverride(_ context.Context, o policy.Override) (uint64, error) {
	return f.note("override", o.Domain, o.Account, o.Limit, fmt.Sprintf("%+v", o.Terms), o.Until.Format(time.RFC3339))
}

func (f *fakeState) UnsetOverride(_ context.Context, domain, account, limit string) (uint64, error) {
	return f.note("unset", domain, account, limit)
}

func (f *fakeState) Block(_ context.Context, b policy.Block) (uint64, error) {
	return f.note("block", b.Domain, b.Account, b.Why, b.Until.Format(time.RFC3339))
}

func (f *fakeState) Unblock(_ context.Context, domain, account string) (uint64, error) {
	return f.note("unblock", domain, account)
}

func (f *fakeState) Reset(_ context.Context, domain, account, limit string) (uint64, error) {
	return f.note("reset", domain, account, limit)
}

func (f *fakeState) Beside(domain, account string) policy.Beside {
	f.asked = "beside " + domain + " " + account
	return policy.Beside{
		Overrides: []policy.Override{{Domain: domain, Account: "a", Limit: "l", Terms: policy.Terms{Rate: "5/s", Burst: 9}, Idle: "gone"}},
		Blocks:    []policy.Block{{Domain: domain, Account: "b", Why: "w", Until: time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)}},
	}
}

// stateful serves what is agreed.
func stateful(f *fakeState) *HTTPServer {
	s := server(fakeAccess{check: allow})
	s.Policies, s.Versions, s.Beside = f, f, f
	s.Policy = func() *policy.Policy { return nil }
	return s
}

func TestChangesForOneAccountArriveAsTheyWereWritten(t *testing.T) {
	ask := asking(t)
	const account = "/v1/domains/d/accounts/a%2Fb"
	for _, c := range []struct{ route, body, asked string }{
		{"PUT " + account + "/overrides/l", `{"rate":"5/s","burst":9,"until":"2027-01-01T00:00:00Z"}`, "override d a/b l {Rate:5/s Burst:9 Limit:0 Window:} 2027-01-01T00:00:00Z"},
		{"PUT " + account + "/overrides/l", `{"limit":4,"window":"1h"}`, "override d a/b l {Rate: Burst:0 Limit:4 Window:1h} 0001-01-01T00:00:00Z"},
		{"DELETE " + account + "/overrides/l", "", "unset d a/b l"},
		{"PUT " + account + "/block", `{"why":"w"}`, "block d a/b w 0001-01-01T00:00:00Z"},
		{"DELETE " + account + "/block", "", "unblock d a/b"},
		{"POST " + account + "/resets", `{"limit":"l"}`, "reset d a/b l"},
		{"POST " + account + "/resets", `{}`, "reset d a/b "},
	} {
		f := &fakeState{}
		method, path, _ := strings.Cut(c.route, " ")
		res := ask(t, stateful(f), method, path, c.body)
		if text, _ := io.ReadAll(res.Body); res.StatusCode != 200 || f.asked != c.asked || string(text) != "{\"revision\":7}\n" {
			t.Errorf("%s: %d %s, asked %q, want %q", c.route, res.StatusCode, text, f.asked, c.asked)
		}
		for err, status := range map[error]int{policy.ErrInvalid: 400, policy.ErrFull: 503, policy.ErrUnavailable: 503} {
			if res := ask(t, stateful(&fakeState{err: err}), method, path, c.body); res.StatusCode != status {
				t.Errorf("%s with %v: status %d, want %d", c.route, err, res.StatusCode, status)
			}
		}
		if c.body == "" {
			continue
		}
		for _, body := range []string{"", `{"colour":1}`, `{"why":"w"}{}`, strings.Repeat("x", bodyMax+1)} {
			f := &fakeState{}
			if res := ask(t, stateful(f), method, path, body); res.StatusCode != 400 && res.StatusCode != 413 || f.asked != "" {
				t.Errorf("%s with %.20q: status %d, asked %q", c.route, body, res.StatusCode, f.asked)
			}
		}
	}
}

func TestWhatHoldsBesideThePolicyIsListed(t *testing.T) {
	ask := asking(t)
	for path, asked := range map[string]string{"/v1/domains/d/overrides": "beside d ", "/v1/domains/d/accounts/a~b/overrides": "beside d a~b"} {
		f := &fakeState{}
		res := ask(t, stateful(f), "GET", path, "")
		want := `{"overrides":[{"account":"a","name":"l","rate":"5/s","burst":9,"idle":"gone"}],` +
			`"blocks":[{"account":"b","why":"w","until":"2027-01-01T00:00:00Z"}]}` + "\n"
		if text, _ := io.ReadAll(res.Body); f.asked != asked || string(text) != want {
			t.Errorf("%s: asked %q, answered %s, want %s", path, f.asked, text, want)
		}
	}
}

// nothingBeside is where no account has anything of its own.
type nothingBeside struct{ *fakeState }

func (nothingBeside) Beside(string, string) policy.Beside { return policy.Beside{} }

func TestAnEmptyListIsOfADomainThatThereIs(t *testing.T) {
	ask := asking(t)
	p, err := policy.Parse("p", []byte("version: 1\ndomains: {llm: {account: [user]}}\n"))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		path, says string
		status     int
		beside     Beside
	}{
		{"/v1/domains/llm/overrides", `{"overrides":[],"blocks":[]}`, 200, nothingBeside{}},
		{"/v1/domains/lml/overrides", "did you mean `llm`?", 400, nothingBeside{}},
		{"/v1/domains/lml/accounts/a/overrides", "did you mean `llm`?", 400, nothingBeside{}},
		{"/v1/domains/gone/overrides", `"idle":"gone"`, 200, &fakeState{}},
	} {
		s := stateful(&fakeState{})
		s.Beside, s.Policy = c.beside, func() *policy.Policy { return p }
		res := ask(t, s, "GET", c.path, "")
		if text, _ := io.ReadAll(res.Body); res.StatusCode != c.status || !strings.Contains(string(text), c.says) {
			t.Errorf("%s: %d %s, want %d with %s", c.path, res.StatusCode, text, c.status, c.says)
		}
	}
}

func TestPoliciesAreReadPutAndRolledBackByVersion(t *testing.T) {
	ask := asking(t)
	for _, c := range []struct {
		route, body, ifMatch, asked string
		status                      int
		says, etag                  string
	}{
		{"GET /v1/policy", "", "", "", 200, "version: 1\n", `"3"`},
		{"GET /v1/policy/2", "", "", "", 200, "text of 2\n", `"2"`},
		{"GET /v1/policy/9", "", "", "", 404, "version 9 is not kept", ""},
		{"GET /v1/policy/x", "", "", "", 400, "expected a number", ""},
		{"GET /v1/policy/history", "", "", "", 200, `{"versions":[{"version":3,"at":"2026-11-23T08:00:00Z","note":"n","bytes":11,"hash":"ab"},{"version":2,"bytes":9,"hash":"cd"}]}`, ""},
		{"PUT /v1/policy?note=why", "y", "", "put policy.yaml y -1 why", 200, `{"version":7}`, `"7"`},
		{"PUT /v1/policy", "y", `"3"`, "put policy.yaml y 3 ", 200, `{"version":7}`, `"7"`},
		{"POST /v1/policy:rollback", `{"version":2}`, `"3"`, "rollback 2 3", 200, `{"version":7}`, `"7"`},
		{"POST /v1/policy:rollback", `{"version":-2}`, "", "", 400, "small non-negative integer", ""},
		{"POST /v1/policy:rollback", `{"version":2}`, "newest", "", 400, "If-Match", ""},
	} {
		f := &fakeState{}
		method, path, _ := strings.Cut(c.route, " ")
		res := ask(t, stateful(f), method, path, c.body, "If-Match", c.ifMatch)
		text, _ := io.ReadAll(res.Body)
		if res.StatusCode != c.status || f.asked != c.asked || !strings.Contains(string(text), c.says) || res.Header.Get("ETag") != c.etag {
			t.Errorf("%s: %d %s, ETag %s, asked %q; want %+v", c.route, res.StatusCode, text, res.Header.Get("ETag"), f.asked, c)
		}
	}
	res := ask(t, stateful(&fakeState{err: policy.ErrVersionConflict}), "POST", "/v1/policy:rollback", `{"version":2}`)
	if res.StatusCode != http.StatusPreconditionFailed {
		t.Errorf("rollback on another version: %d", res.StatusCode)
	}
}

func TestLimitsOfAnAccountAreALookThatCostsNothing(t *testing.T) {
	ask := asking(t)
	p, err := policy.Parse("p", []byte("version: 1\ndomains:\n  d:\n    account: [org, user]\n    limits:\n"+
		"      - {name: l, key: [org, user], algorithm: token_bucket, rate: 60/min}\n"))
	if err != nil {
		t.Fatal(err)
	}
	var asked policy.Request
	s := stateful(&fakeState{})
	s.Policy = func() *policy.Policy { return p }
	s.Access = fakeAccess{check: func(r policy.Request) (policy.Decision, error) {
		asked = r
		d := twoLimits(policy.Allow)
		d.Limits[0].Overridden, d.PolicyVersion, d.Home, d.Epoch = true, 3, "n2", 5
		return d, nil
	}}
	res := ask(t, s, "GET", "/v1/accounts/acme~a=2Fb/limits?domain=d&attribute=model:x:y&attribute=kind:", "")
	var b standingBody
	if err := json.NewDecoder(res.Body).Decode(&b); err != nil {
		t.Fatal(err)
	}
	want := policy.Request{Domain: "d", Mode: policy.Peek, Cost: []policy.Cost{{Meter: "requests"}}, Attributes: []policy.Attribute{
		{Name: "org", Value: "acme"}, {Name: "user", Value: "a/b"}, {Name: "model", Value: "x:y"}, {Name: "kind"},
	}}
	if fmt.Sprintf("%+v", asked) != fmt.Sprintf("%+v", want) {
		t.Errorf("asked %+v, want %+v", asked, want)
	}
	if b.Account != "acme~a=2Fb" || b.Home != "n2" || len(b.Limits) != 3 || !b.Limits[0].Overridden || b.Limits[0].Meter != "requests" ||
		b.Limits[0].WindowMS != 60000 || !b.Limits[2].Shadow || b.Blocked == nil || b.Blocked.Why != "w" {
		t.Errorf("standing %+v", b)
	}
	for query, says := range map[string]string{
		"": "names no domain", "domain=e": "no domain", "domain=d&user=x": "expected domain and attribute", "domain=d&attribute=x": "name:value", "%zz": "the query",
	} {
		res := ask(t, s, "GET", "/v1/accounts/acme~bob/limits?"+query, "")
		if text, _ := io.ReadAll(res.Body); res.StatusCode != 400 || !strings.Contains(string(text), says) {
			t.Errorf("%q: %d %s, want 400 with %q", query, res.StatusCode, text, says)
		}
	}
	if res := ask(t, s, "GET", "/v1/accounts/acme/limits?domain=d", ""); res.StatusCode != 400 {
		t.Errorf("an account of one value where there are two: %d", res.StatusCode)
	}
	s.Policy = func() *policy.Policy { return nil }
	if res := ask(t, s, "GET", "/v1/accounts/a/limits?domain=d", ""); res.StatusCode != 503 {
		t.Errorf("without a policy: %d", res.StatusCode)
	}
}

func TestLimitsOfAnEnvoyAccountAreThoseOfItsRule(t *testing.T) {
	ask := asking(t)
	p, err := policy.Parse("p", []byte("version: 1\ndomains:\n  edge:\n    envoy:\n      descriptors:\n"+
		"        - {key: user, rate_limit: {unit: minute, requests_per_unit: 3}}\n"+
		"        - {key: user, value: bot*, share_threshold: true, rate_limit: {unit: minute, requests_per_unit: 3}}\n"))
	if err != nil {
		t.Fatal(err)
	}
	var asked policy.Request
	s := stateful(&fakeState{})
	s.Policy = func() *policy.Policy { return p }
	s.Access = fakeAccess{check: func(r policy.Request) (policy.Decision, error) {
		asked = r
		return twoLimits(policy.Allow), nil
	}}
	for _, c := range []struct{ account, query, want string }{
		{"user~alice=20b", "", "[{user alice b}]"},
		{"user~bot=2A", "", "[{user bot*}]"},
		{"user~bot-1", "", "whose account is `user~bot=2A`"},
		{"usr~alice", "", "such as `user~alice`"},
		{"alice", "", "the keys and values of a descriptor joined by ~"},
		{"user~alice", "&attribute=ip:1", "put them into its id"},
	} {
		asked = policy.Request{}
		res := ask(t, s, "GET", "/v1/accounts/"+c.account+"/limits?domain=edge"+c.query, "")
		text, _ := io.ReadAll(res.Body)
		if good := c.want[0] == '['; good && (res.StatusCode != 200 || fmt.Sprint(asked.Attributes) != c.want) ||
			!good && (res.StatusCode != 400 || asked.Domain != "" || !strings.Contains(string(text), c.want)) {
			t.Errorf("%s: %d %s, asked %v, want %s", c.account, res.StatusCode, text, asked.Attributes, c.want)
		}
	}
}
