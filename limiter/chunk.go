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
//	version byte, sequence, number, 0 or 1 + how long ago the partition lost its state
//	of each bucket: 8 + 4 bytes of the key, its kind (a byte), and
//	  tokens  ns until the debt is earned, fraction
//	  window  when it ends in Unix ms, units: a window's end is its name, the same for every node; all else is by age
//	  runs    how many, of each: ns until it ends less that of the one before, 2 * units + 1 if it is a slot's, its 16 bytes
//	  more    runs that belong to the bucket that the chunk before ended with
//
// Buckets are in the order of their places and then of hi. There is one way to write a chunk, and others are refused.
const chunkVersion = 1

const more = runs + 1

type chunk struct {
	sequence, number uint64
	coldAge          uint64 // + 1; 0 for a partition that is not cold
	records          []record
}

type record struct {
	lo   uint64
	hi   uint32
	kind kind
	ends uint64 // of tokens and window
	low  uint64 // their fraction or units
	runs []run  // ends is relative
}

func (r *record) place() uint64 { return place(r.lo, r.hi) }

// follows says whether a key comes after another one.
func follows(place uint64, hi uint32, otherPlace uint64, otherHi uint32) bool {
	return place > otherPlace || place == otherPlace && hi > otherHi
}

func (c *chunk) appendHead(b []byte) []byte {
	b = append(b, chunkVersion)
	b = binary.AppendUvarint(b, c.sequence)
	b = binary.AppendUvarint(b, c.number)
	return binary.AppendUvarint(b, c.coldAge)
}

func (r *record) append(b []byte) []byte {
	b = binary.LittleEndian.AppendUint64(b, r.lo)
	b = binary.LittleEndian.AppendUint32(b, r.hi)
	b = append(b, byte(r.kind))
	if r.kind < runs {
		b = binary.AppendUvarint(b, r.ends)
		return binary.AppendUvarint(b, r.low)
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
	c.sequence, c.number, c.coldAge = r.number(1<<64-1), r.number(1<<32-1), r.number(momentMax)
	for len(r.rest) > 0 && !r.bad {
		n := r.record()
		if i := len(c.records); i > 0 && !r.bad {
			o := &c.records[i-1]
			r.bad = n.kind == more || !follows(n.place(), n.hi, o.place(), o.hi)
		}
		c.records = append(c.records, n)
	}
	if r.bad {
		return chunk{}, fmt.Errorf("%w: bad record %d", ErrChunk, len(c.records))
	}
	again := c.appendHead(make([]byte, 0, len(b)))
	for i := range c.records {
		again = c.records[i].append(again)
	}
	if !bytes.Equal(again, b) {
		return chunk{}, fmt.Errorf("%w: not as it would be written", ErrChunk)
	}
	return c, nil
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

func (r *chunkReader) record() (n record) {
	n.lo = binary.LittleEndian.Uint64(r.bytes(8))
	n.hi = binary.LittleEndian.Uint32(r.bytes(4))
	n.kind = kind(r.bytes(1)[0])
	switch n.kind {
	case tokens:
		n.ends, n.low = r.number(debtMax), r.number(fractionMax-1)
		r.bad = r.bad || n.ends == 0
	case window:
		n.ends, n.low = r.number(momentMax/msNs), r.number(unitsMax)
	case runs, more:
		r.runs(&n)
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
