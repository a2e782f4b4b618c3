package policy

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/weir-cluster/weir/ledger"
	"github.com/weir-cluster/weir/limiter"
)

// A chunk of records is a byte for its format, the version of the sender's policy, and records, each after a byte for its
// kind. The forms below list what a record holds. Times are told by what is left of them, but for the end of a window,
// which is its name, the same for every node.
const recordsFormat uint8 = 1

const (
	kindReservation uint8 = iota + 1
	kindFirst
)

const (
	wireTextMax    = 1 << 20
	leftMax        = int64(durationMax)
	windowEndMaxMs = int64(1<<62) / int64(time.Millisecond)
)

// appendHead begins a chunk.
func appendHead(b []byte, p *Policy) []byte {
	c := &coder{b: b}
	version := uint64(0)
	if p != nil {
		version = p.version
	}
	c.version(recordsFormat)
	c.uint(&version)
	return c.b
}

// chunkForm is a chunk. Records may be of both kinds, in any order.
type chunkForm struct {
	version      uint64
	reservations []reservationForm
	firsts       []firstForm
}

// readChunk is strict: what it accepts, Changes would write the same way. The error names the record.
func readChunk(p uint16, b []byte) (f chunkForm, err error) {
	c := &coder{b: b, reading: true}
	c.version(recordsFormat)
	c.uint(&f.version)
	for n := 1; c.err == nil && len(c.b) > 0; n++ {
		var kind uint8
		switch c.byte(&kind); kind {
		case kindReservation:
			var r reservationForm
			if r.fields(c); c.err != nil {
				return f, fmt.Errorf("record %d, reservation %s of account %q: %w", n, reservationID(p, r.id), short(r.account), c.err)
			}
			f.reservations = append(f.reservations, r)
		case kindFirst:
			var r firstForm
			if r.fields(c); c.err != nil {
				return f, fmt.Errorf("record %d, idempotency key %q of account %q: %w", n, short(r.key.key), short(r.key.account), c.err)
			}
			f.firsts = append(f.firsts, r)
		default:
			return f, fmt.Errorf("record %d is of kind %d, which this release does not know", n, kind)
		}
	}
	return f, c.err
}

// reservationForm is a reservation on its way.
type reservationForm struct {
	id                     ulid.ULID
	left                   int64 // ns until it ends
	revision               uint64
	domain, account, payer string
	order                  []ledger.Kind
	priced                 bool
	meters                 []meterForm
	limits                 []limitForm
	debits                 []debit
	draws                  int64
	cost                   ledger.Credits // of the step; 0 when there is none
	ended                  bool
	last                   [sha256.Size]byte
	answer                 Settled
}

// meterForm is what a reservation has of one meter.
type meterForm struct {
	name             string
	charged, spilled int64
	price            int64 // pico-credits a unit
	more, short      int64 // of the step
}

// limitForm is what a reservation took from one limit.
type limitForm struct {
	name      string
	algorithm limiter.Algorithm
	meter     int64 // index of meters
	key       limiter.Key
	whole     bool
	spill     bool
	charge    bool
	shadow    bool
	end       int64 // 0 when nothing can be given back any more; of a log ns until then, of a window Unix ms
}

func (r *reservationForm) fields(c *coder) {
	c.fixed(r.id[:])
	c.between(&r.left, 1, leftMax)
	c.uint(&r.revision)
	c.text(&r.domain, wireTextMax)
	c.text(&r.account, wireTextMax)
	c.text(&r.payer, wireTextMax)
	list(c, &r.order, func(k *ledger.Kind) { enum(c, k, ledger.KindCount) })
	c.flag(&r.priced)
	c.between((*int64)(&r.cost), 0, int64(ledger.CreditsMax))
	list(c, &r.meters, func(m *meterForm) { m.fields(c, r.priced, r.cost > 0) })
	if len(r.meters) > metersMax {
		c.fail("it has %d meters", len(r.meters))
	}
	list(c, &r.limits, func(l *limitForm) { l.fields(c, len(r.meters)) })
	list(c, &r.debits, func(d *debit) { d.fields(c) })
	c.between(&r.draws, 0, 1<<31)
	if c.flag(&r.ended); r.ended {
		c.fixed(r.last[:])
		list(c, &r.answer.Sources, func(d *Draw) { d.fields(c) })
		c.between((*int64)(&r.answer.Forgiven), 0, int64(ledger.CreditsMax))
	}
}

func (m *meterForm) fields(c *coder, priced, paying bool) {
	c.text(&m.name, wireTextMax)
	c.between(&m.charged, 0, amountMax)
	c.between(&m.spilled, 0, m.charged)
	if priced {
		c.between(&m.price, 0, priceMax*picoPerCredit)
	}
	if paying {
		c.between(&m.more, 0, amountMax)
		c.between(&m.short, 0, m.more)
	}
}

func (l *limitForm) fields(c *coder, meters int) {
	c.text(&l.name, wireTextMax)
	enum(c, &l.algorithm, int(limiter.Concurrency)+1)
	c.between(&l.meter, 0, int64(meters)-1)
	c.uint(&l.key.Hi)
	c.uint(&l.key.Lo)
	for _, is := range [...]*bool{&l.whole, &l.spill, &l.charge, &l.shadow} {
		c.flag(is)
	}
	switch l.algorithm {
	case limiter.TokenBucket, limiter.Concurrency:
	case limiter.RollingLog:
		c.between(&l.end, 0, leftMax)
	default:
		c.between(&l.end, 0, windowEndMaxMs)
	}
}

func (d *debit) fields(c *coder) {
	c.text(&d.key, wireTextMax)
	list(c, &d.parts, func(p *ledger.Part) {
		enum(c, &p.Kind, ledger.KindCount)
		c.text(&p.Grant, wireTextMax)
		c.between((*int64)(&p.Amount), 0, int64(ledger.CreditsMax))
	})
}

// append writes the reservation as it stands between two settlements' steps.
func (r *reservation) append(b []byte, now time.Time) []byte {
	f := reservationForm{
		id: r.ulid, left: min(int64(r.until.Sub(now)), leftMax), revision: r.revision,
		domain: r.domain.name, account: r.account.ID, payer: r.account.Payer, order: r.order, priced: r.row != nil,
		debits: r.debits, draws: int64(r.draws), ended: r.ended, last: r.last, answer: r.answer,
	}
	under, row := step{}, price{}
	if r.step != nil {
		under, f.cost = *r.step, r.step.cost
	}
	if r.row != nil {
		row = *r.row
	}
	var at [metersMax]int64 // of each of the domain's meters, in f.meters
	for m, name := range r.domain.meters {
		n := meterForm{name, r.charged[m], r.spilled[m], row.per[m], under.more[m], under.short[m]}
		counts := slices.ContainsFunc(r.takes, func(t limiter.Take) bool { return int(t.Meter) == m })
		if at[m] = int64(len(f.meters)); counts || n != (meterForm{name: name}) {
			f.meters = append(f.meters, n)
		}
	}
	for i := range r.takes {
		t := &r.takes[i]
		l := limitForm{
			name: r.limits[i].name, algorithm: t.Limit.Algorithm, meter: at[t.Meter], key: t.Key,
			whole: t.Whole, spill: t.Spill, charge: t.Charge, shadow: t.Shadow, end: r.ends[i],
		}
		if l.algorithm == limiter.RollingLog {
			l.end = max(0, l.end-now.UnixNano())
		} else {
			l.end /= int64(time.Millisecond)
		}
		f.limits = append(f.limits, l)
	}
	c := &coder{b: append(b, kindReservation)}
	f.fields(c)
	return c.b
}
