package wallet

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weir-cluster/weir/ledger"
	"github.com/weir-cluster/weir/ledger/journal"
)

func schedules() (first, count uint64) {
	if flag.Lookup("test.short").Value.String() == "true" {
		return 1, 5
	}
	return 1, 40
}

// Random draws, returns, repetitions, kills and outages over a network that loses, repeats, delays and reorders; by seed. However it
// goes, nobody is charged more than was used, nothing is drawn from what the ledger has taken back, and what was used and
// not charged is what the ledger forgave and what died with a wallet that has no log (I1-I7 of LEDGER §5.4).
func TestRandomSchedules(t *testing.T) {
	first, count := schedules()
	for seed := first; seed < first+count; seed++ {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { newWorld(t, seed).play() })
		})
	}
}

// world is what really happened, beside what the ledger knows.
type world struct {
	t     *testing.T
	b     *bank
	rng   *rand.Rand // of the goroutine that plays
	homes [3]*running
	files [3]journal.Files // none: the home has no log
	lives [3]uint64

	mu     sync.Mutex
	books  map[string]*truth
	lost   ledger.Credits // not reported when a wallet without a log was killed
	live   int            // allowances at once, at most
	memory int            // draws
}

// truth is what was used of an account.
type truth struct {
	granted, gross, undone ledger.Credits            // gross: answered to be done
	flight                 ledger.Credits            // asked for and not answered, or of unknown outcome and not returned yet
	slack                  ledger.Credits            // returned where nobody knew the draw any more
	used                   map[string]ledger.Credits // by key
}

const worldUnreported = 2 * credit

func newWorld(t *testing.T, seed uint64) *world {
	w := &world{t: t, b: newBank(t, lending(), seed), rng: rand.New(rand.NewPCG(seed, 2)), books: map[string]*truth{}}
	for account, amount := range map[string]ledger.Credits{"rich": 10_000 * credit, "poor": 60 * credit} {
		w.b.open(account, amount)
		w.books[account] = &truth{granted: amount, used: map[string]ledger.Credits{}}
	}
	w.files[0], w.files[1] = journal.Memory(), journal.Memory()
	for i := range w.homes {
		w.begin(i)
	}
	w.b.drop, w.b.lose, w.b.repeat, w.b.slow = 4, 4, 10, 150
	return w
}

func (w *world) begin(i int) {
	w.lives[i]++
	h := w.b.hold(fmt.Sprint("n", i), func(c *Config) {
		c.Unreported, c.TTL, c.Span, c.Log = worldUnreported, 10*time.Second, 4*time.Second, w.files[i]
		if c.Log == nil {
			c.Incarnation = w.lives[i]
		}
	})
	w.mu.Lock()
	defer w.mu.Unlock()
	w.homes[i] = h
}

func (w *world) home(i int) *running {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.homes[i]
}

// play lets it all happen and then judges.
func (w *world) play() {
	var users sync.WaitGroup
	end := time.Now().Add(50 * time.Second)
	for i := range w.homes {
		for k := range 3 {
			rng := rand.New(rand.NewPCG(w.rng.Uint64(), 3))
			users.Go(func() { w.use(rng, i, k, end) })
		}
	}
	for time.Now().Before(end) {
		time.Sleep(time.Duration(w.rng.IntN(4000)) * time.Millisecond)
		switch w.rng.IntN(4) {
		case 0:
			w.outage(time.Duration(w.rng.IntN(8000)) * time.Millisecond)
		case 1:
			w.kill(w.rng.IntN(len(w.homes)))
		case 2:
			ctx, cancel := context.WithTimeout(w.t.Context(), time.Second)
			_ = w.home(w.rng.IntN(3)).Drain(ctx, func(account string) bool { return account == "rich" })
			cancel()
		}
		w.watch()
	}
	users.Wait()
	w.b.mu.Lock()
	w.b.drop, w.b.lose, w.b.repeat, w.b.slow = 0, 0, 0, 0
	w.b.mu.Unlock()
	time.Sleep(10 * time.Second)
	for _, h := range w.homes {
		if err := h.Close(w.t.Context()); err != nil {
			w.t.Error(err)
		}
	}
	time.Sleep(20 * time.Second)
	w.judge()
	for _, h := range w.homes {
		h.stop()
	}
}

func (w *world) outage(d time.Duration) {
	for _, down := range []bool{true, false} {
		w.b.mu.Lock()
		w.b.down = down
		w.b.mu.Unlock()
		if down {
			time.Sleep(d)
		}
	}
}

// kill ends a wallet in the middle of what it does, and begins it anew with what is on its disk.
func (w *world) kill(i int) {
	old := w.home(i)
	old.closed.Store(true)
	synctest.Wait()
	if w.files[i] != nil {
		w.files[i] = left(w.t, w.files[i])
	} else {
		w.lost += old.Stats().Unreported
	}
	w.begin(i)
	old.stop()
}

// use is a user who draws at one home for a while.
func (w *world) use(rng *rand.Rand, i, k int, end time.Time) {
	for n := 0; time.Now().Before(end); n++ {
		time.Sleep(time.Duration(1+rng.IntN(120)) * time.Millisecond)
		account := [...]string{"rich", "rich", "rich", "poor"}[rng.IntN(4)]
		kind := [...]string{"l", "l", "k"}[rng.IntN(3)]
		d := ledger.Debit{
			Key: fmt.Sprintf("%s-%d-%d-%d", kind, i, k, n), Account: account, Amount: credit/100 + ledger.Credits(rng.IntN(int(credit/4))),
			Overshoot: ledger.Deny,
		}
		done := w.draw(i, d)
		switch {
		case done && kind == "k" && rng.IntN(5) == 0: // the client asks again, elsewhere: it is the same draw
			w.repeat(w.home(rng.IntN(3)), d)
		case done && kind == "l" && rng.IntN(10) == 0:
			time.Sleep(time.Duration(rng.IntN(1000)) * time.Millisecond)
			w.takeBack(i, d)
		}
	}
}

