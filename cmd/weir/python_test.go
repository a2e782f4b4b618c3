package main

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/weir-cluster/weir/client"
)

const (
	pythonFolder   = "../../examples/python"
	pythonLinesMax = 60
)

// The limit of the narrow domain is reached, that of the wide one never, not even as a share.
const pythonPolicy = `
version: 1
domains:
  narrow:
    account: [org, user]
    limits:
      - {name: all, key: [org, user], algorithm: fixed_window, limit: 10, window: 3650d}
  wide:
    account: [org, user]
    limits:
      - {name: all, key: [org, user], algorithm: fixed_window, limit: 1000000, window: 3650d}
`

const narrowLimit = 10

func TestPythonExamplesAreShort(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"direct_http.py", "direct_grpc.py"} {
		text, err := os.ReadFile(filepath.Join(pythonFolder, name))
		if err != nil {
			t.Fatal(err)
		}
		if n := bytes.Count(text, []byte("\n")); n > pythonLinesMax {
			t.Errorf("%s has %d lines, at most %d are short enough to read", name, n, pythonLinesMax)
		}
	}
}

func TestPythonGoesStraightToTheHomeOverHTTP(t *testing.T) {
	t.Parallel()
	python := pythonWith(t, "http.client")
	python.goesStraight(t, "direct_http.py", func(m client.Member) string { return m.HTTP })
}

func TestPythonGoesStraightToTheHomeOverGRPC(t *testing.T) {
	t.Parallel()
	python := pythonWith(t, "grpc")
	python.generate(t)
	python.goesStraight(t, "direct_grpc.py", func(m client.Member) string { return m.GRPC })
}

// A node that accepts and never answers, as a stopped process does: the one that is asked and whose view is watched.
func TestPythonLeavesANodeThatHangs(t *testing.T) {
	t.Parallel()
	python := pythonWith(t, "grpc")
	python.generate(t)
	c := startCluster(t, 3, "--policy", file(t, "python.yaml", pythonPolicy))
	v, err := c.clients[0].View(c.ctx)
	if err != nil {
		t.Fatal(err)
	}
	home := v.Place("wide", "acme~alice").Home
	python.goesOn(t, c, (*process).hang, "direct_grpc.py", home.GRPC)
}

// hang stops a process without an end, and waits until it has stopped; what ends the cluster ends it too.
func (p *process) hang() error {
	if err := p.send(syscall.SIGSTOP); err != nil {
		return err
	}
	_, err := syscall.Wait4(p.running.Pid, nil, syscall.WUNTRACED, nil)
	return err
}

// goesStraight holds what is promised of both programs: they ask the home itself, are refused at the limit, and when the
// home was killed they turn to another node at once, and later straight to the new home.
func (p *python) goesStraight(t *testing.T, program string, address func(client.Member) string) {
	t.Helper()
	c := startCluster(t, 3, "--policy", file(t, "python.yaml", pythonPolicy))
	v, err := c.clients[0].View(c.ctx)
	if err != nil {
		t.Fatal(err)
	}
	const user = "zoë@example.com" // escaped in the account
	home := v.Place("narrow", "acme~zo=C3=AB@example.com").Home.Name
	var seed string // another node: only the view names the home
	for _, m := range v.Members {
		if m.Name != home {
			seed = address(m)
		}
	}
	a := p.start(c.ctx, t, program, seed, "narrow", "org=acme", "user="+user)
	direct := 0
	for i := range narrowLimit + 3 {
		verdict, reason := "ALLOW", "OK"
		if i >= narrowLimit {
			verdict, reason = "DENY", "RATE_LIMITED"
		}
		got := a.ask(t)
		if got.verdict != verdict || got.reason != reason || got.home != home {
			t.Fatalf("check %d: %+v, want %s %s by %s", i+1, got, verdict, reason, home)
		}
		if got.asked == home {
			direct++
		}
	}
	if direct <= narrowLimit { // on a busy machine the home may once be late, and another node forwards
		t.Errorf("the home, %s, was asked %d times of %d", home, direct, narrowLimit+3)
	}
	p.goesOn(t, c, (*process).kill, program, seed)
}

