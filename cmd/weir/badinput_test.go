package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"google.golang.org/grpc/status"

	weirv1 "github.com/weir-cluster/weir/api/weir/v1"
)

// Each kind of bad input gets its own clear error from a real node, over HTTP and over gRPC, and the node
// goes on.
func TestBadInputGetsItsOwnErrorAndTheNodeStaysUp(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 1)
	attributes := make([]string, 33)
	many := make([]*weirv1.Attribute, 33)
	for i := range attributes {
		attributes[i] = fmt.Sprintf(`"a%d":"x"`, i)
		many[i] = &weirv1.Attribute{Name: fmt.Sprint("a", i), Value: "x"}
	}
	alice := []*weirv1.Attribute{{Name: "user", Value: "alice"}}
	cost := func(meter string, n int64) []*weirv1.Cost { return []*weirv1.Cost{{Meter: meter, Amount: n}} }
	const check, batch = "POST /v1/check", "POST /v1/check:batch"
	rows := []struct {
		name, route, body string
		rpc               *weirv1.CheckRequest // the same over gRPC, where it can be said
		says              string
	}{
		{"unknown domain", check, `{"domain":"dmo","attributes":{"user":"alice"}}`, &weirv1.CheckRequest{Domain: "dmo", Attributes: alice}, "demo"},
		{"missing account", check, `{"domain":"demo","attributes":{"model":"large"}}`, &weirv1.CheckRequest{Domain: "demo", Attributes: []*weirv1.Attribute{{Name: "model", Value: "large"}}}, "user"},
		{"all zero", check, `{"domain":"demo","attributes":{"user":"alice"},"cost":{"requests":0}}`, &weirv1.CheckRequest{Domain: "demo", Attributes: alice, Cost: cost("requests", 0)}, "PEEK"},
		{"negative cost", check, `{"domain":"demo","attributes":{"user":"alice"},"cost":{"requests":-1}}`, &weirv1.CheckRequest{Domain: "demo", Attributes: alice, Cost: cost("requests", -1)}, "negative"},
		{"cost beyond the bound", check, `{"domain":"demo","attributes":{"user":"alice"},"cost":{"tokens":9223372036854775807}}`, &weirv1.CheckRequest{Domain: "demo", Attributes: alice, Cost: cost("tokens", 1<<62)}, "at most"},
		{"overflowing cost", check, `{"domain":"demo","attributes":{"user":"alice"},"cost":{"tokens":92233720368547758070}}`, nil, "integer of 64 bits"},
		{"unknown meter", check, `{"domain":"demo","attributes":{"user":"alice"},"cost":{"token":1}}`, &weirv1.CheckRequest{Domain: "demo", Attributes: alice, Cost: cost("token", 1)}, "tokens"},
		{"33 attributes", check, `{"domain":"demo","attributes":{` + strings.Join(attributes, ",") + `}}`, &weirv1.CheckRequest{Domain: "demo", Attributes: many}, "32"},
		{"invalid UTF-8", check, "{\"domain\":\"demo\",\"attributes\":{\"user\":\"\xff\"}}", nil, "UTF-8"},
		{"a body over 64 KiB", check, `{"domain":"` + strings.Repeat("x", 64<<10) + `"}`, nil, "65536 bytes"},
		{"an unknown field", check, `{"domain":"demo","user":"alice"}`, nil, `unknown field "user"`},
		{"a batch of 1,001", batch, `{"checks":[` + strings.Repeat(`{"domain":"demo"},`, 1000) + `{"domain":"demo"}]}`, nil, "1001 checks, at most 1000"},
		{"a malformed policy", "PUT /v1/policy", "version: 1\ndomains:\n  d:\n    acount: [user]\n", nil, "account"},
	}
	rpc := c.access(t)[0]
	said := map[string]string{}
	for _, r := range rows {
		method, path, _ := strings.Cut(r.route, " ")
		code, detail := c.raw(t, method, path, r.body)
		if code < 400 || code > 499 || !strings.Contains(detail, r.says) {
			t.Errorf("%s over HTTP: %d %q, want 4xx that says %q", r.name, code, detail, r.says)
		}
		if other, twice := said[detail]; twice {
			t.Errorf("%s and %s get the same error: %s", r.name, other, detail)
		}
		said[detail] = r.name
		t.Logf("%s: %d %s", r.name, code, detail)
		if r.rpc == nil {
			continue
		}
		_, err := rpc.Check(c.ctx, r.rpc)
		if s := status.Convert(err); s.Code().String() != "InvalidArgument" || !strings.Contains(s.Message(), r.says) {
			t.Errorf("%s over gRPC: %v, want InvalidArgument that says %q", r.name, err, r.says)
		}
	}
	if _, err := rpc.CheckBatch(c.ctx, &weirv1.CheckBatchRequest{Checks: make([]*weirv1.CheckRequest, 1001)}); !strings.Contains(status.Convert(err).Message(), "1001 checks") {
		t.Errorf("a batch of 1,001 over gRPC: %v", err)
	}
	if d := c.check(t, 0, "alice"); d.Verdict != "ALLOW" || d.Limits[0].Remaining != 19 {
		t.Errorf("after all that: %+v, want ALLOW with nothing taken before", d)
	}
}

// raw sends a body as it is and returns the status and the problem's detail.
func (c *cluster) raw(t *testing.T, method, path, body string) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(c.ctx, method, "http://"+c.nodes[0].http+path, bytes.NewBufferString(body))
	if err != nil {
		t.Fatal(err)
	}
	res, err := c.web.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	var p struct {
		Detail string `json:"detail"`
	}
	if err := json.NewDecoder(res.Body).Decode(&p); err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, p.Detail
}
