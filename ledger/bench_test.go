package ledger

import (
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"syscall"
	"testing"
	"time"
)

const benchAccounts = 1_000_000

// grown returns a machine with n accounts of one grant each, and the ids.
func grown(b *testing.B, n int) (*Machine, Stamp, []string) {
	c := DefaultConfig()
	c.Accounts, c.Keys = n, 8*n
	m := NewMachine(c)
	at := Stamp{Term: 1, Index: 1, Wall: time.Unix(dawn, 0)}
	ids := make([]string, n)
	for i := range ids {
		ids[i] = fmt.Sprintf("account-%d", i)
		for _, in := range []command{
			&OpenAccount{Key: "o" + ids[i], Account: ids[i], UseCredits: true},
			&Grant{Key: "g" + ids[i], Account: ids[i], Grant: "plan", Kind: Included, Amount: CreditsMax},
		} {
			if _, err := m.Apply(at, encodeCommand(in)); err != nil {
				b.Fatal(err)
			}
		}
	}
	at.Wall = at.Wall.Add(26 * time.Hour) // what made them is forgotten
	for m.Keys() > 0 {
		if _, err := m.Apply(at, encodeCommand(&tick{})); err != nil {
			b.Fatal(err)
		}
	}
	return m, at, ids
}

// heap returns what is in use after a collection.
func heap() uint64 {
	runtime.GC()
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	return s.HeapAlloc
}

// mixed makes operations as they come in: six debits, a hold that is captured or released, a grant and a repeat in ten.
func mixed(ids []string, from, n int) [][]byte {
	r := rand.New(rand.NewPCG(1, uint64(from)))
	all := make([][]byte, 0, n)
	hold := ""
	for i := range n {
		id := ids[r.IntN(len(ids))]
		key := fmt.Sprintf("%s-%09d", "018f2a1c-key-of-a-client", from+i)
		var in command
		switch i % 10 {
		case 0:
			hold = key
			in = &Authorize{Key: key, Account: id, Amount: 5000, TTL: time.Minute}
		case 1:
			in = &Capture{Key: key, Hold: hold, Amount: 3000, Final: true}
			if i%20 == 1 {
				in = &Release{Key: key, Hold: hold}
			}
		case 2:
			in = &Grant{Key: key, Account: id, Grant: "plan", Amount: 10_000} // has it: a conflict
			if i%40 == 2 {
				in = &Grant{Key: key, Account: id, Kind: Promo, Amount: 10_000, Expires: time.Unix(dawn, 0).Add(1000 * time.Hour)}
			}
		case 3:
			all = append(all, all[len(all)-1-r.IntN(min(len(all), 1000))])
			continue
		default:
			in = &Debit{Key: key, Account: id, Amount: 1250}
		}
		all = append(all, encodeCommand(in))
	}
	return all
}

// BenchmarkMachineMixed is the state machine alone: 1M accounts, a key a command.
func BenchmarkMachineMixed(b *testing.B) {
	m, at, ids := grown(b, benchAccounts)
	b.ReportAllocs()
	b.ResetTimer()
	done, spent := 0, time.Duration(0)
	for done < b.N {
		b.StopTimer()
		batch := mixed(ids, done, min(1<<18, b.N-done))
		if m.Keys() > 4*benchAccounts {
			at.Wall = at.Wall.Add(26 * time.Hour)
		}
		runtime.GC()
		begun := processor(b)
		b.StartTimer()
		for _, command := range batch {
			at.Index++
			at.Elapsed += time.Microsecond
			if _, err := m.Apply(at, command); err != nil {
				b.Fatal(err)
			}
		}
		done += len(batch)
		spent += processor(b) - begun
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "ops/s")
	b.ReportMetric(float64(b.N)/spent.Seconds(), "ops/cpu-s") // with the collector's share, on a machine that others use too
}

