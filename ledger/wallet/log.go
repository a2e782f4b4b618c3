package wallet

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"sync"
	"sync/atomic"

	"github.com/weir-cluster/weir/ledger"
	"github.com/weir-cluster/weir/ledger/journal"
)

// The records of the spend log. Append only.
const (
	recordBegun = iota + 1 // an incarnation: number
	recordLent             // an allowance: id, amount, home, account. Before any draw from it
	recordItem             // an item: id of the allowance, number, amount, keyed, key, memo. Before the draw is answered
	recordEnded            // the ledger has confirmed the end of an allowance: id
)

const segmentBytesMin = 64 << 10

// spendLog keeps what the ledger does not have yet where a killed process finds it again. It is one journal.
type spendLog struct {
	w       *Wallet
	journal *journal.Journal
	failed  atomic.Bool
	full    atomic.Bool
	bytes   atomic.Int64

	mu     sync.Mutex // guards what follows, and makes one writer of many
	seq    uint64
	record []byte
}

// openLog reads what an earlier life left, and goes on in the same log.
func (w *Wallet) openLog() (err error) {
	l := &spendLog{w: w}
	c := journal.DefaultConfig()
	c.SegmentBytes, c.RetainBytes, c.RetainFor = max(w.c.LogBytes/32, segmentBytesMin), w.c.LogBytes, 0
	c.Now, c.Logger, c.Files, c.Floor = w.c.Now, w.c.Logger, w.c.Log, l.floor
	if l.journal, err = journal.Open("of spending", c); err != nil {
		return err
	}
	l.seq = l.journal.Newest()
	if err := w.replay(l); err != nil {
		_ = l.journal.Close()
		return fmt.Errorf("replay spend log: %w", err)
	}
	w.log = l
	l.measure()
	l.append(recordBegun, func(b []byte) []byte { return binary.AppendUvarint(b, w.c.Incarnation) })
	return l.flush()
}

// ready tells whether draws may count on the log.
func (l *spendLog) ready() bool { return !l.failed.Load() && !l.full.Load() }

// measure looks how large the log is.
func (l *spendLog) measure() {
	s := l.journal.Stats()
	l.bytes.Store(s.Bytes)
	l.full.Store(s.Bytes > l.w.c.LogBytes/4*3)
	if s.Failed {
		l.failed.Store(true)
	}
}

// floor is the first record that is still needed: that of the oldest allowance that is not over.
func (l *spendLog) floor() uint64 {
	l.w.mu.RLock()
	defer l.w.mu.RUnlock()
	lowest := uint64(math.MaxUint64)
	for p := range l.w.lending {
		p.mu.Lock()
		for _, a := range p.all {
			lowest = min(lowest, a.logged)
		}
		p.mu.Unlock()
	}
	return lowest
}

// append writes a record, and returns its seq, 0 if that failed: then draws go elsewhere from now on.
func (l *spendLog) append(kind byte, rest func(b []byte) []byte) uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.record = rest(append(l.record[:0], kind))
	if err := l.journal.Append(l.seq+1, l.record); err != nil {
		l.fail(err)
		return 0
	}
	l.seq++
	return l.seq
}

func (l *spendLog) fail(err error) {
	if !errors.Is(err, journal.ErrClosed) && !l.failed.Swap(true) {
		l.w.c.Logger.Error("the spend log takes no draws any more: they go to the ledger", "error", err)
	}
	l.failed.Store(true)
}

// flush hands what was appended to the operating system, or to the disk.
func (l *spendLog) flush() error {
	sync := l.journal.Flush
	if l.w.c.Sync {
		sync = l.journal.Sync
	}
	err := sync()
	if err != nil {
		l.fail(err)
	}
	return err
}

// lent keeps a new allowance and tells whether that was done.
func (l *spendLog) lent(a *allowance) bool {
	a.logged = l.append(recordLent, func(b []byte) []byte {
		b = binary.AppendUvarint(b, a.id)
		b = binary.AppendVarint(b, int64(a.amount))
		return appendText(appendText(b, a.home), a.purse.account)
	})
	return a.logged != 0
}

// item keeps a draw, or one undone. When this fails it stands all the same, and this process reports it.
func (l *spendLog) item(s *step) {
	if l.append(recordItem, func(b []byte) []byte { return appendItem(b, s.from.id, s.at, &s.item) }) != 0 {
		_ = l.flush() // noted there
	}
}

// ended keeps that an allowance is over. It need not be durable: a report that is repeated changes nothing.
func (l *spendLog) ended(a *allowance) {
	l.append(recordEnded, func(b []byte) []byte { return binary.AppendUvarint(b, a.id) })
}

func (l *spendLog) close() {
	l.failed.Store(true)
	_ = l.journal.Close()
}

// keep puts a step into the spend log; only then it may be reported, and answered.
func (w *Wallet) keep(s step) {
	if w.log == nil || s.item.ID == "" {
		return
	}
	w.log.item(&s)
	s.from.purse.mu.Lock()
	defer s.from.purse.mu.Unlock()
	if it := s.from.item(s.at); it != nil {
		it.kept = true
	}
}

func appendText(b []byte, text string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(text))), text...)
}

func appendItem(b []byte, allowance, n uint64, it *ledger.Item) []byte {
	b = binary.AppendUvarint(binary.AppendUvarint(b, allowance), n)
	keyed := byte(0)
	if it.Keyed {
		keyed = 1
	}
	return appendText(appendText(append(binary.AppendVarint(b, int64(it.Amount)), keyed), it.ID), it.Memo)
}

// replay reads the whole log.
func (w *Wallet) replay(l *spendLog) error {
	const records, bytes = 4096, 4 << 20
	past := newPast(w)
	after := max(l.journal.Oldest(), 1) - 1
	for {
		found, err := l.journal.Scan(context.Background(), after, records, bytes)
		missing := (*journal.MissingError)(nil)
		switch {
		case errors.As(err, &missing) && missing.Next > after+1:
			w.c.Logger.Error("records of the spend log are missing", "from", after+1, "to", missing.Next-1)
			after = missing.Next - 1
			continue
		case err != nil:
			return err
		case len(found) == 0:
			past.adopt()
			return nil
		}
		for _, record := range found {
			after++
			if err := past.read(after, record); err != nil {
				return fmt.Errorf("record %d: %w", after, err)
			}
		}
	}
}
