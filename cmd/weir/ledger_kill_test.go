package main

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weir-cluster/weir/client"
)

// moments is how often something is killed while a ledger works: WEIR_DRILLS, or as often as there is time for when all tests run.
func moments() int {
	if n := drills(); n > 0 {
		return n
	}
	return 4
}

// TestALedgerIsWholeAfterKillsAtRandomMoments kills one voter, two, or all of them with kill -9 while clerks debit, hold, capture, extend,
// release and refund, each write under a key of its own. Proves L1, L3, L4, L5a, L6, L7 and L9 for real processes.
func TestALedgerIsWholeAfterKillsAtRandomMoments(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3)
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 0))
	o := c.openOffice(t)
	stop := make(chan struct{})
	var clerks sync.WaitGroup
	for i := range officeClerks {
		clerks.Go(func() { o.work(stop, rand.New(rand.NewPCG(seed, uint64(i+1))), fmt.Sprint("clerk-", i)) })
	}
	killed := map[int]int{}
	for i := range moments() {
		time.Sleep(200*time.Millisecond + time.Duration(r.Int64N(int64(800*time.Millisecond))))
		victims := r.Perm(3)[:[]int{1, 2, 1, 3}[i%4]]
		c.strike(t, victims, time.Duration(r.Int64N(int64(time.Second))))
		killed[len(victims)]++
	}
	time.Sleep(time.Second)
	close(stop)
	clerks.Wait()

	heard := o.tally()
	o.audit(t, "before what is unknown was repeated")
	settled := o.settle(t)
	o.audit(t, "at the end")
	o.balance(t)
	o.ask(t, r)
	c.weir(t, 1, "ledger", "verify").want(t, exitOK, "sound")
	c.weir(t, 1, "ledger", "status").want(t, exitOK)
	endAll(t, c.nodes...)
	for _, p := range c.nodes {
		weir(t, "ledger", "verify", p.dir()).want(t, exitOK, "sound")
	}
	t.Logf("seed %d: kill -9 of one voter %d times, of two %d times, of all %d times; %d writes: %v; the unknown ones: %v; done, by movement: %v",
		seed, killed[1], killed[2], killed[3], len(o.deeds), heard, settled, o.movements())
}

// strike kills processes at once, and starts them again after a pause. It returns when each of them answers from the ledger: who dies
// often is made no home for a minute, and is not ready meanwhile.
func (c *cluster) strike(t *testing.T, victims []int, pause time.Duration) {
	t.Helper()
	for _, i := range victims {
		if err := c.nodes[i].running.Kill(); err != nil {
			t.Fatal(err)
		}
	}
	for _, i := range victims {
		<-c.nodes[i].ended
	}
	time.Sleep(pause)
	for _, i := range victims {
		if err := c.nodes[i].start(); err != nil {
			t.Fatal(err)
		}
	}
	for _, i := range victims {
		c.replica(t, i)
	}
}

// audit holds what was heard against what the accounts' histories have: what was done is there once, what was refused is not, of
// what is unknown there is at most one, and nothing else is there.
func (o *office) audit(t *testing.T, when string) {
	t.Helper()
	type found struct {
		entry   client.Entry
		account string
		times   int
	}
	var wrong complaints
	has := map[string]found{}
	for _, account := range officeAccounts {
		for i, e := range o.history(t, account) {
			if e.Seq != uint64(i+1) {
				t.Fatalf("%s: entry %d of %s has the number %d", when, i+1, account, e.Seq)
			}
			has[e.IdempotencyKey] = found{e, account, has[e.IdempotencyKey].times + 1}
		}
	}
	for _, d := range o.deeds {
		is := has[d.key]
		delete(has, d.key)
		want := 0
		if d.heard == done || d.heard == refused && d.movement == "authorize" { // a hold that was refused is remembered
			want = 1
		}
		switch {
		case d.heard == unknown && is.times <= 1:
		case is.times != want:
			wrong.add("%s is there %d times, want %d: heard %s, %+v", d.key, is.times, want, d.heard, d.receipt)
		case want == 1 && (is.entry.Event != d.receipt.Event || is.account != d.account || is.entry.Index != d.receipt.Index || is.entry.Term != d.receipt.Term):
			wrong.add("%s: the receipt says %+v, the history of %s %+v", d.key, d.receipt, is.account, is.entry)
		}
	}
	for key, is := range has {
		if !slices.Contains(o.setUp, key) {
			wrong.add("%s has %+v, which nobody asked for", is.account, is.entry)
		}
	}
	o.inOrder(&wrong)
	wrong.tell(t, when)
}

// complaints are what is wrong: as many as one reads.
type complaints struct {
	first []string
	all   int
}

func (w *complaints) add(format string, args ...any) {
	if w.all++; w.all <= 10 {
		w.first = append(w.first, fmt.Sprintf(format, args...))
	}
}

func (w *complaints) tell(t *testing.T, when string) {
	t.Helper()
	if w.all > 0 {
		t.Errorf("%s: %d are wrong:\n%s", when, w.all, strings.Join(w.first, "\n"))
	}
}

// inOrder checks that what was answered before something else began stands before it in the log.
func (o *office) inOrder(wrong *complaints) {
	begun := slices.DeleteFunc(slices.Clone(o.deeds), func(d *deed) bool { return d.receipt.Index == 0 })
	ended := slices.Clone(begun)
	slices.SortFunc(begun, func(a, b *deed) int { return a.began.Compare(b.began) })
	slices.SortFunc(ended, func(a, b *deed) int { return a.ended.Compare(b.ended) })
	var newest deed
	for _, d := range begun {
		for ; ended[0].ended.Before(d.began); ended = ended[1:] {
			if ended[0].receipt.Index > newest.receipt.Index {
				newest = *ended[0]
			}
		}
		if newest.receipt.Index >= d.receipt.Index {
			wrong.add("%s, entry %d of the log, was answered before %s began, which is entry %d", newest.key, newest.receipt.Index, d.key, d.receipt.Index)
		}
	}
}

// balance adds up receipts, and holds the sums against what every node says of the accounts.
func (o *office) balance(t *testing.T) {
	t.Helper()
	type sums struct{ spent, held int64 }
	want := map[string]sums{}
	newest := map[string]client.Receipt{} // of each hold
	for _, d := range o.deeds {
		s := want[d.account]
		switch {
		case d.heard != done:
		case d.movement == "debit" || d.movement == "capture":
			s.spent += d.receipt.AmountMicros
		case d.movement == "refund":
			s.spent -= d.receipt.AmountMicros
		}
		want[d.account] = s
		if h := d.receipt.Hold; h != nil && d.receipt.Event >= newest[h.ID].Event {
			newest[h.ID] = d.receipt
		}
	}
	for _, r := range newest {
		s := want[r.Account]
		s.held += r.Hold.HeldMicros
		want[r.Account] = s
	}
	for i, p := range o.c.nodes {
		for _, account := range officeAccounts {
			a, err := o.c.clients[i].Account(o.c.ctx, account)
			s := want[account]
			if err != nil || a.Books["spent"] != s.spent || a.HeldMicros != s.held || a.BalanceMicros != o.granted[account]-s.spent-s.held {
				t.Errorf("%s says of %s %d spent, %d held, %d left (%v), want %+v of %d", p.name, account, a.Books["spent"], a.HeldMicros, a.BalanceMicros, err, s, o.granted[account])
			}
			sum := int64(0)
			for _, micros := range a.Books {
				sum += micros
			}
			if sum != 0 {
				t.Errorf("%s: the books of %s sum to %d: %v", p.name, account, sum, a.Books)
			}
		}
	}
}
