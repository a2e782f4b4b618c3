package wallet

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weir-cluster/weir/ledger"
	"github.com/weir-cluster/weir/ledger/journal"
)

// draws makes some draws, each of which must be done, and returns how many were from memory.
func (r *running) draws(name, account string, n int, amount ledger.Credits) (memory int) {
	r.b.t.Helper()
	for i := range n {
		if r.draw(fmt.Sprintf("l-%s-%d", name, i), account, amount).Allowance != 0 {
			memory++
		}
	}
	return memory
}

// Beyond each bound draws go to the ledger, and are done there.
func TestDrawsBeyondABoundGoToTheLedger(t *testing.T) {
	for name, row := range map[string]struct {
		change func(c *Config)
		memory int // of 50 draws of 0.1 at once
	}{
		"no bound":       {func(*Config) {}, 50},
		"unreported":     {func(c *Config) { c.Unreported = credit }, 9}, // one has been drawn in warming up
		"items":          {func(c *Config) { c.Items = 6 }, 5},
		"large draws":    {func(c *Config) { c.Way = func(*ledger.Debit) Way { return Direct } }, 0},
		"accounts":       {func(c *Config) { c.Accounts = 1 }, 0},
		"allowances":     {func(c *Config) { c.Allowances = 1 }, 0},
		"want":           {func(c *Config) { c.WantMax = credit }, 9},
		"spend log full": {func(c *Config) { c.Log, c.LogBytes = journal.Memory(), 8*segmentBytesMin }, 50},
	} {
		synctest.Test(t, func(t *testing.T) {
			b := newBank(t, lending(), 1)
			b.open("a", 1000*credit)
			b.open("b", 1000*credit)
			b.reply = time.Millisecond
			w := b.hold("n1", row.change)
			defer w.stop()
			if name == "accounts" || name == "allowances" {
				w.warm("b", credit/10)
				w.draws("first", "b", 3, credit/10)
			}
			if row.memory > 0 {
				w.warm("a", credit/10)
			} else {
				for i := range 20 {
					w.draws(fmt.Sprint("slow", i), "a", 1, credit/10)
					w.draws(fmt.Sprint("other", i), "b", 1, credit/10)
					time.Sleep(10 * time.Millisecond)
				}
			}
			start := time.Now()
			memory := w.draws("x", "a", 50, credit/10)
			if took := time.Since(start); name == "unreported" || name == "items" || name == "want" {
				if memory < row.memory || memory == 50 || took == 0 { // while some went to the ledger the bound may have had room again
					t.Errorf("%s: %d from memory in %s", name, memory, took)
				}
			} else if memory != row.memory {
				t.Errorf("%s: %d from memory, want %d", name, memory, row.memory)
			}
			if s := w.Stats(); s.Unreported > w.c.Unreported || s.Items > w.c.Items {
				t.Errorf("%s: %+v", name, s)
			}
			if err := w.Close(t.Context()); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			if a := b.account("a"); a.Books[ledger.Lent] != 0 || a.Books[ledger.Spent]%(credit/10) != 0 {
				t.Errorf("%s: %v", name, a.Books)
			}
			b.sound()
		})
	}
}

// A spend log that is full, or whose disk fails, sends draws to the ledger; those that were answered are charged.
func TestDrawsGoToTheLedgerWithoutASpendLog(t *testing.T) {
	for _, name := range []string{"full", "failing"} {
		synctest.Test(t, func(t *testing.T) {
			b := newBank(t, lending(), 1)
			b.open("a", 1000*credit)
			disk := &disk{Files: journal.Memory()}
			w := b.hold("n1", func(c *Config) { c.Log, c.LogBytes = disk, 8*segmentBytesMin })
			defer w.stop()
			_, drawn := w.warm("a", credit)
			long := strings.Repeat("x", 200)
			memory := 0
			b.mu.Lock()
			b.down = true // so that nothing of the log can go
			b.mu.Unlock()
			w.c.Purse = b.near()
			disk.fail = name == "failing"
			var s Stats
			for i := range 40 {
				memory += w.draws(fmt.Sprint(long, i), "a", 100, credit/1000)
				drawn += credit / 10
				time.Sleep(250 * time.Millisecond)
				if s = w.Stats(); name == "failing" && i == 0 && memory > 1 {
					t.Errorf("%d draws from memory with a failing log", memory)
				}
			}
			if s.LogFull != (name == "full") || s.LogFailed != (name == "failing") || s.LogBytes > w.c.LogBytes || memory == 4000 {
				t.Errorf("%s: %d from memory, %+v", name, memory, s)
			}
			b.mu.Lock()
			b.down = false
			b.mu.Unlock()
			for range 3 {
				_ = w.Close(t.Context())
			}
			if a := b.account("a"); a.Books[ledger.Spent] != drawn || a.Books[ledger.Lent] != 0 {
				t.Errorf("%s: %s drawn, %v", name, drawn, a.Books)
			}
			b.sound()
		})
	}
}