func (w *world) draw(i int, d ledger.Debit) bool {
	book := w.books[d.Account]
	w.mu.Lock()
	book.flight += d.Amount
	w.mu.Unlock()
	ctx, cancel := context.WithTimeout(w.t.Context(), time.Second)
	r, err := w.home(i).Debit(ctx, d)
	cancel()
	if err == nil && r.Allowance != 0 && !slices.Contains(w.b.lent(d.Account), r.Allowance) {
		w.t.Errorf("I6: %q was drawn from allowance %d, which the ledger has taken back", d.Key, r.Allowance)
	}
	w.mu.Lock()
	switch {
	case err != nil:
		w.mu.Unlock()
		w.settle(func(ctx context.Context) error {
			_, err := w.home(i).Return(ctx, ledger.Return{Key: "undo-" + d.Key, Account: d.Account, Debit: d.Key})
			return err
		})
		w.mu.Lock()
	case r.Outcome == ledger.Done:
		book.gross += d.Amount
		book.used[d.Key] = d.Amount
	}
	book.flight -= d.Amount
	if r.Allowance != 0 {
		w.memory++
	}
	w.mu.Unlock()
	return err == nil && r.Outcome == ledger.Done
}

// settle repeats something until it is done.
func (w *world) settle(do func(ctx context.Context) error) {
	for range 200 {
		ctx, cancel := context.WithTimeout(w.t.Context(), time.Second)
		err := do(ctx)
		cancel()
		if err == nil {
			return
		}
		time.Sleep(200 * time.Millisecond)
	}
	w.t.Error("never done")
}

func (w *world) repeat(h *running, d ledger.Debit) {
	w.settle(func(ctx context.Context) error {
		_, err := h.Debit(ctx, d)
		return err
	})
}

func (w *world) takeBack(i int, d ledger.Debit) {
	w.settle(func(ctx context.Context) error {
		r, err := w.home(i).Return(ctx, ledger.Return{Key: "back-" + d.Key, Account: d.Account, Debit: d.Key})
		if err != nil {
			return err
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		w.books[d.Account].undone += r.Amount
		w.books[d.Account].used[d.Key] -= r.Amount
		w.books[d.Account].slack += d.Amount - r.Amount
		return nil
	})
}

// watch holds at every moment.
func (w *world) watch() {
	live := 0
	for account, book := range w.books {
		w.mu.Lock()
		lent := len(w.b.lent(account))
		a := w.b.account(account)
		if a.Books[ledger.Spent] > book.gross+book.flight {
			w.t.Errorf("I5: of %s %s was used and %s in flight, %s is charged", account, book.gross, book.flight, a.Books[ledger.Spent])
		}
		live += lent
		w.mu.Unlock()
	}
	w.live = max(w.live, live)
}

// charges are what the events say was charged by each key, less what was given back.
func (b *bank) charges(account string) map[string]ledger.Credits {
	b.t.Helper()
	sums := map[string]ledger.Credits{}
	for after := uint64(0); ; {
		all, err := b.near().Entries(b.t.Context(), account, after, ledger.EntriesMax)
		if err != nil {
			b.t.Fatal(err)
		}
		for _, e := range all {
			after = e.AccountSeq
			for _, it := range e.Items {
				sums[strings.TrimPrefix(it.ID, "back-")] += it.Charged
			}
			for _, p := range e.Postings {
				if p.Book == ledger.Spent && len(e.Items) == 0 {
					sums[e.Charge] += p.Amount
				}
			}
		}
		if len(all) == 0 {
			return sums
		}
	}
}

// judge compares what happened with what is booked when all is over.
func (w *world) judge() {
	w.b.sound()
	var gave ledger.Credits
	for _, h := range w.homes {
		gave += h.Stats().Lost
	}
	for account, book := range w.books {
		a := w.b.account(account)
		used, charged := book.gross-book.undone, a.Books[ledger.Spent]
		for key, charged := range w.b.charges(account) {
			if used := book.used[key]; charged > used {
				w.t.Errorf("I5: %s was used with key %q of %s, and %s is charged", used, key, account, charged)
			}
		}
		if missing := used - charged; missing > a.Forgiven+book.slack+w.lost+gave {
			w.t.Errorf("of %s %s of %s is charged to nobody: forgiven %s, slack %s, lost %s, given up %s", account, missing, used, a.Forgiven,
				book.slack, w.lost, gave)
		}
		if bound := worldUnreported * ledger.Credits(w.live); used > book.granted+bound {
			w.t.Errorf("I3: of %s %s was used, %s granted, and %d allowances were open", account, used, book.granted, w.live)
		}
		if a.Books[ledger.Lent] != 0 || a.Balance+charged != book.granted {
			w.t.Errorf("I1: of %s %v", account, a.Books)
		}
		w.t.Logf("%s: used %s, charged %s, forgiven %s, slack %s, lost %s, given up %s, %d draws from memory", account, used, charged, a.Forgiven,
			book.slack, w.lost, gave, w.memory)
	}
	if w.memory < 100 {
		w.t.Errorf("%d draws from memory", w.memory)
	}
}
