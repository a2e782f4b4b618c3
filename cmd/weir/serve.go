package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"github.com/weir-cluster/weir/node"
)

type serveCommand struct {
	Config          string        `env:"WEIR_CONFIG" placeholder:"FILE" help:"YAML file of these flags, one a line without the dashes; flags and variables win over it."`
	Name            string        `env:"WEIR_NAME" help:"Name of the node in the cluster; the host's when left out."`
	DataDir         string        `env:"WEIR_DATA_DIR" placeholder:"DIR" help:"Where the node keeps what must survive it; weir-data/NAME when left out."`
	HTTPAddr        string        `name:"http-addr" env:"WEIR_HTTP_ADDR" default:"127.0.0.1:8080" help:"Listen for HTTP/JSON."`
	GRPCAddr        string        `name:"grpc-addr" env:"WEIR_GRPC_ADDR" default:"127.0.0.1:8081" help:"Listen for gRPC."`
	GossipAddr      string        `env:"WEIR_GOSSIP_ADDR" default:"127.0.0.1:7946" help:"Listen for gossip, TCP and UDP."`
	PeerAddr        string        `env:"WEIR_PEER_ADDR" default:"127.0.0.1:7947" help:"Listen for Raft and calls of other nodes."`
	Advertise       string        `env:"WEIR_ADVERTISE" placeholder:"HOST" help:"Host at which the others reach this node; what it listens on when left out."`
	Join            []string      `env:"WEIR_JOIN" placeholder:"HOST[:PORT]" help:"Gossip addresses of other nodes; none is a cluster of one."`
	BootstrapExpect int           `env:"WEIR_BOOTSTRAP_EXPECT" placeholder:"N" help:"Found a new cluster once N nodes see each other; leave out to join one."`
	Voter           string        `env:"WEIR_VOTER" enum:"auto,yes,no" default:"auto" help:"Whether this node may vote: auto, yes or no."`
	Voters          int           `env:"WEIR_VOTERS" enum:"3,5" default:"3" help:"How many nodes vote, 3 or 5; the same on every node."`
	Weight          uint8         `env:"WEIR_WEIGHT" default:"1" placeholder:"N" help:"Share of the partitions, 1 to 255, compared with the others' (${default})."`
	LeaseDuration   time.Duration `env:"WEIR_LEASE_DURATION" default:"2s" help:"How long a node may decide after it asked the leader (${default})."`
	LeaseRenewal    time.Duration `env:"WEIR_LEASE_RENEWAL" default:"300ms" help:"How often it asks (${default})."`
	LeaseMargin     time.Duration `env:"WEIR_LEASE_MARGIN" default:"200ms" help:"How much longer the leader waits before it gives this node's accounts away (${default})."`
	Zone            string        `env:"WEIR_ZONE" help:"Zone of the node; a deputy is placed in another one where there is one."`
	Policy          string        `env:"WEIR_POLICY" placeholder:"FILE" help:"Policy for a cluster that has none yet."`
	Webhooks        string        `env:"WEIR_WEBHOOKS" placeholder:"FILE" help:"YAML file that says where the ledger's events are posted; the same on every node."`
	Cluster         string        `env:"WEIR_CLUSTER" default:"weir" help:"Name of the cluster."`
	BucketsMax      int64         `env:"WEIR_BUCKETS_MAX" default:"4194304" placeholder:"N" help:"Most buckets to hold, about 49 bytes each; new keys beyond get their limits' fallback (${default})."`
	DrainTimeout    time.Duration `env:"WEIR_DRAIN_TIMEOUT" default:"10s" help:"Longest time to finish what is running at the stop."`
	Ephemeral       bool          `env:"WEIR_EPHEMERAL" help:"Keep everything in memory; it is gone with the process."`
	LogFormat       string        `env:"WEIR_LOG_FORMAT" enum:"text,json" default:"text" help:"Log lines as text or json."`
	LogLevel        slog.Level    `env:"WEIR_LOG_LEVEL" default:"info" help:"Least level to log: debug, info, warn or error."`
}

