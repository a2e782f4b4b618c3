package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"log/slog"
	"sort"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
)

// GossipConfig says who this node is and how it finds others.
type GossipConfig struct {
	Self      Member
	Label     string   // operator's name of the cluster; nodes with another label never hear each other
	Address   string   // to listen on, packets and streams
	Advertise string   // IP that others are told; empty for the one listened on
	Seeds     []string // host:port of nodes to join
	Expect    int      // nodes that found the cluster together; 0: never found one
	Lineage   string   // of the cluster that this node was of when it stopped, empty if it does not know
	Version   string   // of the program
	Network   Network
	Now       func() time.Time
	Logger    *slog.Logger
}

// Sighting is a member that gossip holds to be alive, and what it says of itself.
type Sighting struct {
	Member
	Cluster string `json:"c,omitempty"`  // View.Lineage, empty before it knows
	Epoch   uint64 `json:"e,omitempty"`  // of its view
	Policy  uint64 `json:"pv,omitempty"` // revision of its book
	Expect  int    `json:"x,omitempty"`  // as in GossipConfig
	Alone   bool   `json:"al,omitempty"` // it was told to join nobody and has no cluster yet
	Leading bool   `json:"ld,omitempty"` // it leads the Raft group
	Votes   bool   `json:"vt,omitempty"` // it votes in the Raft group
	Founded bool   `json:"f,omitempty"`  // it has Raft state, so it founds nothing
	Clients int    `json:"k,omitempty"`  // that watch the view there
	Log     uint64 `json:"li,omitempty"` // how far it has the log, while it follows it without a vote
	Version string `json:"vn,omitempty"` // of its program; left out when there is no room for it
}

// Gossip tells who is alive (SWIM, by memberlist) and spreads epochs. It never decides who owns what. It is
// safe for concurrent use.
type Gossip struct {
	cfg     GossipConfig
	changed chan struct{} // capacity 1
	renew   chan struct{} // capacity 1: what this node says of itself has changed

	mu    sync.Mutex
	self  Sighting
	alive map[string]Sighting
}

// versionMax is how much of a version others are told, in bytes: as much as says which commit it is.
const versionMax = 40

// metaMax leaves room in a member's metadata for what it only says later: a cluster id, counters, flags.
const metaMax = memberlist.MetaMaxSize - 128

// rejoinEvery is how often members that are known but not seen are tried: memberlist alone does not heal a
// split that outlasts its memory of the dead.
const rejoinEvery = 3 * time.Second

// NewGossip returns a Gossip that is silent until Run.
func NewGossip(cfg GossipConfig) (*Gossip, error) {
	g := &Gossip{
		cfg: cfg, changed: make(chan struct{}, 1), renew: make(chan struct{}, 1),
		self: Sighting{
			Member: cfg.Self, Expect: cfg.Expect, Alone: cfg.Expect == 1 && len(cfg.Seeds) == 0,
			Version: cfg.Version[:min(len(cfg.Version), versionMax)],
		},
		alive: make(map[string]Sighting),
	}
	if len(g.meta()) > metaMax {
		g.self.Version = ""
	}
	if n := len(g.meta()); n > metaMax {
		return nil, fmt.Errorf("this node's name and addresses take %d bytes of gossip: at most %d, shorten the name or the zone", n, metaMax)
	}
	g.self.Cluster = cfg.Lineage
	return g, nil
}

// Run joins and gossips until ctx ends, then says goodbye. wanted names further addresses to try while their
// members are not seen.
func (g *Gossip) Run(ctx context.Context, wanted func() []Member) error {
	network, err := openGossipNet(g.cfg.Network, g.cfg.Address, g.cfg.Advertise, g.cfg.Now)
	if err != nil {
		return err
	}
	ml, err := memberlist.Create(g.profile(network))
	if err != nil {
		_ = network.Shutdown()
		return fmt.Errorf("start gossip: %w", err)
	}
	var joins sync.WaitGroup
	defer joins.Wait()
	stop := make(chan struct{})
	joins.Go(func() { g.rejoin(ml, wanted, stop) })
	for {
		select {
		case <-g.renew:
			if err := ml.UpdateNode(time.Second); err != nil {
				g.cfg.Logger.Debug("announce", "error", err)
			}
		case <-ctx.Done():
			close(stop)
			if err := ml.Leave(time.Second); err != nil {
				g.cfg.Logger.Debug("leave gossip", "error", err)
			}
			return ml.Shutdown()
		}
	}
}

// rejoin tries to join, again and again, until stop is closed. It is apart from Run, since an address that
// swallows packets takes its time and what this node says must not wait for that.
func (g *Gossip) rejoin(ml *memberlist.Memberlist, wanted func() []Member, stop <-chan struct{}) {
	again := time.NewTicker(rejoinEvery)
	defer again.Stop()
	for {
		for _, address := range g.missing(ml.NumMembers(), wanted()) {
			select {
			case <-stop:
				return
			default:
			}
			if _, err := ml.Join([]string{address}); err != nil {
				g.cfg.Logger.Debug("join", "address", address, "error", err)
			}
		}
		select {
		case <-again.C:
		case <-stop:
			return
		}
	}
}

// profile is memberlist's configuration: a lost node is noticed in about 2.5 s.
func (g *Gossip) profile(network memberlist.Transport) *memberlist.Config {
	c := memberlist.DefaultLANConfig()
	c.Name = g.cfg.Self.Name
	c.Label = g.cfg.Label
	c.Transport = network
	c.ProbeInterval = 500 * time.Millisecond
	c.ProbeTimeout = 200 * time.Millisecond
	c.SuspicionMult = 3
	c.TCPTimeout = 2 * time.Second
	c.DeadNodeReclaimTime = 30 * time.Second // a name may come back from another address
	c.Delegate = delegate{g}
	c.Events = delegate{g}
	c.Alive = delegate{g}
	c.Logger = log.New(lineLog{g.cfg.Logger}, "", 0)
	return c
}