// processor returns the time that this process has had of the processors.
func processor(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkReport10000 settles reports of 10,000 items, which have 50 ms each, and as many debits for comparison.
func BenchmarkReport10000(b *testing.B) {
	for _, keyed := range []bool{false, true} {
		b.Run(fmt.Sprintf("keyed=%v", keyed), func(b *testing.B) {
			c := DefaultConfig()
			c.Keys, c.Share = 1<<30, 100
			m := NewMachine(c)
			at := Stamp{Term: 1, Wall: time.Unix(dawn, 0)}
			apply := func(in command) Receipt {
				at.Index++
				reply, err := m.Apply(at, encodeCommand(in))
				r, bad := decodeReceipt(string(reply))
				if err != nil || bad != nil || r.Outcome != Done {
					b.Fatal(err, bad, r.Outcome)
				}
				return r
			}
			apply(&OpenAccount{Key: "o", Account: "a"})
			for i := range 8 {
				apply(&Grant{Key: fmt.Sprint("g", i), Account: "a", Amount: CreditsMax / 8})
			}
			n := Lend{Account: "a", Home: "n1", Want: CreditsMax, TTL: time.Minute}
			spent, longest, debits := time.Duration(0), time.Duration(0), time.Duration(0)
			for b.Loop() {
				n.Nonce++
				r := Report{Allowance: apply(&n).Allowance, Home: "n1", Final: true}
				for i := range ItemsMax {
					r.Items = append(r.Items, Item{ID: fmt.Sprintf("018f2a1c-%d-%026d", n.Nonce, i), Amount: 1250, Keyed: keyed})
					r.Spent += 1250
				}
				command := encodeCommand(&r)
				begun := time.Now()
				if _, err := m.Apply(at, command); err != nil {
					b.Fatal(err)
				}
				took := time.Since(begun)
				spent, longest = spent+took, max(longest, took)
				begun = time.Now()
				for i := range ItemsMax / 10 {
					apply(&Debit{Key: fmt.Sprintf("018f2a1d-%d-%026d", n.Nonce, i), Account: "a", Amount: 1})
				}
				debits += 10 * time.Since(begun)
			}
			b.ReportMetric(spent.Seconds()*1e3/float64(b.N), "ms/report")
			b.ReportMetric(longest.Seconds()*1e3, "ms-longest")
			b.ReportMetric(float64(spent.Nanoseconds())/float64(b.N)/ItemsMax, "ns/item")
			b.ReportMetric(debits.Seconds()/spent.Seconds(), "debits/item")
		})
	}
}

func BenchmarkApplyReplay(b *testing.B) {
	m, at, ids := grown(b, 1)
	command := encodeCommand(&Debit{Key: "debit", Account: ids[0], Amount: 1250})
	b.ReportAllocs()
	for b.Loop() {
		if _, err := m.Apply(at, command); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkSnapshotPause is what Apply waits for while a snapshot is captured, with 1M accounts and as many keys.
func BenchmarkSnapshotPause(b *testing.B) {
	m, at, ids := grown(b, benchAccounts)
	for _, command := range mixed(ids, 0, benchAccounts) {
		if _, err := m.Apply(at, command); err != nil {
			b.Fatal(err)
		}
	}
	longest := time.Duration(0)
	var write func(io.Writer) error
	b.Run("capture", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			begun := time.Now()
			write, _ = m.Snapshot()
			longest = max(longest, time.Since(begun))
		}
		b.ReportMetric(float64(longest.Microseconds())/1000, "ms-longest")
	})
	b.Run("write", func(b *testing.B) {
		for b.Loop() {
			if err := write(io.Discard); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkMemory measures what an account with one grant takes, what a key, and what an open hold.
func BenchmarkMemory(b *testing.B) {
	for b.Loop() {
		before := heap()
		m, at, ids := grown(b, benchAccounts)
		accounts := heap()
		ask := func(n int, make func(i int) command) uint64 {
			from := heap()
			for i := range n {
				if _, err := m.Apply(at, encodeCommand(make(i))); err != nil {
					b.Fatal(err)
				}
			}
			return (heap() - from) / uint64(n)
		}
		n := benchAccounts / 4
		key := ask(n, func(i int) command {
			return &Debit{Key: fmt.Sprintf("018f2a1c-6d3e-4000-8000-%012d", i), Account: ids[i], Amount: 1}
		})
		hold := ask(n, func(i int) command {
			return &Authorize{Key: fmt.Sprintf("018f2a1c-6d3e-4000-9000-%012d", i), Account: ids[i], Amount: 1, TTL: time.Hour}
		})
		b.ReportMetric(float64(accounts-before)/1e6, "MB-accounts")
		b.ReportMetric(float64(accounts-before)/benchAccounts, "B/account")
		b.ReportMetric(float64(key), "B/key")
		b.ReportMetric(float64(hold-key), "B/hold")
		runtime.KeepAlive(m)
		runtime.KeepAlive(ids)
	}
}
