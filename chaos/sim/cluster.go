package sim

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"github.com/weir-cluster/weir/chaos"
	"github.com/weir-cluster/weir/chaos/simnet"
	"github.com/weir-cluster/weir/node"
)

const (
	// restartAfter is how long the supervisor of a node waits before it starts a process again that ended by itself.
	restartAfter = 2 * time.Second
	clientIP     = "10.0.1.1"
	// Of every node's clock. A start's offset does not matter to what counts intervals; a rate does.
	offsetMax = 2 * time.Second
	driftMax  = 0.001
)

// cluster is nodes on a network, each with its disk and its clock.
type cluster struct {
	network *simnet.Network
	record  *recorder
	policy  []byte
	logger  *slog.Logger
	founded int // nodes that found it together

	mu      sync.Mutex // guards members and their processes; not held while anything waits
	members []*member
	closing bool
	running sync.WaitGroup // processes, also those that crashed and do not know it yet
}

// member is a node and what outlives its process.
type member struct {
	name, ip string
	disk     *disk
	clock    *clock
	process  *process // nil: none runs
	wanted   bool     // the supervisor starts it again when it ends by itself
	ends     uint64   // processes that were ended from outside
	opened   uint64   // listeners, sockets and streams that crashes closed
}

// process is one life of a node.
type process struct {
	node   *node.Node
	cancel context.CancelFunc
	done   chan struct{} // closed when Run has returned
}

func nodeName(i int) string { return fmt.Sprintf("n%d", i+1) }

func newCluster(seed uint64, nodes int, policy []byte, record *recorder, logger *slog.Logger) *cluster {
	c := &cluster{network: simnet.New(seed), record: record, policy: policy, logger: logger, founded: nodes}
	for range nodes {
		c.add(seed)
	}
	return c
}

// add makes one more member, which does not run yet.
func (c *cluster) add(seed uint64) *member {
	c.mu.Lock()
	defer c.mu.Unlock()
	i := len(c.members)
	random := rand.New(rand.NewPCG(seed, uint64(i)+1<<32))
	m := &member{name: nodeName(i), ip: fmt.Sprintf("10.0.0.%d", i+1)}
	m.disk = newDisk(m.name, random, func(why string) { c.fatal(m, why) })
	m.clock = newClock(time.Duration(random.Int64N(int64(2*offsetMax)))-offsetMax, 1+driftMax*(2*random.Float64()-1))
	c.members = append(c.members, m)
	return m
}

// find returns the named member, nil when there is none.
func (c *cluster) find(name string) *member {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, m := range c.members {
		if m.name == name {
			return m
		}
	}
	return nil
}

// all returns every member there is.
func (c *cluster) all() []*member {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]*member(nil), c.members...)
}

func (c *cluster) config(m *member) node.Config {
	f := node.DefaultConfig()
	f.Name, f.Network, f.Clock, f.Storage = m.name, c.network.Host(m.ip), m.clock.now, m.disk
	f.Snapshots = m.disk.snapshots()
	f.HTTPAddr, f.GRPCAddr = net.JoinHostPort(m.ip, "8080"), net.JoinHostPort(m.ip, "8081")
	f.GossipAddr, f.PeerAddr = net.JoinHostPort(m.ip, "7946"), net.JoinHostPort(m.ip, "7947")
	f.Policy, f.PolicyName, f.Logger = c.policy, "sim.yaml", c.logger
	for i, other := range c.members {
		if i < c.founded {
			f.Join = append(f.Join, other.ip)
		}
		if i < c.founded && other == m {
			f.BootstrapExpect = c.founded
		}
	}
	return f
}

// start starts a member that does not run.
func (c *cluster) start(m *member) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.startLocked(m)
}

func (c *cluster) startLocked(m *member) error {
	if m.process != nil || c.closing {
		return nil
	}
	n, err := node.New(c.config(m))
	if err != nil {
		return fmt.Errorf("start %s: %w", m.name, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	p := &process{node: n, cancel: cancel, done: make(chan struct{})}
	m.process, m.wanted = p, true
	c.record.event(chaos.Event{Node: m.name, What: "start"})
	c.running.Go(func() {
		defer close(p.done)
		c.ended(m, p, n.Run(ctx))
	})
	return nil
}

// ended notes that a process is over, and starts the member again if nobody ended it.
func (c *cluster) ended(m *member, p *process, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if m.process != p {
		return // it crashed before
	}
	m.process = nil
	c.network.Crash(m.ip) // the kernel closes what a process leaves open
	m.disk.crash()
	if m.wanted && !c.closing {
		c.record.event(chaos.Event{Node: m.name, What: "died", Detail: text(err)})
		time.AfterFunc(restartAfter, func() { c.revive(m) })
		return
	}
	c.record.event(chaos.Event{Node: m.name, What: "stop", Detail: text(err)})
}

// fatal ends a process whose disk did what no Raft survives. Its supervisor starts it again.
func (c *cluster) fatal(m *member, why string) {
	c.crash(m, false)
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closing {
		m.wanted = true
		c.record.event(chaos.Event{Node: m.name, What: "died", Detail: why})
		time.AfterFunc(restartAfter, func() { c.revive(m) })
	}
}

func (c *cluster) revive(m *member) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if m.wanted {
		_ = c.startLocked(m) // its configuration was good before
	}
}

// crash ends a member's process at once, with its disk's unsynced tail, and with the disk when that is lost too.
func (c *cluster) crash(m *member, lose bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	m.wanted = false
	if p := m.process; p != nil {
		m.process = nil
		m.ends++
		m.opened += uint64(c.network.Crash(m.ip))
		m.disk.crash()
		p.cancel() // what it does from here on reaches neither network nor disk
		c.record.event(chaos.Event{Node: m.name, What: "crash"})
	}
	if lose {
		m.disk.lose()
	}
}

// tally reads what a member counts, which a process that ends may be counting.
func (c *cluster) tally(of *uint64) uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return *of
}

// leave stops a member gracefully and returns when its process has ended.
func (c *cluster) leave(m *member) {
	c.mu.Lock()
	p := m.process
	m.wanted = false
	if p != nil {
		m.ends++
		p.cancel()
	}
	c.mu.Unlock()
	if p != nil {
		<-p.done
	}
}

// serves says whether a process of the member runs that nobody ends.
func (c *cluster) serves(m *member) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return m.process != nil && m.wanted
}

// up says whether a process of the member runs, and whether it is ready.
func (c *cluster) up(m *member) (runs, ready bool) {
	c.mu.Lock()
	p := m.process
	c.mu.Unlock()
	if p == nil {
		return false, false
	}
	select {
	case <-p.node.Ready():
		return true, true
	default:
		return true, false
	}
}

// close ends every process and waits for what they leave behind.
func (c *cluster) close() {
	c.mu.Lock()
	c.closing = true
	c.mu.Unlock()
	for _, m := range c.all() {
		c.crash(m, false)
	}
	c.running.Wait()
	_ = c.network.Close()
}

var errNotInTime = errors.New("not in time")

// until waits for a condition, at most so long.
func until(within time.Duration, is func() bool) error {
	for end := time.Now().Add(within); !is(); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(end) {
			return errNotInTime
		}
	}
	return nil
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