// missing returns the seeds while this node is alone, and the addresses of members that are wanted but not seen.
func (g *Gossip) missing(members int, wanted []Member) []string {
	var try []string
	if members <= 1 {
		try = append(try, g.cfg.Seeds...)
	}
	for _, m := range wanted {
		if _, seen := g.Find(m.Name); !seen && m.Name != g.cfg.Self.Name && m.Gossip != "" {
			try = append(try, m.Gossip)
		}
	}
	return try
}

// Changed signals that who is alive, or what one of them says, may have changed. It is for one reader.
func (g *Gossip) Changed() <-chan struct{} { return g.changed }

// Alive returns the members held to be alive, this node included, by name.
func (g *Gossip) Alive() []Sighting {
	g.mu.Lock()
	defer g.mu.Unlock()
	all := make([]Sighting, 0, len(g.alive))
	for _, s := range g.alive {
		all = append(all, s)
	}
	sort.Slice(all, func(i, j int) bool { return all[i].Name < all[j].Name })
	return all
}

// Find returns the named member, if it is held to be alive.
func (g *Gossip) Find(name string) (Sighting, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	s, ok := g.alive[name]
	return s, ok
}

// Self returns what this node says of itself.
func (g *Gossip) Self() Sighting {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.self
}

// Say changes what this node says of itself and spreads it.
func (g *Gossip) Say(change func(*Sighting)) {
	g.mu.Lock()
	was := g.self
	change(&g.self)
	same := was == g.self
	g.mu.Unlock()
	if same {
		return
	}
	select {
	case g.renew <- struct{}{}:
	default:
	}
}

func (g *Gossip) meta() []byte {
	g.mu.Lock()
	defer g.mu.Unlock()
	b, err := json.Marshal(g.self)
	if err != nil {
		panic(fmt.Sprintf("encode gossip: %v", err)) // strings and integers always encode
	}
	return b
}

// delegate hands memberlist's calls over. They come on its goroutines and must not block.
type delegate struct{ g *Gossip }

var (
	_ memberlist.Delegate      = delegate{}
	_ memberlist.EventDelegate = delegate{}
	_ memberlist.AliveDelegate = delegate{}
)

// NodeMeta is what this node says of itself.
func (d delegate) NodeMeta(int) []byte { return d.g.meta() }

// NotifyMsg is unused: all that spreads is in the metadata.
func (d delegate) NotifyMsg([]byte) {}

// GetBroadcasts is unused.
func (d delegate) GetBroadcasts(int, int) [][]byte { return nil }

// LocalState is unused: push/pull carries the metadata by itself.
func (d delegate) LocalState(bool) []byte { return nil }

// MergeRemoteState is unused.
func (d delegate) MergeRemoteState([]byte, bool) {}

// NotifyAlive keeps members of another cluster out.
func (d delegate) NotifyAlive(n *memberlist.Node) error {
	s, err := sighting(n)
	if err != nil {
		return err
	}
	self := d.g.Self()
	switch {
	case s.Name == self.Name:
		return nil
	case self.Alone || s.Alone:
		// Told to join nobody, it founds a cluster of its own. Until it has, others that look for a member they lost
		// at its address must not draw it into theirs.
		return fmt.Errorf("%s and %s do not hear each other before the one that joins nobody has its own cluster", n.Name, self.Name)
	case self.Cluster != "" && s.Cluster != "" && s.Cluster != self.Cluster:
		return fmt.Errorf("%s belongs to cluster %s, not to %s", n.Name, s.Cluster, self.Cluster)
	}
	return nil
}

// NotifyJoin notes a member.
func (d delegate) NotifyJoin(n *memberlist.Node) { d.note(n) }

// NotifyUpdate notes what a member says anew.
func (d delegate) NotifyUpdate(n *memberlist.Node) { d.note(n) }

// NotifyLeave forgets a member.
func (d delegate) NotifyLeave(n *memberlist.Node) {
	d.g.mu.Lock()
	delete(d.g.alive, n.Name)
	d.g.mu.Unlock()
	d.signal()
}

func (d delegate) note(n *memberlist.Node) {
	s, err := sighting(n)
	if err != nil {
		d.g.cfg.Logger.Warn("unreadable gossip", "member", n.Name, "error", err)
		return
	}
	d.g.mu.Lock()
	d.g.alive[n.Name] = s
	d.g.mu.Unlock()
	d.signal()
}

func (d delegate) signal() {
	select {
	case d.g.changed <- struct{}{}:
	default:
	}
}

func sighting(n *memberlist.Node) (Sighting, error) {
	var s Sighting
	if err := json.Unmarshal(n.Meta, &s); err != nil {
		return s, fmt.Errorf("decode what %s says: %w", n.Name, err)
	}
	if s.Name != n.Name {
		return s, fmt.Errorf("%s says it is %s", n.Name, s.Name)
	}
	s.Gossip = n.Address()
	s.Standing = 0
	return s, nil
}

// lineLog turns memberlist's lines, which begin with their level, into records.
type lineLog struct{ logger *slog.Logger }

func (l lineLog) Write(line []byte) (int, error) {
	text := strings.TrimSpace(string(line))
	level := slog.LevelDebug
	switch {
	case strings.Contains(text, "Conflicting address"):
		level = slog.LevelWarn // two nodes have one name: nothing works until one of them is renamed
	case strings.HasPrefix(text, "[ERR]"):
		level = slog.LevelInfo // a peer that is gone is news, not an alarm
	}
	l.logger.Log(context.Background(), level, "gossip", "line", text)
	return len(line), nil
}
