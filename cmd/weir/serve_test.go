package main

import (
	"bytes"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"
)

// parsed is the serve command after the arguments, without running it.
func parsed(t *testing.T, args ...string) (serveCommand, error) {
	t.Helper()
	var line commandLine
	p, err := kong.New(&line, kong.Exit(func(int) { t.Error("exits") }), kong.Writers(io.Discard, io.Discard))
	if err != nil {
		t.Fatal(err)
	}
	_, err = p.Parse(append([]string{"serve"}, args...))
	return line.Serve, err
}

func TestServeFlagsBecomeANodeConfig(t *testing.T) {
	t.Parallel()
	policy := file(t, "p.yaml", "version: 1\n")
	c, err := parsed(t, "--name", "n1", "--http-addr", "127.0.0.1:1", "--grpc-addr", "127.0.0.1:2", "--gossip-addr", "127.0.0.1:3",
		"--peer-addr", "127.0.0.1:4", "--advertise", "127.0.0.1", "--join", "10.0.0.1, 10.0.0.2:7", "--bootstrap-expect", "3", "--voter", "no",
		"--zone", "z", "--policy", policy, "--cluster", "c", "--drain-timeout", "3s", "--buckets-max", "8192",
		"--voters", "5", "--weight", "7", "--lease-duration", "3s", "--lease-renewal", "400ms", "--lease-margin", "250ms")
	if err != nil {
		t.Fatal(err)
	}
	n, err := c.node(io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	got := strings.Join([]string{n.Name, n.DataDir, n.HTTPAddr, n.GRPCAddr, n.GossipAddr, n.PeerAddr, n.Advertise, n.Voter, n.Zone, n.Cluster, string(n.Policy), n.PolicyName}, "|")
	want := strings.Join([]string{"n1", filepath.Join("weir-data", "n1"), "127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3", "127.0.0.1:4", "127.0.0.1", "no", "z", "c", "version: 1\n", policy}, "|")
	if got != want || !slices.Equal(n.Join, []string{"10.0.0.1", "10.0.0.2:7"}) || n.BootstrapExpect != 3 || n.DrainTimeout != 3*time.Second || n.BucketsMax != 8192 || n.Version == "" ||
		n.Voters != 5 || n.Weight != 7 || n.Lease.Duration != 3*time.Second || n.Lease.Renewal != 400*time.Millisecond || n.Lease.Margin != 250*time.Millisecond {
		t.Errorf("node config %+v\nwant %s", n, want)
	}
	weir(t, "serve", "--name", "n1", "--policy", "/none/such.yaml").want(t, exitFailed, "read --policy")
	weir(t, "serve", "--name", "n1", "--lease-duration", "1s").want(t, exitUsage, "duration 1s less renewal 300ms: at least three times the election timeout 500ms")
	weir(t, "serve", "--name", "n1", "--lease-margin", "50ms").want(t, exitUsage, "a twentieth of the duration 2s")
	weir(t, "serve", "--name", "n1", "--weight", "0").want(t, exitUsage, "weight 0: 1 to 255")
	weir(t, "serve", "--name", "n1", "--voters", "4").want(t, exitUsage, "3", "5")
	weir(t, "serve", "--name", "n1", "--buckets-max", "9").want(t, exitUsage, "buckets-max 9: 4096 to 1073741824")
}

func TestConfigFileFillsWhatNothingElseSets(t *testing.T) {
	t.Setenv("WEIR_ZONE", "from-env")
	path := file(t, "weir.yaml", `---
# a comment
name: from-file
zone: from-file
http-addr: "0.0.0.0:8080"   # quoted
join: [10.0.0.1, 10.0.0.2]
bootstrap-expect: 3
ephemeral: true
drain-timeout: 4s
buckets-max: 5000
log-level: error
voter:
  yes
`)
	c, err := parsed(t, "--config", path, "--http-addr", "127.0.0.1:9")
	if err != nil {
		t.Fatal(err)
	}
	if c.Name != "from-file" || c.Zone != "from-env" || c.HTTPAddr != "127.0.0.1:9" || !slices.Equal(c.Join, []string{"10.0.0.1", "10.0.0.2"}) ||
		c.BootstrapExpect != 3 || !c.Ephemeral || c.DrainTimeout != 4*time.Second || c.BucketsMax != 5000 || c.LogLevel != slog.LevelError || c.GRPCAddr != "127.0.0.1:8081" {
		t.Errorf("flags %+v", c)
	}
	t.Setenv("WEIR_CONFIG", path)
	t.Setenv("WEIR_BUCKETS_MAX", "7000")
	if c, err := parsed(t); err != nil || c.Name != "from-file" || c.BucketsMax != 7000 {
		t.Errorf("by WEIR_CONFIG: %+v, %v", c, err)
	}
}

func TestConfigFileRefusesWhatItDoesNotKnow(t *testing.T) {
	t.Parallel()
	rows := []struct{ text, words string }{
		{"name: n1\nhtp-addr: x\n", `weir.yaml:2: unknown name "htp-addr", expected one of: advertise, bootstrap-expect`},
		{"addr: x\n", `:1: unknown name "addr"`},
		{"http:\n  addr: x\n", `:1: unknown name "http"`},
		{"{name: n1}\n", "unknown name"},
		{"name: n1\n---\nzone: z\n", ":2: unknown name"},
		{"config: other.yaml\n", `unknown name "config"`},
		{"name: a\nname: b\n", "already defined"},
		{"name: [\n", "YAML"},
		{"bootstrap-expect: many\n", "bootstrap-expect"},
		{"- name\n", "YAML"},
	}
	for _, r := range rows {
		if _, err := parsed(t, "--config", file(t, "weir.yaml", r.text)); err == nil || !strings.Contains(err.Error(), r.words) {
			t.Errorf("%q: error %v, want %q", r.text, err, r.words)
		}
	}
	_, err := parsed(t, "--config", file(t, "weir.yaml", strings.Repeat("# long\n", configBytesMax/7+1)))
	if err == nil || !strings.Contains(err.Error(), "at most") {
		t.Errorf("a file beyond the bound: %v", err)
	}
}

func TestLogsAreTextOrJSON(t *testing.T) {
	t.Parallel()
	var text, object bytes.Buffer
	logger(&text, "text", slog.LevelWarn).Info("hidden")
	logger(&text, "text", slog.LevelWarn).Warn("shown")
	logger(&object, "json", slog.LevelInfo).Info("shown")
	if strings.Contains(text.String(), "hidden") || !strings.Contains(text.String(), "msg=shown") || !strings.Contains(object.String(), `"msg":"shown"`) {
		t.Errorf("text:\n%sjson:\n%s", &text, &object)
	}
}

// Not parallel: while another test starts a process, that has copies of all sockets for a moment, and a port
// that was just closed here is still in use.
func TestDevNamesTheFlagOfAPortInUse(t *testing.T) {
	rows := []struct{ flag, network string }{
		{"--http-port", "tcp"}, {"--grpc-port", "tcp"}, {"--gossip-port", "tcp"}, {"--gossip-port", "udp"},
	}
	for _, r := range rows {
		taken := 0
		if r.network == "udp" {
			p, err := net.ListenPacket("udp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer p.Close()
			taken = p.LocalAddr().(*net.UDPAddr).Port
		} else {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			taken = l.Addr().(*net.TCPAddr).Port
		}
		free, held, err := freePorts(4 * devNodes)
		if err != nil {
			t.Fatal(err)
		}
		defer held.Close()
		c := devCommand{HTTPPort: free[0], GRPCPort: free[devNodes], GossipPort: free[2*devNodes]}
		if err := c.portsFree(); err != nil {
			t.Fatalf("all ports are free: %v", err)
		}
		switch r.flag {
		case "--http-port":
			c.HTTPPort = taken
		case "--grpc-port":
			c.GRPCPort = taken
		default:
			c.GossipPort = taken
		}
		if err := c.portsFree(); err == nil || !strings.Contains(err.Error(), r.flag) || !strings.Contains(err.Error(), "port ") {
			t.Errorf("%s with a %s port in use: %v", r.flag, r.network, err)
		}
	}
}

func TestFreePortsAreNobodyElses(t *testing.T) {
	t.Parallel()
	owner := map[int]int{}
	for i := range 5 {
		ports, held, err := freePorts(12)
		if err != nil {
			t.Fatal(err)
		}
		defer held.Close()
		for j, port := range ports {
			if other, twice := owner[port]; twice || port != ports[0]+j {
				t.Errorf("call %d got port %d, which call %d has or which is not in a row with %d", i, port, other, ports[0])
			}
			owner[port] = i
		}
	}
	if ports, _, err := freePorts(portBlock); err == nil {
		t.Errorf("%d ports from blocks of %d", len(ports), portBlock)
	}
}
