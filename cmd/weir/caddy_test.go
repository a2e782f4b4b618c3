package main

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// startCaddy runs Caddy with the file of deploy/caddy, of which only the addresses are changed.
func startCaddy(t *testing.T, site string, nodes []string) *gateway {
	t.Helper()
	program := gatewayProgram(t, "caddy", "caddy")
	dir, addr := t.TempDir(), freeAddress(t)
	deployed(t, dir, "caddy/Caddyfile", "http://127.0.0.1:8000 {", "http://"+addr+" {", "reverse_proxy 127.0.0.1:9000 {", "reverse_proxy "+site+" {",
		"reverse_proxy 127.0.0.1:8080 127.0.0.1:8081 127.0.0.1:8082 {", "reverse_proxy "+strings.Join(nodes, " ")+" {")
	return startGateway(t, dir, addr, program, "run", "--config", "Caddyfile", "--adapter", "caddyfile")
}

func TestASiteBehindCaddyIsLimitedByWeir(t *testing.T) {
	t.Parallel()
	gatewayProgram(t, "caddy", "caddy")
	c := startCluster(t, 3, "--policy", file(t, "caddy.yaml", gatewayPolicy))
	g := startCaddy(t, startSite(t), c.addresses())
	t.Run("allowed", func(t *testing.T) { g.allows(t) })
	t.Run("refused", func(t *testing.T) { g.refuses(t, c) })
	t.Run("not forged", func(t *testing.T) { g.isNotFooled(t) })
	t.Run("the site's own", func(t *testing.T) { g.leavesTheSiteAlone(t) })
	t.Run("two users", func(t *testing.T) {
		if r := g.decided(t, "GET", "/", "", "X-User", "twin", "X-User", "other"); r.status != 400 || r.passed || r.reason() != "INVALID" {
			t.Errorf("%d %s", r.status, r.reason())
		}
	})
	t.Run("a hanging Weir", func(t *testing.T) { g.goesOnWithout(t, c) })
}

func TestCaddyHandsOnWhatWeirSays(t *testing.T) {
	t.Parallel()
	weir := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		reason, status, _ := strings.Cut(r.Header.Get("X-User"), " ")
		w.Header().Set("X-RL-Reason", reason)
		switch status {
		case "200":
			w.Header().Set("X-RL-Degrade", "model=small")
		case "503":
			w.WriteHeader(http.StatusServiceUnavailable)
		case "500":
			w.WriteHeader(http.StatusInternalServerError)
		}
	}))
	defer weir.Close()
	addr := strings.TrimPrefix(weir.URL, "http://")
	g := startCaddy(t, startSite(t), []string{addr, addr, addr})
	for _, c := range []struct {
		answer string
		status int
		told   string
		model  string
	}{
		{"OK 200", 200, "OK", "model=small"},
		{"FALLBACK_CLOSED 503", 503, "FALLBACK_CLOSED", ""},
		{"UNAVAILABLE 503", 200, "FAILED_OPEN", ""},
		{"TIMEOUT 503", 200, "FAILED_OPEN", ""},
		{"INTERNAL 500", 200, "FAILED_OPEN", ""},
	} {
		var r reply
		for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(readyPause) {
			if r = g.send(t, "PUT", "/", "body", "X-User", c.answer); r.reason() == c.told && r.status == c.status {
				break // a busy machine may time out before
			}
		}
		if r.status != c.status || r.reason() != c.told || r.passed != (c.status == 200) || r.header.Get("X-RL-Degrade") != c.model {
			t.Errorf("Weir says %s: %d %v", c.answer, r.status, r.header)
		}
		if r.passed && (r.Header.Get("X-RL-Reason") != c.told || r.Header.Get("X-RL-Degrade") != c.model || r.Body != "body" || r.Method != "PUT") {
			t.Errorf("Weir says %s: the site got %+v", c.answer, r.arrival)
		}
	}
}