// goesOn ends the home of an account between two checks.
func (p *python) goesOn(t *testing.T, c *cluster, end func(*process) error, program, seed string) {
	t.Helper()
	a := p.start(c.ctx, t, program, seed, "wide", "org=acme", "user=alice")
	before := a.ask(t)
	if before.verdict != "ALLOW" || before.reason != "OK" {
		t.Fatalf("the first check: %+v, want ALLOW OK", before)
	}
	for _, n := range c.nodes {
		if n.name != before.home {
			continue
		}
		t.Cleanup(func() { _ = n.kill() }) // a stopped process heeds no softer word
		if err := end(n); err != nil {
			t.Fatal(err)
		}
	}
	for first := true; ; first = false {
		got := a.ask(t)
		if got.asked == before.home || got.home == before.home || first && got.verdict != "ALLOW" {
			t.Fatalf("after the end of %s: %+v, want another node to decide", before.home, got)
		}
		if got.reason == "OK" && got.asked == got.home && got.view > before.view {
			t.Logf("first %+v, in the end %+v", before, got)
			return
		}
		time.Sleep(100 * time.Millisecond) // real processes: nothing to wait on but their answers
	}
}

// python is an interpreter that has what a program needs.
type python struct {
	exe  string
	path string // of generated code; may be empty
}

// pythonWith finds one that has a module: the one that users have, or the system's. The test is skipped where there is
// none, unless all tests must run.
func pythonWith(t *testing.T, module string) *python {
	t.Helper()
	for _, exe := range []string{"python3", "/usr/bin/python3"} {
		if exec.CommandContext(t.Context(), exe, "-c", "import sys, "+module+"; assert sys.version_info >= (3, 11)").Run() == nil {
			return &python{exe: exe}
		}
	}
	lacking(t, "no python3 of 3.11 or later with the module "+module+" (Debian: python3, python3-grpcio)")
	return nil
}

func lacking(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("WEIR_TEST_ALL") == "1" {
		t.Fatal(what + ", and WEIR_TEST_ALL says that it must be there")
	}
	t.Skip(what)
}

// generate makes the Python code of weir.v1 as the example's own Makefile does.
func (p *python) generate(t *testing.T) {
	t.Helper()
	_, err := exec.LookPath("grpc_python_plugin")
	if err != nil && exec.CommandContext(t.Context(), p.exe, "-c", "import grpc_tools").Run() != nil {
		lacking(t, "no generator for gRPC (Debian: protobuf-compiler, protobuf-compiler-grpc; pip: grpcio-tools)")
	}
	p.path = t.TempDir()
	run := exec.CommandContext(t.Context(), "make", "-C", pythonFolder, "OUT="+p.path, "PYTHON="+p.exe)
	if out, err := run.CombinedOutput(); err != nil {
		t.Fatalf("make: %v\n%s", err, out)
	}
}

// command runs Python in the folder of the examples, and leaves nothing behind there.
func (p *python) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, p.exe, args...)
	cmd.Dir = pythonFolder
	cmd.Env = append(os.Environ(), "PYTHONDONTWRITEBYTECODE=1", "PYTHONUTF8=1", "PYTHONPATH="+p.path, "no_proxy=127.0.0.1")
	return cmd
}

// asker is one of the programs, running.
type asker struct {
	enter   io.Writer
	lines   *bufio.Scanner
	started bool // the first check needs no Enter
}

// pythonAnswer is the decision, the node that was asked and the node that decided, and the epoch of the program's view.
type pythonAnswer struct {
	verdict, reason, asked, home string
	view                         int
}

// start runs a program until the test ends.
func (p *python) start(ctx context.Context, t *testing.T, args ...string) *asker {
	t.Helper()
	cmd := p.command(ctx, append([]string{"-u"}, args...)...)
	cmd.Stderr = os.Stderr
	enter, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	lines, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = enter.Close() // ends it
		if err := cmd.Wait(); err != nil && ctx.Err() == nil {
			t.Errorf("%s: %v", args[0], err)
		}
	})
	return &asker{enter: enter, lines: bufio.NewScanner(lines)}
}

// ask has it check once more and returns what it printed.
func (a *asker) ask(t *testing.T) pythonAnswer {
	t.Helper()
	if a.started {
		if _, err := io.WriteString(a.enter, "\n"); err != nil {
			t.Fatal(err)
		}
	}
	a.started = true
	if !a.lines.Scan() {
		t.Fatalf("it ended without an answer: %v", a.lines.Err())
	}
	words := strings.Fields(a.lines.Text())
	if len(words) != 8 || words[2] != "asked" || words[4] != "home" || words[6] != "view" {
		t.Fatalf("it printed %q", a.lines.Text())
	}
	view, err := strconv.Atoi(words[7])
	if err != nil {
		t.Fatal(err)
	}
	return pythonAnswer{words[0], words[1], words[3], words[5], view}
}
