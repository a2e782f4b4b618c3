package main

import (
	"bytes"
	"io"
	"net/http"
	"testing"
	"time"

	commonv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/common/ratelimit/v3"
	rlsv3 "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

const envoyRules = `domain: edge
descriptors:
  - key: user
    rate_limit:
      name: per-user
      unit: year
      requests_per_unit: 3
`

// An Envoy file becomes a policy, and what asked Envoy's own service asks a node: over gRPC and POST /json, at
// whichever node, one bucket counts.
func TestEnvoysRulesAreImportedAndAskedOverBothDoors(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3)
	rules := file(t, "edge.yaml", envoyRules)
	made := weir(t, "policy", "import", "envoy", rules)
	made.want(t, exitOK, "edge:", "envoy:", "per-user")
	since := time.Now()
	c.weir(t, 0, "policy", "apply", file(t, "weir.yaml", made.out)).want(t, exitOK, "in force as version 2")
	c.within(t, "the imported policy", since, func(i int) bool { return c.version(t, i) == 2 })
	v, err := c.clients[0].View(c.ctx)
	if err != nil {
		t.Fatal(err)
	}
	for i, m := range v.Members {
		conn, err := grpc.NewClient(m.GRPC, grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		r, err := rlsv3.NewRateLimitServiceClient(conn).ShouldRateLimit(c.ctx, &rlsv3.RateLimitRequest{
			Domain: "edge", Descriptors: []*commonv3.RateLimitDescriptor{{Entries: []*commonv3.RateLimitDescriptor_Entry{{Key: "user", Value: "alice"}}}},
		})
		if err != nil || r.GetOverallCode() != rlsv3.RateLimitResponse_OK || r.GetStatuses()[0].GetLimitRemaining() != uint32(2-i) ||
			r.GetStatuses()[0].GetCurrentLimit().GetName() != "per-user" {
			t.Errorf("hit %d at %s: %v, %v, want OK and %d left", i+1, m.Name, r, err, 2-i)
		}
	}
	for i, p := range c.nodes {
		status, body := c.json(t, i, `{"domain":"edge","descriptors":[{"entries":[{"key":"user","value":"alice"}]}]}`)
		if status != 429 || !bytes.Contains(body, []byte(`"OVER_LIMIT"`)) {
			t.Errorf("hit %d at %s over JSON: %d %s, want 429", i+4, p.name, status, body)
		}
		if status, body := c.json(t, i, `{"domain":"edge","descriptors":[{"entries":[{"key":"user","value":"bob"}]}]}`); status != 200 {
			t.Errorf("bob at %s: %d %s, want 200", p.name, status, body)
		}
	}
	c.weir(t, 1, "limits", "user~alice", "--domain", "edge").want(t, exitOK, "per-user  0     3   requests")
	c.weir(t, 2, "limits", "user~carol", "--domain", "edge").want(t, exitOK, "per-user  3     3   requests")
	for _, args := range [][]string{
		{"limits", "usr~alice"}, {"block", "usr~alice"}, {"reset", "usr~alice"}, {"override", "set", "usr~alice", "per-user", "limit=9"},
	} {
		c.weir(t, 0, append(args, "--domain", "edge")...).want(t, exitFailed, "status 400", "such as `user~alice`")
	}
	since = time.Now()
	c.weir(t, 0, "override", "set", "user~alice", "per-user", "limit=99", "--domain", "edge").want(t, exitOK, "is overridden")
	c.within(t, "an override in a tree", since, func(i int) bool {
		status, _ := c.json(t, i, `{"domain":"edge","descriptors":[{"entries":[{"key":"user","value":"alice"}]}]}`)
		return status == 200
	})
	if status, body := c.json(t, 0, `{"domain":""}`); status != 400 || !bytes.Contains(body, []byte("domain must not be empty")) {
		t.Errorf("no domain: %d %s", status, body)
	}
	bad := file(t, "bad.yaml", "domain: edge\ndescriptors:\n  - ky: user\n")
	weir(t, "policy", "import", "envoy", bad).want(t, exitFailed, bad+":3:", "unknown key 'ky'")
	weir(t, "policy", "import", "envoy", "/none/such.yaml").want(t, exitFailed, "read an Envoy file")
}

// json posts to /json of node i.
func (c *cluster) json(t *testing.T, i int, body string) (int, []byte) {
	t.Helper()
	r, err := http.NewRequestWithContext(c.ctx, http.MethodPost, "http://"+c.nodes[i].http+"/json", bytes.NewBufferString(body))
	if err != nil {
		t.Fatal(err)
	}
	res, err := c.web.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	answer, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, answer
}
