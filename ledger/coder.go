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
// Texts that were read share the memory of what they were read from. After the first fault it does nothing more; err tells.
type coder struct {
	b       []byte // written so far
	in      string // not yet read
	reading bool
	format  uint8 // the version of what is read or written
	err     error
}

// reader returns a coder that reads text.
func reader(text string) coder { return coder{in: text, reading: true} }

// fail notes the first fault; there is nothing to read after it.
func (c *coder) fail(err error) {
	if c.err == nil {
		c.err = err
	}
	c.in = ""
}

// take returns the next n bytes, or none if they are not there.
func (c *coder) take(n int) string {
	if n > len(c.in) {
		c.fail(errShort)
		return ""
	}
	t := c.in[:n]
	c.in = c.in[n:]
	return t
}

// end is called after the last field.
func (c *coder) end() error {
	if c.reading && len(c.in) > 0 {
		c.fail(errTrailing)
	}
	return c.err
}

func (c *coder) byte(v *uint8) {
	if !c.reading {
		c.b = append(c.b, *v)
	} else if t := c.take(1); t != "" {
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
	if len(c.in) > 0 && c.in[0] < 0x80 { // most are small
		*v, c.in = uint64(c.in[0]), c.in[1:]
		return
	}
	c.long(v)
}

// long reads a number of two bytes or more.
func (c *coder) long(v *uint64) {
	var u uint64
	for i := range min(len(c.in), binary.MaxVarintLen64) {
		b := c.in[i]
		if b >= 0x80 {
			u |= uint64(b&0x7f) << (7 * i)
			continue
		}
		switch {
		case i == binary.MaxVarintLen64-1 && b > 1:
			c.fail(errRange)
		case i > 0 && b == 0:
			c.fail(errCanonical)
		default:
			*v, c.in = u|uint64(b)<<(7*i), c.in[i+1:]
		}
		return
	}
	if len(c.in) < binary.MaxVarintLen64 {
		c.fail(errShort)
		return
	}
	c.fail(errRange)
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

// instant keeps a time in nanoseconds that is never most of the time.
func (c *coder) instant(v *int64) {
	n := *v
	if n == never {
		n = 0
	}
	c.int(&n)
	if c.reading {
		if *v = n; n == 0 {
			*v = never
		}
	}
}

// duration keeps nanoseconds.
func (c *coder) duration(v *time.Duration) {
	n := int64(*v)
	c.int(&n)
	if c.reading {
		*v = time.Duration(n)
	}
}

// count writes n or reads a length, at most max and never more than there are bytes left.
func (c *coder) count(n, max int) int {
	u := uint64(n)
	c.uint(&u)
	if c.reading && (c.err != nil || u > uint64(min(max, len(c.in)))) {
		c.fail(errRange)
		return 0
	}
	return int(u)
}

func (c *coder) text(v *string, max int) {
	n := c.count(len(*v), max)
	if !c.reading {
		c.b = append(c.b, *v...)
	} else if *v = c.take(n); !utf8.ValidString(*v) {
		c.fail(errCanonical)
	}
}

// bytes reads and writes a text that need not be UTF-8.
func (c *coder) bytes(v *string) {
	n := c.count(len(*v), math.MaxInt32)
	if !c.reading {
		c.b = append(c.b, *v...)
	} else {
		*v = c.take(n)
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

// since tells whether a shape has what came with a version. A coder without one is of the newest.
func (c *coder) since(version uint8) bool { return c.format == 0 || c.format >= version }

// version writes the newest format, or reads one and refuses those after it.
func (c *coder) version(newest uint8) {
	c.format = newest
	c.byte(&c.format)
	if c.err == nil && c.format > newest {
		c.fail(fmt.Errorf("%w: version %d, this is %d", ErrNewer, c.format, newest))
	} else if c.format == 0 {
		c.fail(errRange)
	}
}

// list reads and writes up to max shapes. Reading uses the memory that *all has, and leaves an empty list as it was, so
// that none stays nil.
func list[T any](c *coder, all *[]T, max int, each func(*T, *coder)) {
	n := c.count(len(*all), max)
	if !c.reading {
		for i := range *all {
			each(&(*all)[i], c)
		}
		return
	}
	*all = (*all)[:0]
	for i := 0; i < n && c.err == nil; i++ {
		var one T
		*all = append(*all, one)
		each(&(*all)[i], c)
	}
}
