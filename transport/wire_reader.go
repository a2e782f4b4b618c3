package transport

import (
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

// value returns the bytes of what has a length.
func (r *reader) value() string {
	n := r.varint()
	if n > uint64(r.end-r.at) {
		r.fail()
		return ""
	}
	r.at += int(n)
	return r.text[r.at-int(n) : r.at]
}

func (r *reader) string() string {
	s := r.value()
	if !utf8.ValidString(s) {
		r.fail()
	}
	return s
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
