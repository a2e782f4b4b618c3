package group

import (
	"context"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weir-cluster/weir/chaos/simnet"
)

// counter is a machine that costs nothing.
type counter struct{ tape }

func (m *counter) Apply(Stamp, []byte) ([]byte, error) { return nil, nil }

func BenchmarkProposeMemory(b *testing.B) { benchmarkPropose(b, Memory()) }

func BenchmarkProposeDisk(b *testing.B) { benchmarkPropose(b, Disk(b.TempDir())) }

// benchmarkPropose has 1,024 goroutines a core propose 128 bytes each to a group of one.
func benchmarkPropose(b *testing.B, s Storage) {
	g, stop := alone(b, s, &counter{}, simnet.New(1).Host("10.0.0.1"))
	defer stop()
	command := make([]byte, 128)
	before := g.Status().LastIndex
	b.ReportAllocs()
	b.SetParallelism(1024)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := g.Propose(context.Background(), "tape", command); err != nil {
				b.Error(err)
				return
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "ops/s")
	b.ReportMetric(float64(b.N)/float64(g.Status().LastIndex-before), "ops/entry")
}

// BenchmarkPacked compares, in turns, a group that packs what is proposed at once into one entry with one that does not: three
// voters over TCP on loopback, whose disks sync every write. An iteration is a second of each.
func BenchmarkPacked(b *testing.B) {
	for _, callers := range []int{256, 4096} {
		b.Run(fmt.Sprint(callers), func(b *testing.B) {
			packed, unpacked := onTCP(b, func(*Config) {}), onTCP(b, func(c *Config) { c.PackOperations = 1 })
			var with, without float64
			for b.Loop() {
				with += load(b, packed, callers, time.Second)
				without += load(b, unpacked, callers, time.Second)
			}
			b.ReportMetric(with/float64(b.N), "packed/s")
			b.ReportMetric(without/float64(b.N), "unpacked/s")
			b.ReportMetric(with/without, "x")
		})
	}
}

// BenchmarkRead has goroutines read linearizably from the leader of three voters over TCP.
func BenchmarkRead(b *testing.B) {
	for _, callers := range []int{1, 256} {
		b.Run(fmt.Sprint(callers), func(b *testing.B) {
			leader := onTCP(b, func(*Config) {})
			var left atomic.Int64
			left.Store(int64(b.N))
			var all sync.WaitGroup
			b.ResetTimer()
			for range callers {
				all.Go(func() {
					for left.Add(-1) >= 0 {
						if _, _, err := leader.Query(context.Background(), "tape", nil, Read{}); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			all.Wait()
		})
	}
}

// load has callers propose 128 bytes, each again when it is answered, and returns how many were a second.
func load(b *testing.B, leader *Group, callers int, span time.Duration) float64 {
	var done atomic.Int64
	var all sync.WaitGroup
	command := make([]byte, 128)
	began := time.Now()
	for range callers {
		all.Go(func() {
			for time.Since(began) < span {
				if _, err := leader.Propose(context.Background(), "tape", command); err != nil {
					b.Error(err)
					return
				}
				done.Add(1)
			}
		})
	}
	all.Wait()
	return float64(done.Load()) / time.Since(began).Seconds()
}

// tcp is the network of this machine.
type tcp struct{ listener net.Listener }

func (n tcp) Listen(string) (net.Listener, error) { return n.listener, nil }

func (n tcp) Dial(ctx context.Context, address string) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, "tcp", address)
}

// onTCP runs three voters until the benchmark ends and returns the one that leads.
func onTCP(b *testing.B, change func(*Config)) *Group {
	b.Helper()
	addresses := map[string]string{}
	var groups []*Group
	var members []Server
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	b.Cleanup(func() {
		cancel()
		all.Wait()
	})
	for i := range 3 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			b.Fatal(err)
		}
		c := soloConfig(Disk(b.TempDir()), map[string]Machine{"tape": &counter{}})
		// A busy machine starves heartbeats; who leads is not what is measured.
		c.HeartbeatTimeout, c.ElectionTimeout, c.LeaderLease, c.RequestTimeout, c.WriteDeadline = 2*time.Second, 2*time.Second, 2*time.Second, 10*time.Second, 30*time.Second
		c.Name, c.Network = fmt.Sprintf("n%d", i+1), tcp{l}
		c.Resolve = func(name string) (string, error) { return addresses[name], nil }
		change(&c)
		g, err := New(c)
		if err != nil {
			b.Fatal(err)
		}
		addresses[c.Name] = l.Addr().String()
		groups, members = append(groups, g), append(members, Server{ID: g.ID(), Name: c.Name, Voter: true})
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
