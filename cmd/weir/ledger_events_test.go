package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	weirv1 "github.com/weir-cluster/weir/api/weir/v1"
	"github.com/weir-cluster/weir/client"
)

const (
	consumerName  = "billing"
	consumerNotes = 16 // it notes how far it is after so many events
)

// TestAConsumerMissesNoEventThoughItAndTheLeadersAreKilled kills `weir events tail --follow`, the leader, or both, with kill -9. The
// consumer knows nothing after its death but what its cursor in the ledger says. Each event comes at least once, in order, and is the
// same each time.
func TestAConsumerMissesNoEventThoughItAndTheLeadersAreKilled(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3)
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 0))
	o := c.openOffice(t)
	k := c.consume(t)
	stop := make(chan struct{})
	var clerks sync.WaitGroup
	for i := range 2 {
		clerks.Go(func() { o.work(stop, rand.New(rand.NewPCG(seed, uint64(i+1))), fmt.Sprint("clerk-", i)) })
	}
	leaders := 0
	for i := range moments() {
		time.Sleep(200*time.Millisecond + time.Duration(r.Int64N(int64(800*time.Millisecond))))
		if i%3 != 1 {
			k.kill()
		}
		if i%3 != 0 {
			c.strike(t, []int{c.leader(t)}, time.Duration(r.Int64N(int64(time.Second))))
			leaders++
		}
	}
	close(stop)
	clerks.Wait()
	settled := o.settle(t)
	k.kill()

	status, err := c.clients[0].LedgerStatus(c.ctx, client.Read{})
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	c.until(t, "all events at "+c.nodes[0].name, func() bool {
		want = c.everyEvent(t, 0)
		return len(want) == int(status.Events)
	})
	c.until(t, "all events", func() bool { return k.has(len(want)) })
	k.end()
	k.judge(t, want)
	for i := range c.nodes {
		c.until(t, "the same events at "+c.nodes[i].name, func() bool { return slices.Equal(c.everyEvent(t, i), want) })
	}
	o.audit(t, "at the end")
	deeds := map[string]bool{}
	for _, line := range want {
		var e client.Event
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatal(err)
		}
		deeds[e.Data.IdempotencyKey] = true
	}
	for _, d := range o.deeds {
		if d.heard == done && !deeds[d.key] {
			t.Errorf("%s was done, and there is no event of it", d.key)
		}
	}
	t.Logf("seed %d: kill -9 of the leader %d times, of the consumer %d times, which lived %d times; %d events, %d of them told again; the writes that were unknown: %v",
		seed, leaders, k.killed, k.lives, len(want), k.told-len(want), settled)
}

// follower is `weir events tail`, started anew whenever it has ended.
type follower struct {
	t       *testing.T
	c       *cluster
	cursors []weirv1.LedgerServiceClient
	ending  chan struct{}
	ended   chan struct{}

	mu      sync.Mutex
	running *os.Process
	seen    map[uint64]string // as each event came first
	wrong   complaints
	lives   int
	killed  int
	told    int
}

// consume starts it.
func (c *cluster) consume(t *testing.T) *follower {
	t.Helper()
	v, err := c.clients[0].View(c.ctx)
	if err != nil {
		t.Fatal(err)
	}
	k := &follower{t: t, c: c, ending: make(chan struct{}), ended: make(chan struct{}), seen: map[uint64]string{}}
	for _, m := range v.Members {
		conn, err := grpc.NewClient(m.GRPC, grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		k.cursors = append(k.cursors, weirv1.NewLedgerServiceClient(conn))
	}
	go func() {
		defer close(k.ended)
		for {
			select {
			case <-k.ending:
				return
			case <-c.ctx.Done():
				return
			case <-time.After(readyPause):
				k.live()
			}
		}
	}()
	t.Cleanup(k.end)
	return k
}

// end ends it for good.
func (k *follower) end() {
	select {
	case <-k.ending:
	default:
		close(k.ending)
	}
	k.kill()
	<-k.ended
}

// kill ends the life that it has.
func (k *follower) kill() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.running != nil {
		_ = k.running.Kill() // it may have ended by itself
		k.killed++
	}
}

