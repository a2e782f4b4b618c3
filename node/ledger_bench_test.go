package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weir-cluster/weir/ledger"
	"github.com/weir-cluster/weir/ledger/group"
)

// inert is a machine that costs nothing.
type inert struct{ local }

func (inert) Apply(group.Stamp, []byte) ([]byte, error) { return nil, nil }
func (inert) Snapshot() (func(io.Writer) error, error) {
	return func(io.Writer) error { return nil }, nil
}
func (inert) Restore(io.Reader) error { return nil }

// logOf is the front's way into a group.
type logOf struct{ *group.Group }

// Propose waits where the queue is full, as the cluster's Proposer does.
func (l logOf) Propose(ctx context.Context, command []byte) ([]byte, error) {
	for {
		reply, err := l.Group.Propose(ctx, machineLedger, command)
		if !errors.Is(err, group.ErrBusy) {
			return reply, err
		}
		time.Sleep(5 * time.Millisecond)
	}
}

const benchAccounts = 10_000

// BenchmarkLedgerAgainstEmpty compares, in turns, the group that drives the ledger with the same group that drives a machine which does
// nothing, by debits of many accounts: three voters in this process over TCP on loopback, whose disks sync every write. An
// iteration is a second of each: 4,096 callers who wait for each answer, and then half of what came through, at a steady rate.
func BenchmarkLedgerAgainstEmpty(b *testing.B) {
	books := runVoters(b, func() group.Machine { return ledgerMachine{ledger.NewMachine(ledger.DefaultConfig())} })
	bare := runVoters(b, func() group.Machine { return inert{} })
	front := ledger.New(logOf{books})
	fill(b, front)
	var number atomic.Int64
	debit := func() error {
		i := number.Add(1)
		r, err := front.Debit(context.Background(), ledger.Debit{
			Key: fmt.Sprintf("debit-%012d", i), Account: fmt.Sprintf("account-%06d", i*7919%benchAccounts), Amount: 1,
		})
		if err == nil && r.Outcome != ledger.Done {
			err = fmt.Errorf("debit: %v", r.Outcome)
		}
		return err
	}
	command := make([]byte, 64)
	nothing := func() error {
		_, err := logOf{bare}.Propose(context.Background(), command)
		return err
	}
	var with, without, slow, floor []float64
	for b.Loop() {
		with, without = append(with, most(b, debit)), append(without, most(b, nothing))
		half := with[len(with)-1] / 2
		slow, floor = append(slow, tail(b, half, debit).Seconds()*1e3), append(floor, tail(b, half, nothing).Seconds()*1e3)
	}
	b.ReportMetric(middle(with), "ledger/s")
	b.ReportMetric(middle(without), "empty/s")
	b.ReportMetric(middle(with)/middle(without), "x")
	b.ReportMetric(middle(slow), "ledger-p99-ms")
	b.ReportMetric(middle(floor), "empty-p99-ms")
	b.ReportMetric(middle(slow)/middle(floor), "p99-x")
}

func middle(all []float64) float64 { return slices.Sorted(slices.Values(all))[len(all)/2] }

// fill opens the accounts and gives each more than it will spend.
func fill(b *testing.B, front *ledger.Ledger) {
	b.Helper()
	var all sync.WaitGroup
	places := make(chan struct{}, 1024)
	for i := range benchAccounts {
		places <- struct{}{}
		all.Go(func() {
			defer func() { <-places }()
			account := fmt.Sprintf("account-%06d", i)
			_, err := front.Open(context.Background(), ledger.OpenAccount{Key: "open-" + account, Account: account, UseCredits: true})
			if err == nil {
				_, err = front.Grant(context.Background(), ledger.Grant{Key: "grant-" + account, Account: account, Kind: ledger.Credit, Amount: 1e12})
			}
			if err != nil {
				b.Error(err)
			}
		})
	}
	all.Wait()
}

// most returns how many a second come through.
func most(b *testing.B, do func() error) float64 {
	b.Helper()
	var done, failed atomic.Int64
	var all sync.WaitGroup
	began := time.Now()
	for range 4096 {
		all.Go(func() {
			for time.Since(began) < time.Second {
				if do() == nil {
					done.Add(1)
				} else {
					failed.Add(1)
				}
			}
		})
	}
	all.Wait()
	if failed.Load() > 0 {
		b.Fatalf("%d calls failed", failed.Load())
	}
	return float64(done.Load()) / time.Since(began).Seconds()
}

// tail returns the 99th percentile of latency at a steady rate, counted from when each was due.
func tail(b *testing.B, rate float64, do func() error) time.Duration {
	b.Helper()
	took := make([]time.Duration, int(rate))
	var failed atomic.Int64
	var all sync.WaitGroup
	began := time.Now()
	for i := range took {
		due := began.Add(time.Duration(float64(i) / rate * 1e9))
		if early := time.Until(due); early > time.Millisecond {
			time.Sleep(early)
		}
		all.Go(func() {
			if do() != nil {
				failed.Add(1)
			}
			took[i] = time.Since(due)
		})
	}
	all.Wait()
	if failed.Load() > 0 {
		b.Fatalf("%d calls failed", failed.Load())
	}
	slices.Sort(took)
	return took[len(took)*99/100]
}

// loopback is the network of this machine, of a server that listens already.
type loopback struct{ net.Listener }

func (l loopback) Listen(string) (net.Listener, error) { return l.Listener, nil }

func (l loopback) Dial(ctx context.Context, address string) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, "tcp", address)
}

// runVoters runs three voters until the benchmark ends and returns the one that leads.
func runVoters(b *testing.B, machine func() group.Machine) *group.Group {
	b.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	b.Cleanup(func() {
		cancel()
		all.Wait()
	})
	addresses := map[string]string{}
	var groups []*group.Group
	var members []group.Server
	for i := range 3 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			b.Fatal(err)
		}
		c := group.DefaultConfig()
		c.Name, c.Address, c.Network, c.Storage, c.Now = fmt.Sprintf("n%d", i), ":0", loopback{l}, group.Disk(b.TempDir()), time.Now
		// A busy machine starves heartbeats; who leads is not what is measured.
		c.HeartbeatTimeout, c.ElectionTimeout, c.LeaderLease, c.RequestTimeout, c.WriteDeadline = 2*time.Second, 2*time.Second, 2*time.Second, 10*time.Second, 30*time.Second
		c.Resolve = func(name string) (string, error) { return addresses[name], nil }
		c.Machines = map[string]group.Machine{machineLedger: machine()}
		g, err := group.New(c)
		if err != nil {
			b.Fatal(err)
		}
		addresses[c.Name] = l.Addr().String()
		groups, members = append(groups, g), append(members, group.Server{ID: g.ID(), Name: c.Name, Voter: true})
	}
	for _, g := range groups {
		all.Go(func() {
			if err := g.Run(ctx); err != nil {
				b.Error(err)
			}
		})
	}
	for founded := false; ; time.Sleep(time.Millisecond) {
		for _, g := range groups {
			if !founded && g.Status().State != "Stopped" {
				founded = g.Bootstrap(ctx, members) == nil
			}
			if g.Leading() {
				return g
			}
		}
	}
}
