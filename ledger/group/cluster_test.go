package group

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weir-cluster/weir/chaos/simnet"
)

// tape is a machine that remembers what it was given. Its reply names the place of the command and repeats it.
type tape struct {
	lag time.Duration // of each Apply, to make a replica slow

	mu       sync.Mutex
	lines    []string
	walls    []time.Time
	elapsed  []time.Duration
	seen     []time.Time // when each was applied here
	restored int
	fail     func(command string) error // nil: nothing fails
	during   func()                     // a query; nil: nothing
}

func (m *tape) Apply(at Stamp, command []byte) ([]byte, error) {
	if m.lag > 0 {
		time.Sleep(m.lag)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.lines = append(m.lines, fmt.Sprintf("%d/%d %s", at.Term, at.Index, command))
	m.walls = append(m.walls, at.Wall)
	m.elapsed, m.seen = append(m.elapsed, at.Elapsed), append(m.seen, time.Now())
	if m.fail != nil {
		if err := m.fail(string(command)); err != nil {
			return nil, err
		}
	}
	return fmt.Appendf(nil, "%d:%s", len(m.lines), command), nil
}

// Query tells the last command, after whatever the test does meanwhile.
func (m *tape) Query(query []byte) []byte {
	m.mu.Lock()
	last, during := "", m.during
	if len(m.lines) > 0 {
		_, last, _ = strings.Cut(m.lines[len(m.lines)-1], " ")
	}
	m.mu.Unlock()
	if during != nil {
		during()
	}
	return fmt.Appendf(nil, "%s%s", query, last)
}

func (m *tape) Snapshot() (func(io.Writer) error, error) {
	content, err := json.Marshal(m.played())
	return func(w io.Writer) error {
		_, err := w.Write(content)
		return err
	}, err
}

func (m *tape) Restore(r io.Reader) error {
	content, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.lines, m.restored = nil, m.restored+1
	return json.Unmarshal(content, &m.lines)
}

// played returns what was applied, in order.
func (m *tape) played() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.lines)
}

// count returns how often a command was applied.
func (m *tape) count(command string) int {
	count := 0
	for _, line := range m.played() {
		if strings.HasSuffix(line, " "+command) {
			count++
		}
	}
	return count
}

// server is a node of a test: what stays when it stops, and its group while it runs.
type server struct {
	name, ip string
	cfg      Config
	tape     *tape
	g        *Group
	stop     context.CancelFunc
	over     chan error // what Run returned
}

// cluster is up to nine servers, n1 at 10.0.0.1 and so on, over a simulated network.
type cluster struct {
	t       *testing.T
	net     *simnet.Network
	servers []*server
}

// bubble runs f in virtual time with a cluster of count servers that have formed a group.
func bubble(t *testing.T, count int, change func(*Config), f func(t *testing.T, c *cluster)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := &cluster{t: t, net: simnet.New(1)}
		for range count {
			c.add(change)
		}
		c.bootstrap()
		f(t, c)
		c.close()
	})
}

func resolve(name string) (string, error) {
	number, found := strings.CutPrefix(name, "n")
	if !found {
		return "", fmt.Errorf("no node %s", name)
	}
	return "10.0.0." + number + ":7947", nil
}

// add makes and runs the next server.
func (c *cluster) add(change func(*Config)) *server {
	c.t.Helper()
	number := len(c.servers) + 1
	s := &server{name: fmt.Sprintf("n%d", number), ip: fmt.Sprintf("10.0.0.%d", number), cfg: DefaultConfig()}
	s.cfg.Name, s.cfg.Address, s.cfg.Resolve, s.cfg.Storage, s.cfg.Now = s.name, ":7947", resolve, Memory(), time.Now
	if change != nil {
		change(&s.cfg)
	}
	c.servers = append(c.servers, s)
	c.run(s)
	return s
}

// run starts a server with an empty machine, as a process does.
func (c *cluster) run(s *server) {
	c.t.Helper()
	s.tape = &tape{}
	s.cfg.Network, s.cfg.Machines = c.net.Host(s.ip), map[string]Machine{"tape": s.tape}
	g, err := New(s.cfg)
	if err != nil {
		c.t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	s.g, s.stop, s.over = g, stop, make(chan error, 1)
	go func() { s.over <- g.Run(ctx) }()
}

// halt stops a server and returns what Run returned.
func (s *server) halt() error {
	s.stop()
	err := <-s.over
	s.over <- err
	return err
}

func (c *cluster) bootstrap() {
	c.t.Helper()
	var members []Server
	for _, s := range c.servers {
		members = append(members, Server{ID: s.g.ID(), Name: s.name, Voter: true})
	}
	c.until("the first server runs", func() bool { return c.servers[0].g.Status().State != "Stopped" })
	if err := c.servers[0].g.Bootstrap(c.t.Context(), members); err != nil {
		c.t.Fatal(err)
	}
}

func (c *cluster) close() {
	c.net.HealAll()
	for _, s := range c.servers {
		if err := s.halt(); err != nil {
			c.t.Errorf("%s: run: %v", s.name, err)
		}
	}
	_ = c.net.Close()
	time.Sleep(30 * time.Second) // timers of requests that were under way
}

// until waits, in virtual time, for a condition that must come true within a minute.
func (c *cluster) until(what string, holds func() bool) {
	c.t.Helper()
	for began := time.Now(); !holds(); time.Sleep(time.Millisecond) {
		if time.Since(began) > time.Minute {
			var states []string
			for _, s := range c.servers {
				states = append(states, fmt.Sprintf("%s %+v", s.name, s.g.Status()))
			}
			c.t.Fatalf("a minute passed without: %s\n%s", what, strings.Join(states, "\n"))
		}
	}
}

// leader waits for a leader that is ready, among those of among.
func (c *cluster) leader(among ...*server) *server {
	c.t.Helper()
	if len(among) == 0 {
		among = c.servers
	}
	var leader *server
	c.until("a leader", func() bool {
		for _, s := range among {
			if s.g.Leading() {
				leader = s
			}
		}
		return leader != nil
	})
	return leader
}

// others returns all servers but s.
func (c *cluster) others(s *server) []*server {
	return slices.DeleteFunc(slices.Clone(c.servers), func(o *server) bool { return o == s })
}

// propose hands one command to s and fails the test unless it is applied.
func (c *cluster) propose(s *server, command string) {
	c.t.Helper()
	if _, err := s.g.Propose(c.t.Context(), "tape", []byte(command)); err != nil {
		c.t.Fatal(err)
	}
}

// agree waits until all servers have played the same, count commands, and returns it.
func (c *cluster) agree(count int) []string {
	c.t.Helper()
	first := c.servers[0]
	c.until(fmt.Sprintf("%d commands everywhere, in one order", count), func() bool {
		want := first.tape.played()
		for _, s := range c.servers {
			if !slices.Equal(s.tape.played(), want) {
				return false
			}
		}
		return len(want) == count
	})
	return first.tape.played()
}

// stack is a snapshot as a stream, for tests of its format.
func stack(t *testing.T, s *snapshot) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := s.writeTo(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// sections returns a snapshot of fixed texts.
func sections(texts map[string]string) *snapshot {
	s := &snapshot{head: head{As: As{Index: 7, Term: 3, Wall: time.Unix(100, 5).UTC()}, elapsed: elapsed{9, reading{3, 8}}}}
	for _, name := range slices.Sorted(maps.Keys(texts)) {
		s.sections = append(s.sections, section{name, func(w io.Writer) error {
			_, err := io.WriteString(w, texts[name])
			return err
		}})
	}
	return s
}
