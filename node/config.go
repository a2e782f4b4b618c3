// Package node is one running Weir node: it builds the parts, starts them in order, and stops them in
// reverse. It is the only place where parts are wired together, in production, in `weir dev` and in tests.
package node

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"regexp"
	"strings"
	"time"

	"github.com/weir-cluster/weir/cluster"
	"github.com/weir-cluster/weir/ledger/group"
	"github.com/weir-cluster/weir/limiter"
	"github.com/weir-cluster/weir/ring"
	"github.com/weir-cluster/weir/transport"
)

// Config says what a node is called, where it listens, whom it joins, and on what it runs. Addresses are
// host:port; port 0 picks one.
type Config struct {
	Name    string // unique in the cluster and stable over restarts: [A-Za-z0-9._-], at most 64 bytes
	Cluster string // the operator's name of the cluster: nodes with another one are not heard
	Zone    string // deputies are sought in another zone than their home's

	DataDir   string // where the log and the ledger are kept; unused when Ephemeral
	Ephemeral bool   // keep everything in memory: a restart forgets all

	// SnapshotEvery is how often what this node is home and deputy of is written to its disk while it changes: a restart of
	// all nodes goes on from there.
	SnapshotEvery time.Duration

	HTTPAddr   string
	GRPCAddr   string
	GossipAddr string
	PeerAddr   string
	Advertise  string // the IP that others are told, needed when listening on all addresses

	Join            []string // host[:port] of gossip of nodes to join; the port defaults to 7946
	BootstrapExpect int      // nodes that found the cluster together; 0 with Join: never found one
	Voter           string   // auto, yes or no: whether this node may vote in the Raft group
	Voters          int      // how many nodes vote in the Raft group, 3 or 5; the others forward to them; the same on every node
	Weight          uint8    // its share of the partitions, compared with the others'; 1 to 255

	Policy     []byte // used only while the cluster has none
	PolicyName string // what errors call it

	// BucketsMax bounds the buckets that this node decides by as home, and those of its shares apart from them; the new
	// keys beyond it get their limits' fallback. A bucket is about 49 bytes.
	BucketsMax int64

	Webhooks []Webhook // where the ledger's events are posted; the same on every node

	Lease cluster.LeaseTimes // of the right to decide as home; nodes may have different ones

	DrainTimeout   time.Duration // of a graceful stop
	RequestTimeout time.Duration // of a check or a call whose caller set none
	ForwardTimeout time.Duration // of the wait for another node
	Version        string
	Logger         *slog.Logger

	Network cluster.Network // nil is the machine's
	Storage group.Storage   // nil is DataDir, or memory when Ephemeral
	// Snapshots is where snapshots are kept; nil is DataDir, or nowhere when Ephemeral or when Storage is given.
	Snapshots Snapshots
	Clock     func() time.Time // nil is the machine's, made monotone
}

const gossipPort = "7946"

// Bounds of Config.BucketsMax: a bucket for each partition, and about 50 GB.
const (
	bucketsLeast = ring.Partitions
	bucketsMost  = 1 << 30
)

// DefaultConfig returns a cluster of one on loopback.
func DefaultConfig() Config {
	return Config{
		Cluster: "weir", DataDir: "weir-data", Voter: "auto", Voters: 3, Weight: 1,
		HTTPAddr: "127.0.0.1:8080", GRPCAddr: "127.0.0.1:8081", GossipAddr: "127.0.0.1:7946", PeerAddr: "127.0.0.1:7947",
		BucketsMax: limiter.DefaultConfig().BucketsMax, SnapshotEvery: 5 * time.Second,
		Lease:        cluster.DefaultLeaseTimes(),
		DrainTimeout: 10 * time.Second, RequestTimeout: 5 * time.Second, ForwardTimeout: 2 * time.Second,
		Logger: slog.New(slog.DiscardHandler),
	}
}