// disk fails on command.
type disk struct {
	journal.Files
	fail bool
}

var errDisk = errors.New("disk failed")

func (d *disk) Create(name string) (journal.File, error) {
	f, err := d.Files.Create(name)
	return diskFile{f, d}, err
}

type diskFile struct {
	journal.File
	d *disk
}

func (f diskFile) WriteAt(b []byte, at int64) (int, error) {
	if f.d.fail {
		return 0, errDisk
	}
	return f.File.WriteAt(b, at)
}

// Segments of the spend log go when all that they have is settled.
func TestSpendLogIsDroppedWhenItIsSettled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBank(t, lending(), 1)
		b.open("a", 10_000*credit)
		w := b.hold("n1", func(c *Config) { c.Log = journal.Memory(); c.LogBytes = 16 * segmentBytesMin })
		defer w.stop()
		w.warm("a", credit/1000)
		most, memory := int64(0), 0
		for i := range 100_000 {
			memory += w.draws(fmt.Sprint(i), "a", 1, credit/1000)
			time.Sleep(2 * time.Millisecond)
			if i%1000 == 0 {
				most = max(most, w.Stats().LogBytes)
			}
		}
		if s := w.Stats(); most > w.c.LogBytes/4*3+segmentBytesMin || w.log.journal.Stats().Retired < 20 || w.log.journal.Stats().Forced > 0 || memory < 90_000 {
			t.Errorf("at most %d bytes, %d draws from memory, %+v, %+v", most, memory, s, w.log.journal.Stats())
		}
		_ = w.Close(t.Context())
	})
}

// Accounts that nobody draws from are forgotten when there are many.
func TestIdleAccountsAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBank(t, lending(), 1)
		w := b.hold("n1", func(c *Config) { c.Accounts = 10 })
		defer w.stop()
		for i := range 20 {
			account := fmt.Sprint("a", i)
			b.open(account, 10*credit)
			w.draws(account, account, 1, credit)
		}
		if n := w.Stats().Accounts; n != 10 {
			t.Errorf("%d accounts", n)
		}
		time.Sleep(idleFor + time.Second)
		if n := w.Stats().Accounts; n != 0 {
			t.Errorf("%d accounts", n)
		}
	})
}

func TestConfigIsRefused(t *testing.T) {
	good := DefaultConfig()
	good.Home, good.Incarnation, good.Now = "n1", 1, time.Now
	b := &bank{}
	good.Purse, good.Lender = b, b
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	for i, change := range []func(c *Config){
		func(c *Config) { c.Home = "" },
		func(c *Config) { c.Incarnation = 0 },
		func(c *Config) { c.Purse = nil },
		func(c *Config) { c.Lender = nil },
		func(c *Config) { c.Now = nil },
		func(c *Config) { c.TTL = c.Every },
		func(c *Config) { c.Span = 0 },
		func(c *Config) { c.Unreported = 0 },
		func(c *Config) { c.Calls = 0 },
		func(c *Config) { c.Log, c.LogBytes = journal.Memory(), 1 },
	} {
		c := good
		change(&c)
		if _, err := New(c); !errors.Is(err, ErrInvalid) {
			t.Errorf("change %d: %v", i, err)
		}
	}
}
