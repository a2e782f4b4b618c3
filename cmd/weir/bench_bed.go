package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/weir-cluster/weir/client/bench"
	"github.com/weir-cluster/weir/client/bench/floor"
)

const bedReadyTime = time.Minute // of processes; it takes a few seconds

// bed starts processes of this program, each call's in a folder of its own.
type bed struct{ exe, dir string }

var _ bench.Bed = (*bed)(nil)

// newBed returns a bed, and how to remove what its processes wrote.
func newBed() (*bed, func(), error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, nil, fmt.Errorf("find this program: %w", err)
	}
	dir, err := os.MkdirTemp("", "weir-bench-")
	if err != nil {
		return nil, nil, fmt.Errorf("make a folder for the nodes: %w", err)
	}
	return &bed{exe, dir}, func() { _ = os.RemoveAll(dir) }, nil
}

// Nodes starts a cluster.
func (b *bed) Nodes(ctx context.Context, n int) ([]string, func(), error) {
	dir, err := os.MkdirTemp(b.dir, "nodes-")
	if err != nil {
		return nil, nil, fmt.Errorf("make a folder for the nodes: %w", err)
	}
	file := filepath.Join(dir, "policy.yaml")
	if err := os.WriteFile(file, bench.Policy, 0o600); err != nil {
		return nil, nil, fmt.Errorf("write the policy for the nodes: %w", err)
	}
	f, err := startFleet(ctx, b.exe, dir, n, "--policy", file, "--drain-timeout", "2s", "--log-level", "warn")
	return ready(ctx, f, err)
}

// ready waits for what was started, or ends it.
func ready(ctx context.Context, f *fleet, err error) ([]string, func(), error) {
	if err == nil {
		ctx, cancel := context.WithTimeout(ctx, bedReadyTime)
		defer cancel()
		err = f.awaitReady(ctx)
	}
	if err != nil {
		f.end()
		return nil, nil, err
	}
	addrs := make([]string, len(f.nodes))
	for i, p := range f.nodes {
		addrs[i] = p.http
	}
	return addrs, f.end, nil
}

// Calls starts the process that answers without deciding.
func (b *bed) Calls(ctx context.Context, a floor.Answers) (bench.Process, func(), error) {
	text, err := json.Marshal(a)
	if err != nil {
		return bench.Process{}, nil, fmt.Errorf("write the floor's answers as JSON: %w", err)
	}
	file := filepath.Join(b.dir, "answers.json")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		return bench.Process{}, nil, fmt.Errorf("write the floor's answers: %w", err)
	}
	grpc := ""
	addrs, end, err := b.floors(ctx, 1, 1, func(_ int, ports []string) []string {
		grpc = ports[0]
		return []string{"calls", "--grpc-addr", grpc, "--answers", file}
	})
	if err != nil {
		return bench.Process{}, nil, err
	}
	return bench.Process{HTTP: addrs[0], GRPC: grpc}, end, nil
}

// Idle starts processes that only gossip and vote.
func (b *bed) Idle(ctx context.Context, n int) ([]string, func(), error) {
	return b.floors(ctx, n, 2, func(i int, ports []string) []string {
		args := []string{"idle"}
		for j := range n {
			m := (i + j) % n // itself first
			args = append(args, "--member", fmt.Sprintf("f%d=%s=%s", m+1, ports[2*m], ports[2*m+1]))
		}
		return args
	})
}

// floors starts n processes of `weir bench floor`; each has ports of its own besides the one for HTTP, and
// flags is told those of all.
func (b *bed) floors(ctx context.Context, n, ports int, flags func(i int, ports []string) []string) ([]string, func(), error) {
	free, held, err := freePorts(n * (1 + ports))
	if err != nil {
		return nil, nil, err
	}
	f := &fleet{ports: held}
	var addrs []string
	for _, p := range free {
		addrs = append(addrs, loopback(p))
	}
	for i := range n {
		name := "floor" + strconv.Itoa(i+1)
		p := &process{life: ctx, name: name, exe: b.exe, http: addrs[i], log: filepath.Join(b.dir, name+".log")}
		p.args = append([]string{"bench", "floor"}, append(flags(i, addrs[n:]), "--http-addr", addrs[i])...)
		if err := p.start(); err != nil {
			return ready(ctx, f, err)
		}
		f.nodes = append(f.nodes, p)
	}
	return ready(ctx, f, nil)
}

type benchFloorCommand struct {
	Calls benchFloorCallsCommand `cmd:"" help:"Answer every check alike."`
	Idle  benchFloorIdleCommand  `cmd:"" help:"Gossip and vote only."`
}

type benchFloorCallsCommand struct {
	HTTPAddr string `name:"http-addr" required:"" help:"Listen for /readyz and /metrics."`
	GRPCAddr string `name:"grpc-addr" required:"" help:"Listen for gRPC."`
	Answers  string `required:"" placeholder:"FILE" help:"Encoded answers, as JSON."`
}

// Run answers until ctx ends.
func (c *benchFloorCallsCommand) Run(ctx context.Context) error {
	text, err := os.ReadFile(c.Answers)
	if err != nil {
		return fmt.Errorf("read --answers: %w", err)
	}
	var a floor.Answers
	if err := json.Unmarshal(text, &a); err != nil {
		return fmt.Errorf("read --answers as JSON: %w", err)
	}
	return floor.Calls(ctx, c.GRPCAddr, c.HTTPAddr, a)
}

type benchFloorIdleCommand struct {
	HTTPAddr string   `name:"http-addr" required:"" help:"Listen for /readyz and /metrics."`
	Member   []string `required:"" placeholder:"NAME=GOSSIP=RAFT" help:"A member, its addresses; this one first."`
}

// Run gossips and votes until ctx ends.
func (c *benchFloorIdleCommand) Run(ctx context.Context) error {
	var all []floor.Member
	for _, text := range c.Member {
		m := strings.Split(text, "=")
		if len(m) != 3 {
			return errors.Join(errUsage, fmt.Errorf("--member %q: expected name=gossip=raft", text))
		}
		all = append(all, floor.Member{Name: m[0], Gossip: m[1], Raft: m[2]})
	}
	return floor.Idle(ctx, c.HTTPAddr, all)
}
