package transport

import (
	"encoding/binary"
	"fmt"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/weir-cluster/weir/policy"
)

// reader reads a message by hand, as the generated code does: fields in any order, unknown ones skipped, the last of
// several scalars, UTF-8 in strings. What is malformed ends it, and then failed is set.
type reader struct {
	data    []byte // gRPC's, and reused once the message is decoded
	text    string // the same bytes in a copy that lives on: strings are cut from it
	at, end int    // what is to be read of the message, or of the part that was entered
	ascii   bool   // what is to be read has no byte above 0x7f
	failed  bool
}

func newReader(data []byte) reader { return reader{data: data, text: string(data), end: len(data)} }

// more reports whether a field is to come.
func (r *reader) more() bool { return r.at < r.end }

func (r *reader) fail() { r.at, r.end, r.failed = 0, 0, true }

// err is why the message cannot be read.
func (r *reader) err() error {
	if r.failed {
		return fmt.Errorf("%w: the message is malformed", policy.ErrInvalid)
	}
	return nil
}

func (r *reader) varint() uint64 {
	if r.at < r.end && r.data[r.at] < 0x80 {
		r.at++
		return uint64(r.data[r.at-1])
	}
	return r.longVarint()
}

func (r *reader) longVarint() uint64 {
	v, n := protowire.ConsumeVarint(r.data[r.at:r.end])
	if n < 0 {
		r.fail()
		return 0
	}
	r.at += n
	return v
}

// tag reads a field's number and type, as number and sized make them.
func (r *reader) tag() uint64 {
	t := r.varint()
	if n := t >> 3; n-1 >= uint64(protowire.MaxValidNumber) {
		r.fail()
	}
	return t
}

// Tags of the fields with a number: of one that is a number, and of one that has a length.
func number(field uint64) uint64 { return field<<3 | uint64(protowire.VarintType) }
func sized(field uint64) uint64  { return field<<3 | uint64(protowire.BytesType) }

// enter begins to read what has a length, so that there is more until its end; leave goes on behind it.
func (r *reader) enter() (outer int) {
	outer = r.end
	n := r.varint()
	if n > uint64(r.end-r.at) {
		r.fail()
		return 0
	}
	r.end = r.at + int(n)
	return outer
}

func (r *reader) leave(outer int) {
	if !r.failed {
		r.at, r.end = r.end, outer
	}
}

// span passes over what has a length and returns where it was.
func (r *reader) span() (from, to int) {
	n := r.varint()
	if n > uint64(r.end-r.at) {
		r.fail()
		return 0, 0
	}
	r.at += int(n)
	return r.at - int(n), r.at
}

// value returns the bytes of what has a length.
func (r *reader) value() string {
	from, to := r.span()
	return r.text[from:to]
}

// part returns the same where they are, good as long as the message is. With it parts of a message that comes in several
// become one.
func (r *reader) part(before []byte) []byte {
	from, to := r.span()
	if before == nil {
		return r.data[from:to]
	}
	return append(before[:len(before):len(before)], r.data[from:to]...)
}

func (r *reader) string() string {
	s := r.value()
	if !r.ascii && !utf8.ValidString(s) {
		r.fail()
	}
	return s
}

// scan looks once for what most parts with many strings have none of, so that no string needs to be looked at.
func (r *reader) scan() {
	part := r.data[r.at:r.end]
	for ; len(part) >= 8; part = part[8:] {
		if binary.LittleEndian.Uint64(part)&0x8080808080808080 != 0 {
			return
		}
	}
	var rest byte
	for _, c := range part {
		rest |= c
	}
	r.ascii = rest < 0x80
}

func (r *reader) bool() bool { return protowire.DecodeBool(r.varint()) }

// unknown skips a field that nobody here knows.
func (r *reader) unknown(tag uint64) {
	if r.failed {
		return
	}
	n := protowire.ConsumeFieldValue(protowire.Number(tag>>3), protowire.Type(tag&7), r.data[r.at:r.end])
	if n < 0 {
		r.fail()
		return
	}
	r.at += n
}
