package policy

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"
	"unicode/utf8"
)

// coder writes or reads a shape. One method lists the fields of a shape for both directions, so that what is written
// and what is read cannot drift apart. Every value has exactly one encoding, and reading refuses all others. Writing
// changes no field. After the first fault it does nothing more; err tells.
type coder struct {
	b       []byte // written so far, or not yet read
	reading bool
	err     error
}

func (c *coder) fail(format string, args ...any) {
	if c.err == nil {
		c.err = fmt.Errorf(format, args...)
	}
}

// take returns the next n bytes, nil if they are not there.
func (c *coder) take(n int) []byte {
	if c.err != nil || n > len(c.b) {
		c.fail("it ends too early")
		return nil
	}
	t := c.b[:n]
	c.b = c.b[n:]
	return t
}

// end is called after the last field.
func (c *coder) end() error {
	if c.reading && len(c.b) > 0 {
		c.fail("%d bytes follow its end", len(c.b))
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

func (c *coder) uint(v *uint64) {
	if !c.reading {
		c.b = binary.AppendUvarint(c.b, *v)
		return
	}
	u, n := binary.Uvarint(c.b)
	if c.err != nil || n <= 0 || n > 1 && c.b[n-1] == 0 {
		c.fail("it holds a number that is malformed")
		return
	}
	*v, c.b = u, c.b[n:]
}

func (c *coder) int(v *int64) {
	u := uint64(*v)<<1 ^ uint64(*v>>63)
	c.uint(&u)
	if c.reading {
		*v = int64(u>>1) ^ -int64(u&1)
	}
}

// between is for a number that must not be less than low nor more than high.
func (c *coder) between(v *int64, low, high int64) {
	if c.int(v); c.reading && (*v < low || *v > high) {
		c.fail("it holds a number that cannot be")
		*v = low
	}
}

func (c *coder) flag(v *bool) {
	var b uint8
	if *v {
		b = 1
	}
	if enum(c, &b, 2); c.reading {
		*v = b == 1
	}
}

// enum is for a word of a list of so many.
func enum[T ~uint8](c *coder, v *T, words int) {
	b := uint8(*v)
	if c.byte(&b); !c.reading {
		return
	}
	if int(b) >= words {
		c.fail("it holds a word that this release does not know")
		b = 0
	}
	*v = T(b)
}

// fixed is for bytes whose number both sides know.
func (c *coder) fixed(v []byte) {
	if !c.reading {
		c.b = append(c.b, v...)
	} else {
		copy(v, c.take(len(v)))
	}
}

// list is for any number of elements. None is nil when it is read.
func list[T any](c *coder, all *[]T, each func(*T)) {
	n := c.count(len(*all), math.MaxInt32)
	if !c.reading {
		for i := range *all {
			each(&(*all)[i])
		}
		return
	}
	*all = nil
	for range n {
		if c.err != nil {
			return
		}
		var one T
		each(&one)
		*all = append(*all, one)
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

// count writes n or reads a length, never more than most or than there are bytes left.
func (c *coder) count(n, most int) int {
	u := uint64(n)
	c.uint(&u)
	if c.reading && (c.err != nil || u > uint64(min(most, len(c.b)))) {
		c.fail("it holds a length that cannot be")
		return 0
	}
	return int(u)
}

func (c *coder) text(v *string, most int) {
	n := c.count(len(*v), most)
	if !c.reading {
		c.b = append(c.b, *v...)
	} else if *v = string(c.take(n)); !utf8.ValidString(*v) {
		c.fail("it holds a text that is not UTF-8")
	}
}

// bytes keeps no reference to what is read.
func (c *coder) bytes(v *[]byte, most int) {
	n := c.count(len(*v), most)
	if !c.reading {
		c.b = append(c.b, *v...)
	} else {
		*v = append([]byte(nil), c.take(n)...)
	}
}

// version writes the format, or reads it and refuses any other.
func (c *coder) version(format uint8) {
	v := format
	c.byte(&v)
	if c.err == nil && v != format {
		c.err = errors.New("it is of a format that this release does not know")
	}
}