// Validate returns everything that is wrong with the configuration.
func (c Config) Validate() error {
	var wrong []error
	say := func(bad bool, err error) {
		if bad {
			wrong = append(wrong, err)
		}
	}
	plain := regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)
	say(!plain.MatchString(c.Name), fmt.Errorf("name %q: 1 to 64 letters, digits, dots, dashes or underscores", c.Name))
	say(!plain.MatchString(c.Cluster), fmt.Errorf("cluster %q: 1 to 64 letters, digits, dots, dashes or underscores", c.Cluster))
	say(c.Zone != "" && !plain.MatchString(c.Zone), fmt.Errorf("zone %q: at most 64 letters, digits, dots, dashes or underscores", c.Zone))
	say(!c.Ephemeral && c.DataDir == "" && c.Storage == nil, errors.New("data-dir: empty; name a directory, or run ephemeral"))
	for _, a := range []struct{ what, address string }{
		{"http-addr", c.HTTPAddr}, {"grpc-addr", c.GRPCAddr}, {"gossip-addr", c.GossipAddr}, {"peer-addr", c.PeerAddr},
	} {
		_, _, err := net.SplitHostPort(a.address)
		say(err != nil, fmt.Errorf("%s %q: expected host:port", a.what, a.address))
	}
	say(c.Advertise != "" && net.ParseIP(c.Advertise) == nil, fmt.Errorf("advertise %q: expected an IP address", c.Advertise))
	say(c.BootstrapExpect < 0 || c.BootstrapExpect > 1000, fmt.Errorf("bootstrap-expect %d: 0 to 1000", c.BootstrapExpect))
	say(c.Voter != "auto" && c.Voter != "yes" && c.Voter != "no", fmt.Errorf("voter %q: auto, yes or no", c.Voter))
	say(c.Voters != 3 && c.Voters != 5, fmt.Errorf("voters %d: 3 or 5", c.Voters))
	say(c.Weight == 0, errors.New("weight 0: 1 to 255"))
	say(c.expect() == 1 && c.Voter == "no", errors.New("voter no: a cluster of one needs its vote"))
	say(c.BucketsMax < bucketsLeast || c.BucketsMax > bucketsMost, fmt.Errorf("buckets-max %d: %d to %d", c.BucketsMax, bucketsLeast, bucketsMost))
	say(c.SnapshotEvery <= 0, fmt.Errorf("snapshot every %s: must be positive", c.SnapshotEvery))
	say(c.DrainTimeout <= 0 || c.RequestTimeout <= 0 || c.ForwardTimeout <= 0, errors.New("timeouts must be positive"))
	if err := c.Lease.Validate(group.DefaultConfig().ElectionTimeout); err != nil {
		wrong = append(wrong, err)
	}
	if err := c.checkWebhooks(); err != nil {
		wrong = append(wrong, err)
	}
	say(c.ForwardTimeout > c.RequestTimeout, fmt.Errorf("forward timeout %s: must not exceed the request timeout %s", c.ForwardTimeout, c.RequestTimeout))
	return errors.Join(wrong...)
}

// expect returns how many nodes found the cluster: one alone, unless it is told to join others.
func (c Config) expect() int {
	if c.BootstrapExpect == 0 && len(c.Join) == 0 {
		return 1
	}
	return c.BootstrapExpect
}

// seeds returns the addresses to join, each with a port.
func (c Config) seeds() []string {
	seeds := make([]string, 0, len(c.Join))
	for _, s := range c.Join {
		if _, _, err := net.SplitHostPort(s); err != nil {
			s = net.JoinHostPort(strings.Trim(s, "[]"), gossipPort)
		}
		seeds = append(seeds, s)
	}
	return seeds
}

func (c Config) network() cluster.Network {
	if c.Network != nil {
		return c.Network
	}
	return transport.Network{}
}

func (c Config) storage() group.Storage {
	switch {
	case c.Storage != nil:
		return c.Storage
	case c.Ephemeral:
		return group.Memory()
	default:
		return group.Disk(c.DataDir)
	}
}

func (c Config) snapshots() Snapshots {
	switch {
	case c.Snapshots != nil:
		return c.Snapshots
	case c.Ephemeral || c.Storage != nil:
		return nil
	default:
		return SnapshotsIn(c.DataDir)
	}
}

// clock returns a clock that never goes back nor jumps: wall time at the start, monotonic from then on.
func (c Config) clock() func() time.Time {
	if c.Clock != nil {
		return c.Clock
	}
	start := time.Now()
	return func() time.Time { return start.Add(time.Since(start)) }
}
