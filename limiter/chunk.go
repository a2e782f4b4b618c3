package limiter

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
)

// ErrChunk is wrapped by the error for bytes that are no chunk of this version.
var ErrChunk = errors.New("invalid chunk")

// A chunk is, all numbers unsigned varints but where bytes are said:
//
//	version byte, sequence, number
//	0 or 1 + how long ago the partition lost its state, 0 or 1 + how long ago it was inherited
//	scope byte; if it says so, the 8 + 4 bytes of the key that the chunk begins behind
//	of each bucket: 8 + 4 bytes of the key, its kind (a byte), and
//	  tokens  ns until the debt is earned, fraction
//	  window  when it ends in Unix ms, units: a window's end is its name, the same for every node; all else is by age
//	  runs    how many, of each: ns until it ends less that of the one before, 2 * units + 1 if it is a slot's, its 16 bytes
//	  gone    nothing: there is no such bucket any more
//
// Buckets are in the order of their spots. There is one way to write a chunk, and others are refused.
const chunkVersion = 2

const gone = runs + 1

// The scope of a chunk: a stretch of the partition, where what it does not name is gone; or, 0, only what it names.
const (
	covers = 1 << iota // a stretch: from the first spot, to its last bucket's
	behind             // not from the first, but from behind a key
	onward             // to the end
)

// spot is where a bucket stands in the order of chunks, which is that of the table's pages.
type spot struct {
	place uint64
	hi    uint32
}

func (s spot) before(o spot) bool { return s.place < o.place || s.place == o.place && s.hi < o.hi }

func (k Key) spot() spot { return spot{k.place(), uint32(k.Hi)} }

func (e *entry) spot() spot { return spot{place(e.lo, e.hi), e.hi} }

type chunk struct {
	sequence, number uint64
	coldAge          uint64 // + 1; 0 for a partition that is not cold
	inheritedAge     uint64 // the same
	scope            byte
	behind           Key
	records          []record
	owed             []record // that the source does not know of; no part of the bytes
}

type record struct {
	lo   uint64
	hi   uint32
	kind kind
	ends uint64 // of tokens and window
	low  uint64 // their fraction or units
	runs []run  // ends is relative
}

func (r *record) key() Key { return Key{Hi: uint64(r.hi), Lo: r.lo} }

func appendKey(b []byte, lo uint64, hi uint32) []byte {
	return binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint64(b, lo), hi)
}

// appendHead writes all but the records, and returns where it wrote the scope.
func (c *chunk) appendHead(b []byte) (out []byte, scope int) {
	b = append(b, chunkVersion)
	for _, n := range [...]uint64{c.sequence, c.number, c.coldAge, c.inheritedAge} {
		b = binary.AppendUvarint(b, n)
	}
	scope = len(b)
	if b = append(b, c.scope); c.scope&behind != 0 {
		b = appendKey(b, c.behind.Lo, uint32(c.behind.Hi))
	}
	return b, scope
}

func (r *record) append(b []byte) []byte {
	b = append(appendKey(b, r.lo, r.hi), byte(r.kind))
	switch r.kind {
	case tokens, window:
		b = binary.AppendUvarint(b, r.ends)
		return binary.AppendUvarint(b, r.low)
	case gone:
		return b
	}
	b = binary.AppendUvarint(b, uint64(len(r.runs)))
	before := int64(0)
	for _, u := range r.runs {
		b = binary.AppendUvarint(b, uint64(u.ends-before))
		before = u.ends
		if u.slot == (Key{}) {
			b = binary.AppendUvarint(b, uint64(u.units)<<1)
			continue
		}
		b = binary.AppendUvarint(b, uint64(u.units)<<1|1)
		b = binary.LittleEndian.AppendUint64(b, u.slot.Hi)
		b = binary.LittleEndian.AppendUint64(b, u.slot.Lo)
	}
	return b
}