// Help is what `weir serve -h` adds to the flags.
func (serveCommand) Help() string {
	return `Examples:

    weir serve --name n1 --policy weir.yaml
    weir serve --name n1 --bootstrap-expect 3 --join 10.0.0.1,10.0.0.2,10.0.0.3 --config weir.yaml
    WEIR_NAME=n4 WEIR_JOIN=10.0.0.1 weir serve

A configuration file looks like this; an unknown name in it is an error:

    name: n1
    http-addr: 0.0.0.0:8080
    join: [10.0.0.1, 10.0.0.2]

The file of --webhooks has a list; docs/credits.md tells all of it:

    webhooks:
      - {name: billing, url: "https://billing.example.com/weir", secret-files: [billing.secret], types: [debit, capture, refund]}

It stops gracefully on SIGTERM or Ctrl-C; a second one ends it at once.`
}

// BeforeResolve lets the file of --config answer for flags that neither the command line nor a variable sets.
func (c *serveCommand) BeforeResolve(k *kong.Context, trace *kong.Path) error {
	var file string
	known := make(map[string]bool, len(trace.Command.Flags))
	for _, f := range trace.Command.Flags {
		if f.Name == "config" {
			file = fmt.Sprint(k.FlagValue(f))
		} else {
			known[f.Name] = true
		}
	}
	if file == "" {
		return nil
	}
	flags, err := configFile(file, known)
	if err != nil {
		return err
	}
	k.AddResolver(flags)
	return nil
}

// Run runs the node until ctx ends or it fails.
func (c *serveCommand) Run(ctx context.Context, s *shell) error {
	config, err := c.node(s.stderr)
	if err != nil {
		return err
	}
	n, err := node.New(config)
	if err != nil {
		return fmt.Errorf("node %s: %w", config.Name, err)
	}
	if err := n.Run(ctx); err != nil {
		return fmt.Errorf("node %s: %w", config.Name, err)
	}
	return nil
}

func (c *serveCommand) node(log io.Writer) (node.Config, error) {
	n := node.DefaultConfig()
	n.Name = c.Name
	if n.Name == "" {
		host, err := os.Hostname()
		if err != nil {
			return n, fmt.Errorf("name the node with --name: the host's name cannot be read: %w", err)
		}
		n.Name = host
	}
	n.DataDir = c.DataDir
	if n.DataDir == "" && !c.Ephemeral {
		n.DataDir = filepath.Join("weir-data", n.Name)
	}
	n.HTTPAddr, n.GRPCAddr, n.GossipAddr, n.PeerAddr = c.HTTPAddr, c.GRPCAddr, c.GossipAddr, c.PeerAddr
	n.Advertise, n.Cluster, n.Zone, n.Voter = c.Advertise, c.Cluster, c.Zone, c.Voter
	n.BootstrapExpect, n.Ephemeral, n.DrainTimeout = c.BootstrapExpect, c.Ephemeral, c.DrainTimeout
	n.BucketsMax, n.Voters, n.Weight = c.BucketsMax, c.Voters, c.Weight
	n.Lease.Duration, n.Lease.Renewal, n.Lease.Margin = c.LeaseDuration, c.LeaseRenewal, c.LeaseMargin
	for _, addr := range c.Join {
		if addr = strings.TrimSpace(addr); addr != "" {
			n.Join = append(n.Join, addr)
		}
	}
	if c.Policy != "" {
		text, err := os.ReadFile(c.Policy)
		if err != nil {
			return n, fmt.Errorf("read --policy: %w", err)
		}
		n.Policy, n.PolicyName = text, c.Policy
	}
	if c.Webhooks != "" {
		var err error
		if n.Webhooks, err = webhooksFile(c.Webhooks); err != nil {
			return n, fmt.Errorf("%w: %w", errUsage, err)
		}
	}
	n.Version = buildVersion()
	n.Logger = logger(log, c.LogFormat, c.LogLevel)
	if err := n.Validate(); err != nil {
		return n, fmt.Errorf("%w: %w", errUsage, err)
	}
	return n, nil
}

func logger(w io.Writer, format string, level slog.Level) *slog.Logger {
	o := &slog.HandlerOptions{Level: level}
	if format == "json" {
		return slog.New(slog.NewJSONHandler(w, o))
	}
	return slog.New(slog.NewTextHandler(w, o))
}
