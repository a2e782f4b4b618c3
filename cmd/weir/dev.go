package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/weir-cluster/weir/node"
	"github.com/weir-cluster/weir/policy"
)

const (
	devNodes     = 3
	devReadyTime = 30 * time.Second // it takes 1 to 5 s; after this something is wrong
)

type devCommand struct {
	HTTPPort   int        `name:"http-port" default:"8080" help:"HTTP port of the first node; the others take the next two."`
	GRPCPort   int        `name:"grpc-port" default:"9080" help:"gRPC port of the first node; the others take the next two."`
	GossipPort int        `default:"7946" help:"First of six ports for the nodes among themselves."`
	DataDir    string     `default:"weir-data" placeholder:"DIR" help:"Where the nodes keep their data."`
	Ephemeral  bool       `help:"Keep everything in memory; each start is a new cluster."`
	LogLevel   slog.Level `default:"warn" help:"Least level to log: debug, info, warn or error."`
}

// Help is what `weir dev -h` adds to the flags.
func (devCommand) Help() string {
	return `Examples:

    weir dev
    weir dev --ephemeral --http-port 18080 --grpc-port 19080 --gossip-port 17946
    weir dev --log-level info 2>weir.log

Ctrl-C stops the nodes gracefully. Data under ./weir-data is used again by the next start.`
}

// Run runs three nodes in this process until ctx ends or one of them fails.
func (c *devCommand) Run(ctx context.Context, s *shell) error {
	if err := c.portsFree(); err != nil {
		return err
	}
	_, err := os.Stat(filepath.Join(c.DataDir, devName(0)))
	again := err == nil && !c.Ephemeral
	nodes := make([]*node.Node, devNodes)
	for i := range nodes {
		n, err := node.New(c.node(i, logger(s.stderr, "text", c.LogLevel)))
		if err != nil {
			return fmt.Errorf("node %s: %w", devName(i), err)
		}
		nodes[i] = n
	}
	return runAll(ctx, nodes, func(took time.Duration) { c.welcome(s.stdout, nodes, took, again) })
}

func devName(i int) string { return "n" + strconv.Itoa(i+1) }

func loopback(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

func (c *devCommand) node(i int, log *slog.Logger) node.Config {
	n := node.DefaultConfig()
	n.Name = devName(i)
	n.HTTPAddr, n.GRPCAddr = loopback(c.HTTPPort+i), loopback(c.GRPCPort+i)
	n.GossipAddr, n.PeerAddr = loopback(c.GossipPort+2*i), loopback(c.GossipPort+2*i+1)
	for j := range devNodes {
		n.Join = append(n.Join, loopback(c.GossipPort+2*j))
	}
	n.BootstrapExpect = devNodes
	n.Cluster = "dev"
	n.Policy, n.PolicyName = policy.Demo(), "demo.yaml"
	n.Ephemeral = c.Ephemeral
	if !c.Ephemeral {
		n.DataDir = filepath.Join(c.DataDir, n.Name)
	}
	n.Version = buildVersion()
	n.Logger = log
	return n
}

// portsFree finds a port that is taken before three nodes run into it, and names the flag that moves it.
func (c *devCommand) portsFree() error {
	rows := []struct {
		flag        string
		first, many int
		packets     bool
	}{
		{"--http-port", c.HTTPPort, devNodes, false},
		{"--grpc-port", c.GRPCPort, devNodes, false},
		{"--gossip-port", c.GossipPort, 2 * devNodes, true},
	}
	for _, r := range rows {
		for port := r.first; port < r.first+r.many; port++ {
			if err := portFree(port, r.packets); err != nil {
				return fmt.Errorf("port %d cannot be used: %w; is another `weir dev` running? %s moves it: the %d ports from there on are used",
					port, err, r.flag, r.many)
			}
		}
	}
	return nil
}

func portFree(port int, packets bool) error {
	l, err := net.Listen("tcp", loopback(port))
	if err != nil {
		return err
	}
	defer l.Close()
	if !packets {
		return nil
	}
	p, err := net.ListenPacket("udp", loopback(port))
	if err != nil {
		return err
	}
	return p.Close()
}

// runAll runs the nodes until ctx ends or the first of them does, calls ready once all can decide, and
// returns after every one has ended.
func runAll(ctx context.Context, nodes []*node.Node, ready func(took time.Duration)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	started := time.Now()
	failures := make([]error, len(nodes)+1)
	var running sync.WaitGroup
	for i, n := range nodes {
		running.Go(func() {
			defer cancel() // three nodes or none
			if err := n.Run(ctx); err != nil {
				failures[i] = fmt.Errorf("node %s: %w", devName(i), err)
			}
		})
	}
	if err := allReady(ctx, nodes); err != nil {
		failures[len(nodes)] = err
		cancel()
	} else if ctx.Err() == nil {
		ready(time.Since(started))
	}
	<-ctx.Done()
	running.Wait()
	return errors.Join(failures...)
}

// allReady waits until every node can decide; that ctx ends first is not its error.
func allReady(ctx context.Context, nodes []*node.Node) error {
	late := time.NewTimer(devReadyTime)
	defer late.Stop()
	for i, n := range nodes {
		select {
		case <-n.Ready():
		case <-ctx.Done():
			return nil
		case <-late.C:
			return fmt.Errorf("node %s cannot decide after %v: look at the log with --log-level info, or start afresh with --ephemeral",
				devName(i), devReadyTime)
		}
	}
	return nil
}

func (c *devCommand) welcome(w io.Writer, nodes []*node.Node, took time.Duration, again bool) {
	where := "data in " + c.DataDir
	if c.Ephemeral {
		where = "data in memory"
	}
	fmt.Fprintf(w, "weir dev: %d nodes ready in %.1f s, %s, warnings on stderr (--log-level %s)\n\n",
		len(nodes), took.Seconds(), where, strings.ToLower(c.LogLevel.String()))
	for i, n := range nodes {
		fmt.Fprintf(w, "  %s  http %s  grpc %s\n", devName(i), n.HTTPAddr(), n.GRPCAddr())
	}
	if again {
		fmt.Fprintf(w, `
The ledger and the policy of the last run are in force again. Buckets are not kept over a restart yet: token
buckets start empty and fill at their rate, so the first checks may be refused (--ephemeral starts afresh).
`)
	}
	first, last := nodes[0].HTTPAddr(), nodes[len(nodes)-1].HTTPAddr()
	fmt.Fprintf(w, `
Ask any node whether alice may go on:
  curl -s http://%[1]s/v1/check -d '{"domain":"demo","attributes":{"user":"alice","model":"large"}}'
Give her credit for what is beyond the limit:
  curl -s http://%[1]s/v1/accounts -H 'Idempotency-Key: open-1' -d '{"id":"alice","use_credits":true}' && curl -s http://%[1]s/v1/accounts/alice/grants -H 'Idempotency-Key: grant-1' -d '{"kind":"credit","amount_micros":1000000}'
See what is left of it:
  curl -s http://%[2]s/v1/accounts/alice

Ctrl-C stops.
`, first, last)
}
