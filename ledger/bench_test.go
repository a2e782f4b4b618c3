package ledger

import (
	"fmt"
	"io"
	"testing"
	"time"
)

// grown returns a desk with n accounts that hold three grants each.
func grown(b *testing.B, n int) (*desk, []string) {
	d := newDesk(b, DefaultConfig())
	ids := make([]string, n)
	for i := range ids {
		ids[i] = fmt.Sprint("account-", i)
		d.done(d.Open(b.Context(), OpenAccount{Key: "o" + ids[i], Account: ids[i], UseCredits: true}))
		for k := range Overdraft {
			key := fmt.Sprint("g", k, ids[i])
			d.done(d.Grant(b.Context(), Grant{Key: key, Account: ids[i], Grant: key, Kind: k, Amount: CreditsMax}))
		}
	}
	return d, ids
}

func BenchmarkApplyDebit(b *testing.B) {
	d, ids := grown(b, 1000)
	commands := make([][]byte, 1<<16)
	for i := range commands {
		commands[i] = encodeCommand(&Debit{Key: fmt.Sprint("debit-", i), Account: ids[i%len(ids)], Amount: 1250})
	}
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		if i > 0 && i%len(commands) == 0 {
			d.pass(26 * time.Hour) // the keys are new again
		}
		if reply := d.m.Apply(d.at, commands[i%len(commands)]); reply[1] != repliesReceipt {
			b.Fatalf("reply %q", reply)
		}
		d.at.Index++
	}
}

func BenchmarkApplyReplay(b *testing.B) {
	d, ids := grown(b, 1)
	command := encodeCommand(&Debit{Key: "debit", Account: ids[0], Amount: 1250})
	d.m.Apply(d.at, command)
	b.ReportAllocs()
	for b.Loop() {
		d.m.Apply(d.at, command)
	}
}

// BenchmarkSnapshot at 100,000 accounts and 400,000 keys: capture is what Apply waits for, write runs beside it.
func BenchmarkSnapshot(b *testing.B) {
	d, _ := grown(b, 100_000)
	write, err := d.m.Snapshot()
	b.Run("capture", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if write, err = d.m.Snapshot(); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("write", func(b *testing.B) {
		for b.Loop() {
			if err := write(io.Discard); err != nil {
				b.Fatal(err)
			}
		}
	})
}