// decodeChunk is strict: what it accepts, it would write the same way.
func decodeChunk(b []byte) (c chunk, err error) {
	if len(b) == 0 || b[0] != chunkVersion {
		return c, fmt.Errorf("%w: not version %d", ErrChunk, chunkVersion)
	}
	r := &chunkReader{rest: b[1:]}
	c.sequence, c.number, c.coldAge, c.inheritedAge = r.number(1<<64-1), r.number(momentMax), r.number(momentMax), r.number(momentMax)
	if c.scope = r.bytes(1)[0]; c.scope&behind != 0 {
		c.behind = r.key()
	}
	r.bad = r.bad || c.scope >= onward<<1 || c.scope != 0 && c.scope&covers == 0
	for last := c.behind.spot(); len(r.rest) > 0 && !r.bad; {
		n := r.record()
		at := n.key().spot()
		r.bad = r.bad || n.kind == gone && c.scope != 0 || !last.before(at) && (len(c.records) > 0 || c.scope&behind != 0)
		c.records, last = append(c.records, n), at
	}
	if r.bad || c.scope != 0 && c.scope&onward == 0 && len(c.records) == 0 {
		return chunk{}, fmt.Errorf("%w: bad record %d", ErrChunk, len(c.records))
	}
	again, _ := c.appendHead(make([]byte, 0, len(b)))
	for i := range c.records {
		again = c.records[i].append(again)
	}
	if !bytes.Equal(again, b) {
		return chunk{}, fmt.Errorf("%w: not as it would be written", ErrChunk)
	}
	return c, nil
}

// grow has the chunk be older: by then debts are earned, runs have ended, and windows end when they do.
func (c *chunk) grow(older int64) {
	for _, age := range [...]*uint64{&c.coldAge, &c.inheritedAge} {
		if *age > 0 {
			*age = min(momentMax, *age+uint64(older))
		}
	}
	for i := range c.records {
		switch r := &c.records[i]; r.kind {
		case tokens:
			if r.ends <= uint64(older) {
				r.kind = gone
			}
			r.ends -= uint64(older)
		case runs:
			kept := r.runs[:0]
			for _, u := range r.runs {
				if u.ends -= older; u.ends > 0 {
					kept = append(kept, u)
				}
			}
			if r.runs = kept; len(kept) == 0 {
				r.kind = gone
			}
		}
	}
}

// chunkReader reads until something is bad; then it reads zeros.
type chunkReader struct {
	rest []byte
	bad  bool
}

func (r *chunkReader) number(most uint64) uint64 {
	v, n := binary.Uvarint(r.rest)
	if n <= 0 || v > most || r.bad {
		r.bad = true
		return 0
	}
	r.rest = r.rest[n:]
	return v
}

func (r *chunkReader) bytes(n int) []byte {
	if len(r.rest) < n || r.bad {
		r.bad = true
		return make([]byte, n)
	}
	b := r.rest[:n]
	r.rest = r.rest[n:]
	return b
}

func (r *chunkReader) key() Key {
	return Key{Lo: binary.LittleEndian.Uint64(r.bytes(8)), Hi: uint64(binary.LittleEndian.Uint32(r.bytes(4)))}
}

func (r *chunkReader) record() (n record) {
	k := r.key()
	n.lo, n.hi = k.Lo, uint32(k.Hi)
	n.kind = kind(r.bytes(1)[0])
	switch n.kind {
	case tokens:
		n.ends, n.low = r.number(debtMax), r.number(fractionMax-1)
		r.bad = r.bad || n.ends == 0
	case window:
		n.ends, n.low = r.number(momentMax/msNs), r.number(unitsMax)
	case runs:
		r.runs(&n)
	case gone:
	default:
		r.bad = true
	}
	return n
}

func (r *chunkReader) runs(n *record) {
	many := r.number(uint64(len(r.rest)))
	ends, sum := uint64(0), uint64(0)
	r.bad = r.bad || many == 0
	for ; many > 0 && !r.bad; many-- {
		step, units := r.number(momentMax), r.number(2*unitsMax+1)
		u := run{units: int64(units >> 1)}
		if units&1 == 1 {
			u.slot.Hi = binary.LittleEndian.Uint64(r.bytes(8))
			u.slot.Lo = binary.LittleEndian.Uint64(r.bytes(8))
			r.bad = r.bad || u.slot == Key{}
		}
		ends += step
		sum += units >> 1
		u.ends = int64(ends)
		r.bad = r.bad || ends == 0 || ends > momentMax || units < 2 || sum > unitsMax
		n.runs = append(n.runs, u)
	}
}
