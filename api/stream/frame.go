package stream

import (
	"errors"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// Messages are read and written by hand, so that checks and outcomes pass through as the bytes that they are.

// append appends the call to the checks of a CheckStreamRequest.
func (k *Call) append(b []byte, now time.Time) []byte {
	var leftMs uint64 // zero: the server's own
	if !k.due.IsZero() {
		leftMs = uint64(max(1, k.due.Sub(now).Milliseconds()))
	}
	size := sizeNumber(k.id) + 1 + protowire.SizeBytes(len(k.Check)) + sizeNumber(leftMs) + sizeNumber(k.Epoch) + sizeNumber(k.Origin)
	b = protowire.AppendTag(b, 1, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(size))
	b = appendNumber(b, 1, k.id)
	b = protowire.AppendTag(b, 2, protowire.BytesType)
	b = protowire.AppendString(b, k.Check)
	b = appendNumber(b, 3, leftMs)
	b = appendNumber(b, 4, k.Epoch)
	return appendNumber(b, 5, k.Origin)
}

// sizeNumber is how many bytes appendNumber appends for a field of at most number 15.
func sizeNumber(n uint64) int {
	if n == 0 {
		return 0
	}
	return 1 + protowire.SizeVarint(n)
}

func appendNumber(b []byte, field protowire.Number, n uint64) []byte {
	if n == 0 {
		return b
	}
	return protowire.AppendVarint(protowire.AppendTag(b, field, protowire.VarintType), n)
}

// errMalformed is why a message breaks its stream.
var errMalformed = errors.New("a malformed message")

// nextOutcome reads the first StreamedOutcome of an encoded CheckStreamResponse, and returns what stands behind it. The
// id is zero, which is nobody's, when there is none.
func nextOutcome(m []byte) (id uint64, outcome, rest []byte, err error) {
	field, kind, value, rest := nextField(m)
	if rest == nil {
		return 0, nil, nil, errMalformed
	}
	if field != 1 || kind != protowire.BytesType {
		return 0, nil, rest, nil
	}
	for m := value; len(m) > 0; {
		var n int
		field, kind, value, m = nextField(m)
		switch {
		case m == nil:
			return 0, nil, nil, errMalformed
		case field == 1 && kind == protowire.VarintType:
			if id, n = protowire.ConsumeVarint(value); n < 0 {
				return 0, nil, nil, errMalformed
			}
		case field == 2 && kind == protowire.BytesType && outcome == nil:
			outcome = value
		case field == 2 && kind == protowire.BytesType:
			outcome = append(outcome[:len(outcome):len(outcome)], value...) // parts of a message are one
		}
	}
	return id, outcome, rest, nil
}

// nextField cuts the first field off a message: its value, without the length if it has one, and what stands behind it,
// which is nil only for a malformed message.
func nextField(m []byte) (field protowire.Number, kind protowire.Type, value, rest []byte) {
	field, kind, tag := protowire.ConsumeTag(m)
	if tag < 0 {
		return 0, 0, nil, nil
	}
	n := protowire.ConsumeFieldValue(field, kind, m[tag:])
	if n < 0 {
		return 0, 0, nil, nil
	}
	value, rest = m[tag:tag+n], m[tag+n:]
	if kind == protowire.BytesType {
		value, _ = protowire.ConsumeBytes(value)
	}
	return field, kind, value, rest
}
