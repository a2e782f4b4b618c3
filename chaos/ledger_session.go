package chaos

import (
	"fmt"
	"time"
)

// skewMax is how much the clocks of two nodes may differ, beside the jumps of a schedule.
const skewMax = 5 * time.Second

// SessionReads judges L8: what one client is told of an account never goes back, and holds what it was acknowledged, unless
// it asked for less. Whoever names an index is told of it at least, and a read that may be old is not older.
func SessionReads(h *History) Result { return newStudy(h, nil).books().sessionReads() }

func (b *books) sessionReads() Result {
	type session struct {
		client  int
		account string
	}
	out := b.finding("L8", false, "no client read an account after it knew of it")
	told := make(map[session]int32) // the newest answer
	for i := range b.s.h.Ops {
		o := &b.s.h.Ops[i]
		if o.Outcome != OK || o.Reply.Seq == 0 || (o.Kind != Balance && !o.Kind.Writes()) {
			continue
		}
		at := session{o.Client, o.Account}
		last, known := told[at]
		if known && o.Kind == Balance && o.Stale == 0 && b.s.h.Ops[last].Returned < o.Invoked {
			before := &b.s.h.Ops[last].Reply
			out.judging()
			if before.Seq > o.Reply.Seq && (o.MinIndex == 0 || before.Index <= o.MinIndex) {
				out.against(b.s.excerpt(last, int32(i)), fmt.Sprintf("%s: client %d was told seq %d, then seq %d", o.Account, o.Client, before.Seq, o.Reply.Seq))
			}
		}
		if o.Kind == Balance && o.Reply.Index < o.MinIndex {
			out.against(b.s.excerpt(int32(i)), fmt.Sprintf("%s: a read from index %d on was told of %d", o.Account, o.MinIndex, o.Reply.Index))
		}
		if !known || o.Reply.Seq > b.s.h.Ops[last].Reply.Seq {
			told[at] = int32(i)
		}
	}
	b.stale(&out)
	return out
}

// stale looks at reads that may be old: what was acknowledged so long before must be in them.
func (b *books) stale(out *Result) {
	skew := skewMax
	for _, all := range b.s.jumps {
		for _, jump := range all {
			skew += jump
		}
	}
	for _, p := range b.accounts() {
		newest := make([]row, len(p.rows)+1) // of the rows from there on, the one that was answered first
		newest[len(p.rows)].until = forever
		for i := len(p.rows) - 1; i >= 0; i-- {
			if newest[i] = newest[i+1]; !p.rows[i].loose && p.rows[i].until <= newest[i].until {
				newest[i] = p.rows[i]
			}
		}
		for i, r := range p.rows {
			old := b.s.h.Ops[r.op].Stale
			if !r.loose || old == 0 {
				continue
			}
			out.judging()
			for i < len(p.rows) && p.rows[i].seq == r.seq {
				i++
			}
			if after := newest[i]; after.until < r.from-old-skew {
				out.against(b.s.excerpt(after.op, r.op), fmt.Sprintf("%s: seq %d was told by %s, and %s later a read that may be %s old knew of seq %d",
					p.account, after.seq, after.until, r.from-after.until, old, r.seq))
			}
		}
	}
}
