package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	fleetStopTime = 15 * time.Second // from the request to stop until a process is killed: longer than nodes drain
	readyPause    = 50 * time.Millisecond
	logTailBytes  = 2000
)

// fleet is a cluster of `weir serve` processes on free ports of this machine, each with its own folder.
type fleet struct {
	nodes []*process
	ports io.Closer // holds their ports; nil when there were none
}

// process is one of them. It can be started again, with the same name, ports and folder, after its end.
type process struct {
	name string
	http string // address
	log  string // file that collects what it prints
	exe  string
	args []string
	life context.Context // of the fleet: the process ends with it

	running *os.Process
	ended   chan struct{} // closed after the process has ended
	failure error         // how it ended, nil for exit code 0; read it after ended is closed
}

// startFleet starts n processes of exe under dir that found a cluster together; extra flags go to each.
// They end with ctx; the caller must call end, even after an error.
func startFleet(ctx context.Context, exe, dir string, n int, extra ...string) (*fleet, error) {
	f := &fleet{}
	ports, held, err := freePorts(4 * n)
	if err != nil {
		return f, err
	}
	f.ports = held
	join := make([]string, n)
	for i := range join {
		join[i] = loopback(ports[4*i])
	}
	for i := range n {
		name := "n" + strconv.Itoa(i+1)
		p := &process{life: ctx, name: name, exe: exe, http: loopback(ports[4*i+2]), log: filepath.Join(dir, name+".log")}
		p.args = append([]string{
			"serve", "--name", name, "--data-dir", filepath.Join(dir, name), "--cluster", "fleet",
			"--gossip-addr", join[i], "--peer-addr", loopback(ports[4*i+1]),
			"--http-addr", p.http, "--grpc-addr", loopback(ports[4*i+3]),
			"--join", strings.Join(join, ","), "--bootstrap-expect", strconv.Itoa(n),
		}, extra...)
		if err := p.start(); err != nil {
			return f, err
		}
		f.nodes = append(f.nodes, p)
	}
	return f, nil
}

// end asks what still runs to stop, kills what does not do so in time, and returns once every process is
// gone.
func (f *fleet) end() {
	for _, p := range f.nodes {
		_ = p.send(syscall.SIGTERM) // one that cannot be asked is killed below
	}
	late, cancel := context.WithTimeout(context.Background(), fleetStopTime)
	defer cancel()
	for _, p := range f.nodes {
		select {
		case <-p.ended:
		case <-late.Done():
			_ = p.kill()
		}
	}
	if f.ports != nil {
		f.ports.Close()
	}
}

// start runs the process until it ends by itself, by a signal or with the fleet.
func (p *process) start() error {
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("log of node %s: %w", p.name, err)
	}
	defer log.Close() // the process has its own handle
	cmd := exec.CommandContext(p.life, p.exe, p.args...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "WEIR_") })
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = fleetStopTime
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start node %s: %w", p.name, err)
	}
	ended := make(chan struct{})
	p.running, p.ended = cmd.Process, ended
	go func() {
		defer close(ended)
		p.failure = cmd.Wait()
	}()
	return nil
}

// kill ends the process without warning, as kill -9 does, and returns once it is gone.
func (p *process) kill() error {
	if err := p.send(os.Kill); err != nil {
		return err
	}
	<-p.ended
	return nil
}

// terminate asks the process to stop gracefully and returns once it is gone. That it ended with another
// exit code than 0 is an error, and that it took longer than fleetStopTime and was killed.
func (p *process) terminate() error {
	if err := p.send(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case <-p.ended:
		if p.failure != nil {
			return fmt.Errorf("node %s stopped with %w; its log ends:\n%s", p.name, p.failure, p.logTail())
		}
		return nil
	case <-time.After(fleetStopTime):
		return errors.Join(fmt.Errorf("node %s did not stop within %v; its log ends:\n%s", p.name, fleetStopTime, p.logTail()), p.kill())
	}
}

func (p *process) send(sig os.Signal) error {
	if err := p.running.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("signal node %s, process %d: %w", p.name, p.running.Pid, err)
	}
	return nil
}

// awaitReady returns once every node says that it can decide. It fails when ctx ends first or a process
// has ended, with the end of its log.
func (f *fleet) awaitReady(ctx context.Context) error {
	for _, p := range f.nodes {
		if err := p.awaitReady(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (p *process) awaitReady(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return fmt.Errorf("node %s is not ready: %w; its log ends:\n%s", p.name, ctx.Err(), p.logTail())
		case <-p.ended:
			return fmt.Errorf("node %s ended before it was ready; its log ends:\n%s", p.name, p.logTail())
		case <-time.After(readyPause):
		}
		if p.ready(ctx) {
			return nil
		}
	}
}

func (p *process) ready(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.http+"/readyz", nil)
	if err != nil {
		return false
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return false
	}
	resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

func (p *process) logTail() string {
	text, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	return string(bytes.TrimSpace(text[max(0, len(text)-logTailBytes):]))
}

// Ports are taken from blocks below those that systems give to outgoing connections.
const (
	portBlock  = 64
	portsFirst = 20_032
	portsEnd   = 32_000
)

// freePorts returns n ports in a row, at most portBlock-1, that are free for TCP and UDP. Until held is
// closed no other call, in whichever process, returns one of them: their block's first port is listened on.
func freePorts(n int) (ports []int, held io.Closer, err error) {
	const blocks = (portsEnd - portsFirst) / portBlock
	start := rand.IntN(blocks)
	for i := range blocks {
		first := portsFirst + (start+i)%blocks*portBlock
		l, err := net.Listen("tcp", loopback(first))
		if err != nil {
			continue
		}
		ports = ports[:0]
		for port := first + 1; port < first+portBlock && len(ports) < n && portFree(port, true) == nil; port++ {
			ports = append(ports, port)
		}
		if len(ports) == n {
			return ports, l, nil
		}
		l.Close()
	}
	return nil, nil, fmt.Errorf("look for %d free ports in a row: none in %d blocks", n, blocks)
}
