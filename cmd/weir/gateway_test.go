package main

import (
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// gateway is a real gateway process before a site.
type gateway struct {
	addr string
	dir  string // its configuration and its logs
	web  *http.Client
}

// gatewayProgram returns the path of a program. Without it the test is skipped, but fails where WEIR_TEST_ALL=1 says, as
// .ci/run does, that it must be there.
func gatewayProgram(t *testing.T, name, debian string) string {
	t.Helper()
	if testing.Short() {
		t.Skip("starts processes")
	}
	path, err := exec.LookPath(name)
	if err != nil {
		path, err = exec.LookPath("/usr/sbin/" + name) // which is not in everybody's PATH
	}
	if err == nil {
		return path
	}
	const how = "%s is not installed: on Debian and Ubuntu, apt-get install --no-install-recommends %s"
	if os.Getenv("WEIR_TEST_ALL") == "1" {
		t.Fatalf(how, name, debian)
	}
	t.Skipf(how, name, debian)
	return ""
}

// freeAddress returns a loopback address that is nobody's until the test ends.
func freeAddress(t *testing.T) string {
	t.Helper()
	ports, held, err := freePorts(1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { held.Close() })
	return loopback(ports[0])
}

// deployed copies a file of deploy/ into a folder, with changes: texts that each stand in it once, and what to put there.
func deployed(t *testing.T, dir, name string, change ...string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "deploy", name))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(change); i += 2 {
		if strings.Count(string(text), change[i]) != 1 {
			t.Fatalf("deploy/%s does not have %q once", name, change[i])
		}
	}
	text = []byte(strings.NewReplacer(change...).Replace(string(text)))
	if err := os.WriteFile(filepath.Join(dir, filepath.Base(name)), text, 0o600); err != nil {
		t.Fatal(err)
	}
}

// startGateway runs a gateway in its folder until the test ends, and returns once it listens at addr.
func startGateway(t *testing.T, dir, addr, program string, args ...string) *gateway {
	t.Helper()
	log, err := os.Create(filepath.Join(dir, "printed.log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close() // the process has its own handle
	cmd := exec.Command(program, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, log, log
	cmd.Env = append(os.Environ(), "HOME="+dir, "XDG_DATA_HOME="+dir, "XDG_CONFIG_HOME="+dir)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	wires := &http.Transport{MaxIdleConnsPerHost: 64}
	t.Cleanup(func() {
		wires.CloseIdleConnections()
		_ = cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(fleetStopTime):
			_ = cmd.Process.Kill()
			<-ended
		}
		if t.Failed() {
			for _, name := range []string{"printed.log", "error.log"} {
				text, _ := os.ReadFile(filepath.Join(dir, name))
				t.Logf("%s of %s ends:\n%s", name, program, text[max(0, len(text)-logTailBytes):])
			}
		}
	})
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(readyPause) {
		if conn, err := net.Dial("tcp", addr); err == nil {
			conn.Close()
			break
		}
		select {
		case err := <-ended:
			ended <- err
			t.Fatalf("%s ended at once: %v", program, err)
		default:
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s does not listen at %s", program, addr)
		}
	}
	return &gateway{addr: addr, dir: dir, web: &http.Client{Transport: wires, Timeout: 30 * time.Second}}
}

// arrival is a request as it reached the site.
type arrival struct {
	Method, URI, Body string
	Header            http.Header
}

// startSite starts a site that answers with what reached it, with the status that the path ends in, and in its headers
// with what only Weir should say.
func startSite(t *testing.T) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		for _, name := range []string{"RateLimit", "RateLimit-Policy", "X-RL-Status", "X-RL-Reason", "X-RL-Degrade", "X-RL-Problem"} {
			w.Header().Set(name, "the site's")
		}
		if status, err := strconv.Atoi(filepath.Base(r.URL.Path)); err == nil {
			w.WriteHeader(status)
		}
		_ = json.NewEncoder(w).Encode(arrival{r.Method, r.RequestURI, string(body), r.Header})
	}))
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://")
}

// reply is what a client got, and what the site got if the request passed.
type reply struct {
	status int
	header http.Header
	body   string
	passed bool
	arrival
}

// reason is why, as the client is told.
func (r reply) reason() string { return r.header.Get("X-RL-Reason") }

// undecided says that the gateway opened by itself, that a node had to decide by its share, or that the ledger was late:
// on a busy machine all may come at any time, as nobody waits longer than milliseconds.
func (r reply) undecided() bool {
	return r.reason() == "FAILED_OPEN" || strings.HasPrefix(r.reason(), "FALLBACK_") || r.reason() == "LEDGER_UNAVAILABLE"
}

// send sends one request through the gateway; headers are names and values.
func (g *gateway) send(t *testing.T, method, uri, body string, headers ...string) reply {
	t.Helper()
	r, err := http.NewRequest(method, "http://"+g.addr+uri, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header[headers[i]] = append(r.Header[headers[i]], headers[i+1]) // as it is spelled
	}
	res, err := g.web.Do(r)
	if err != nil {
		t.Errorf("%s %s: %v", method, uri, err)
		return reply{}
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Errorf("%s %s: %v", method, uri, err)
	}
	out := reply{status: res.StatusCode, header: res.Header, body: string(text)}
	out.passed = json.Unmarshal(text, &out.arrival) == nil && out.Header != nil
	return out
}

// decided is send, repeated until a home has decided.
func (g *gateway) decided(t *testing.T, method, uri, body string, headers ...string) reply {
	t.Helper()
	for deadline := time.Now().Add(clusterTimeMax / 2); ; {
		r := g.send(t, method, uri, body, headers...)
		if !r.undecided() {
			return r
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s %s is never decided: %d %s", method, uri, r.status, r.reason())
		}
		time.Sleep(readyPause)
	}
}
