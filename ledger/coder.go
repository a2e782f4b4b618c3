package ledger

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"
	"unicode/utf8"
)

// Faults of an encoding, wrapped by whoever knows what was being read.
var (
	errShort     = errors.New("ends too early")
	errTrailing  = errors.New("goes on after its end")
	errCanonical = errors.New("is not in its one canonical form")
	errRange     = errors.New("holds a value out of range")
)

// coder writes or reads a shape. One method lists the fields of a shape for both directions, so that what is
// written and what is read cannot drift apart. Every value has exactly one encoding, and reading refuses all
// others: equal contents are equal bytes, which is what hashes of intents and states rely on.
// Writing changes no field, for others may be reading it. After the first fault it does nothing more; err tells.
type coder struct {
	b       []byte // written so far, or not yet read
	reading bool
	err     error
}

func (c *coder) fail(err error) {
	if c.err == nil {
		c.err = err
	}
}

// take returns the next n bytes, nil if they are not there.
func (c *coder) take(n int) []byte {
	if c.err != nil || n > len(c.b) {
		c.fail(errShort)
		return nil
	}
	t := c.b[:n]
	c.b = c.b[n:]
	return t
}

// end is called after the last field.
func (c *coder) end() error {
	if c.reading && len(c.b) > 0 {
		c.fail(errTrailing)
	}
	return c.err
}

func (c *coder) byte(v *uint8) {
	if !c.reading {
		c.b = append(c.b, *v)
	} else if t := c.take(1); t != nil {
		*v = t[0]
	}
}

// word reads and writes a byte that must be less than n.
func (c *coder) word(v *uint8, n uint8) {
	c.byte(v)
	if c.reading && *v >= n {
		c.fail(errRange)
		*v = 0
	}
}

func (c *coder) flag(v *bool) {
	var b uint8
	if *v {
		b = 1
	}
	c.word(&b, 2)
	if c.reading {
		*v = b == 1
	}
}

func (c *coder) uint(v *uint64) {
	if !c.reading {
		c.b = binary.AppendUvarint(c.b, *v)
		return
	}
	if c.err != nil {
		return
	}
	u, n := binary.Uvarint(c.b)
	switch {
	case n == 0:
		c.fail(errShort)
	case n < 0:
		c.fail(errRange)
	case n > 1 && c.b[n-1] == 0:
		c.fail(errCanonical)
	default:
		*v, c.b = u, c.b[n:]
	}
}

func (c *coder) int(v *int64) {
	u := uint64(*v)<<1 ^ uint64(*v>>63)
	c.uint(&u)
	if c.reading {
		*v = int64(u>>1) ^ -int64(u&1)
	}
}

func (c *coder) credits(v *Credits) {
	n := int64(*v)
	c.int(&n)
	if c.reading {
		*v = Credits(n)
	}
}

// time keeps nanoseconds; the zero time is 0, and what is read is UTC.
func (c *coder) time(v *time.Time) {
	var n int64
	if !v.IsZero() {
		n = v.UnixNano()
	}
	c.int(&n)
	if c.reading {
		if *v = (time.Time{}); n != 0 {
			*v = time.Unix(0, n).UTC()
		}
	}
}

// count writes n or reads a length, at most max and never more than there are bytes left.
func (c *coder) count(n, max int) int {
	u := uint64(n)
	c.uint(&u)
	if c.reading && (c.err != nil || u > uint64(min(max, len(c.b)))) {
		c.fail(errRange)
		return 0
	}
	return int(u)
}

func (c *coder) text(v *string, max int) {
	n := c.count(len(*v), max)
	if !c.reading {
		c.b = append(c.b, *v...)
	} else if *v = string(c.take(n)); !utf8.ValidString(*v) {
		c.fail(errCanonical)
	}
}

func (c *coder) bytes(v *[]byte) {
	n := c.count(len(*v), math.MaxInt32)
	if !c.reading {
		c.b = append(c.b, *v...)
	} else if n > 0 {
		*v = append([]byte(nil), c.take(n)...)
	}
}

// fixed fills v, whose length both sides know.
func (c *coder) fixed(v []byte) {
	if !c.reading {
		c.b = append(c.b, v...)
	} else {
		copy(v, c.take(len(v)))
	}
}

// version writes the newest format, or reads one and refuses those after it.
func (c *coder) version(newest uint8) {
	v := newest
	c.byte(&v)
	if c.err == nil && v > newest {
		c.fail(fmt.Errorf("%w: version %d, this is %d", ErrNewer, v, newest))
	} else if v == 0 {
		c.fail(errRange)
	}
}