// live is one life: it begins where the ledger says that it was, and goes on until it is killed or no node can be followed.
func (k *follower) live() {
	after, known := k.cursor()
	if !known {
		return
	}
	var addrs []string
	for _, p := range k.c.nodes {
		addrs = append(addrs, p.http)
	}
	rand.Shuffle(len(addrs), func(i, j int) { addrs[i], addrs[j] = addrs[j], addrs[i] })
	tail := exec.CommandContext(k.c.ctx, k.c.nodes[0].exe, "events", "tail", "--after", strconv.FormatUint(after, 10), "--follow", "-o", "json",
		"--addr", strings.Join(addrs, ","))
	out, err := tail.StdoutPipe()
	if err == nil {
		k.mu.Lock()
		if err = tail.Start(); err == nil {
			k.running = tail.Process
			k.lives++
		}
		k.mu.Unlock()
	}
	if err != nil {
		k.t.Errorf("start the consumer: %v", err)
		return
	}
	for lines := bufio.NewReader(out); ; {
		line, err := lines.ReadString('\n')
		if err != nil {
			break // what has no end of line was cut off by its death
		}
		after++
		k.note(after, strings.TrimSuffix(line, "\n"))
		if after%consumerNotes == 0 {
			k.setCursor(after)
		}
	}
	_ = tail.Wait() // killed
	k.mu.Lock()
	defer k.mu.Unlock()
	k.running = nil
}

// note takes the event that comes after the one before.
func (k *follower) note(seq uint64, line string) {
	var e client.Event
	err := json.Unmarshal([]byte(line), &e)
	k.mu.Lock()
	defer k.mu.Unlock()
	k.told++
	if err != nil || e.Data.Seq != seq || e.ID != strconv.FormatUint(seq, 10) {
		k.wrong.add("event %d was to come (%v): %s", seq, err, line)
		return
	}
	if first, again := k.seen[seq]; again && first != line {
		k.wrong.add("event %d was at first\n%s\nand is now\n%s", seq, first, line)
	}
	k.seen[seq] = line
}

// cursor is where the ledger says that the consumer is.
func (k *follower) cursor() (uint64, bool) {
	for i := range k.c.clients {
		s, err := k.c.clients[i].LedgerStatus(k.c.ctx, client.Read{})
		if err != nil {
			continue
		}
		for _, u := range s.Cursors {
			if u.Name == consumerName {
				return u.Seq, true
			}
		}
		return 0, true
	}
	return 0, false
}

// setCursor notes how far it is, if a node takes it: else it is told some events again.
func (k *follower) setCursor(seq uint64) {
	for _, to := range k.cursors {
		at, err := to.SetCursor(k.c.ctx, &weirv1.SetCursorRequest{Cursor: consumerName, Seq: seq})
		if err == nil {
			if at.GetSeq() < seq {
				k.t.Errorf("the cursor was set to %d and is at %d", seq, at.GetSeq())
			}
			return
		}
	}
}

// has says that so many events came, or that there is no need to wait for them.
func (k *follower) has(events int) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.seen) >= events || k.wrong.all > 0
}

// judge holds what came against what a node tells. The consumer has ended.
func (k *follower) judge(t *testing.T, want []string) {
	t.Helper()
	k.wrong.tell(t, "what came to the consumer")
	for i, line := range want {
		if k.seen[uint64(i+1)] != line {
			t.Fatalf("event %d came as %q, want %s", i+1, k.seen[uint64(i+1)], line)
		}
	}
	if len(k.seen) != len(want) {
		t.Errorf("%d events came, there are %d", len(k.seen), len(want))
	}
}
