package main

import (
	"context"
	_ "embed"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/weir-cluster/weir/client/rest"
)

const demoTimeMax = 60 * time.Second

//go:embed demo.yaml
var demoPolicy []byte

type demoCommand struct{}

// Help is what `weir demo -h` adds to the flags.
func (demoCommand) Help() string {
	return `Three real nodes start as processes of their own on free ports, with data in a temporary folder. One user
spends her rate limit, then included quota, a promotion and paid credit, through all nodes in turn; half
way one node is killed with kill -9. At the end nothing is left, and the denial says what would help.

Exit code: 0 when it went as told, 2 when it did not.`
}

// Run plays the demo; it ends every process it started and removes their data.
func (demoCommand) Run(ctx context.Context, s *shell) error {
	ctx, cancel := context.WithTimeout(ctx, demoTimeMax)
	defer cancel()
	exe, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	dir, err := os.MkdirTemp("", "weir-demo-")
	if err != nil {
		return fmt.Errorf("make a folder for the nodes: %w", err)
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "demo.yaml")
	if err := os.WriteFile(file, demoPolicy, 0o600); err != nil {
		return fmt.Errorf("write the policy for the nodes: %w", err)
	}
	fmt.Fprintf(s.stdout, "Starting 3 nodes, each a process of its own ...\n")
	started := time.Now()
	f, err := startFleet(ctx, exe, dir, 3, "--policy", file, "--drain-timeout", "2s")
	defer f.end()
	if err != nil {
		return err
	}
	if err := f.awaitReady(ctx); err != nil {
		return err
	}
	d := &demo{shell: s, fleet: f, units: map[string]int64{}, micros: map[string]int64{}}
	for _, p := range f.nodes {
		c, err := rest.New(rest.Config{Addr: p.http, Timeout: s.Timeout})
		if err != nil {
			return err
		}
		d.clients = append(d.clients, c)
		fmt.Fprintf(s.stdout, "  %s  http %s  process %d\n", p.name, p.http, p.running.Pid)
	}
	fmt.Fprintf(s.stdout, "Ready in %.1f s.\n", time.Since(started).Seconds())
	return d.play(ctx)
}
