package transport

import (
	"slices"
	"strings"

	"github.com/oklog/ulid/v2"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/weir-cluster/weir/policy"
)

// The append functions write messages by hand, straight from what was decided; what they write is read as toDecision's
// message is. A field that is zero is not written. Fields
// above number 15 have a tag of two bytes, which only appendDecision writes.

func appendVarint(b []byte, n uint64) []byte {
	if n < 0x80 {
		return append(b, byte(n))
	}
	return protowire.AppendVarint(b, n)
}

func appendNumber(b []byte, field uint64, n uint64) []byte {
	if n == 0 {
		return b
	}
	if n < 0x80 {
		return append(b, byte(number(field)), byte(n))
	}
	return protowire.AppendVarint(append(b, byte(number(field))), n)
}

func appendBool(b []byte, field uint64, set bool) []byte {
	if !set {
		return b
	}
	return append(b, byte(number(field)), 1)
}

func appendText(b []byte, field uint64, text string) []byte {
	if text == "" {
		return b
	}
	if len(text) < 0x80 {
		return append(append(b, byte(sized(field)), byte(len(text))), text...)
	}
	return append(appendVarint(append(b, byte(sized(field))), uint64(len(text))), text...)
}

// open begins a message in a field of at most number 15, whose length is not known yet; shut ends it.
func open(b []byte, field uint64) (_ []byte, at int) {
	return append(b, byte(sized(field)), 0), len(b) + 2
}

// openLong is open for what is seldom short: it leaves room for a length of two bytes.
func openLong(b []byte, field uint64) (_ []byte, at int) {
	return append(b, byte(sized(field)), 0, 0), len(b) + 3
}

// shutLong is shut for openLong.
func shutLong(b []byte, at int) []byte {
	n := len(b) - at
	if n >= 0x80 && n < 0x4000 {
		b[at-2], b[at-1] = byte(n)|0x80, byte(n>>7)
		return b
	}
	return shut(slices.Delete(b, at-1, at), at-1)
}

// shut writes the length of what was appended since open. Most is short and has its byte; a longer one moves on.
func shut(b []byte, at int) []byte {
	n := len(b) - at
	if n < 0x80 {
		b[at-1] = byte(n)
		return b
	}
	more := protowire.SizeVarint(uint64(n)) - 1
	b = append(b, 0, 0, 0, 0)[:len(b)+more]
	copy(b[at+more:], b[at:at+n])
	protowire.AppendVarint(b[:at-1], uint64(n))
	return b
}

// appendDecision appends a Decision.
func appendDecision(b []byte, d *policy.Decision) []byte {
	b = appendNumber(b, 1, uint64(toVerdict(d.Verdict)))
	b = appendText(b, 2, d.Reason.String())
	b = appendText(b, 3, d.Message)
	b = appendText(b, 4, d.Remedy.String())
	b = appendNumber(b, 5, uint64(millisUp(d.RetryAfter)))
	b = appendNumber(b, 6, uint64(millisUp(d.Wait)))
	b = appendText(b, 7, d.Ticket)
	var at int
	for i := range d.Degrade {
		b, at = open(b, 8)
		b = appendText(appendText(b, 1, d.Degrade[i].Name), 2, d.Degrade[i].Value)
		b = shut(b, at)
	}
	for i := range d.Sources {
		b, at = open(b, 9)
		b = shut(appendDraw(b, &d.Sources[i]), at)
	}
	for i := range d.Limits {
		b, at = open(b, 10)
		b = shut(appendLimit(b, &d.Limits[i]), at)
	}
	b = appendText(b, 11, d.Reservation)
	b = appendNumber(b, 12, d.PolicyVersion)
	b = appendText(b, 13, d.Home)
	b = appendNumber(b, 14, d.Epoch)
	b = appendID(b, 15, d.ID)
	for i := range d.Explain {
		s := &d.Explain[i]
		n := sizeText(s.Rule) + sizeText(s.Result) + sizeText(s.Detail)
		b = appendVarint(appendVarint(b, sized(16)), uint64(n))
		b = appendText(appendText(appendText(b, 1, s.Rule), 2, s.Result), 3, s.Detail)
	}
	if d.Refusing != "" {
		b = appendVarint(appendVarint(b, sized(17)), uint64(len(d.Refusing)))
	}
	b = append(b, d.Refusing...)
	if d.Unreplicated {
		b = append(appendVarint(b, number(18)), 1)
	}
	return b
}

func appendID(b []byte, field uint64, id ulid.ULID) []byte {
	var room [ulid.EncodedSize]byte
	_ = id.MarshalTextTo(room[:]) // it fails only for want of room
	return append(append(b, byte(sized(field)), ulid.EncodedSize), room[:]...)
}

// sizeText is how many bytes appendText appends for a field of at most number 15.
func sizeText(text string) int {
	if text == "" {
		return 0
	}
	return 1 + protowire.SizeBytes(len(text))
}

func appendDraw(b []byte, d *policy.Draw) []byte {
	b = appendText(b, 1, d.Source.String())
	b = appendText(b, 2, d.Meter)
	b = appendNumber(b, 3, uint64(d.Amount))
	b = appendNumber(b, 4, uint64(d.Credits))
	return appendText(b, 5, d.Grant)
}

func appendLimit(b []byte, l *policy.LimitState) []byte {
	b = appendText(b, 1, l.Name)
	b = appendNumber(b, 2, uint64(l.Limit))
	b = appendNumber(b, 3, uint64(l.Remaining))
	b = appendNumber(b, 4, uint64(millisUp(l.Reset)))
	b = appendNumber(b, 5, uint64(l.Window.Milliseconds()))
	b = appendText(b, 6, l.Meter)
	b = appendBool(b, 7, l.Refused)
	b = appendNumber(b, 8, uint64(millisUp(l.Wait)))
	b = appendBool(b, 9, l.Shadow)
	b = appendBool(b, 10, l.Overridden)
	b = appendBool(b, 11, l.InFlight)
	b = appendNumber(b, 12, uint64(fallbackOf(l.Fallback)))
	b = appendNumber(b, 13, uint64(l.Burst))
	return appendBool(b, 14, l.Spill)
}

// appendOutcome appends an Outcome: the decision or, if there is an error, why there is none.
func appendOutcome(b []byte, d *policy.Decision, err error) []byte {
	var at int
	if err == nil {
		b, at = openLong(b, 1)
		return shutLong(appendDecision(b, d), at)
	}
	f := toFault(err)
	b, at = open(b, 2)
	b = appendNumber(b, 1, uint64(f.GetCode()))
	b = appendText(b, 2, strings.ToValidUTF8(f.GetMessage(), "\uFFFD")) // else nobody could read what goes with it
	b = appendText(b, 3, f.GetWord())
	b = appendText(b, 4, string(f.GetView()))
	return shut(b, at)
}

// appendStreamed appends a StreamedOutcome to the outcomes of a CheckStreamResponse.
func appendStreamed(b []byte, id uint64, d *policy.Decision, err error) []byte {
	b, whole := openLong(b, 1)
	b = appendNumber(b, 1, id)
	b, at := openLong(b, 2)
	return shutLong(shutLong(appendOutcome(b, d, err), at), whole)
}

// appendAnswer appends an Outcome to the outcomes of a CheckBatchResponse.
func appendAnswer(b []byte, d *policy.Decision, err error) []byte {
	b, at := openLong(b, 1)
	return shutLong(appendOutcome(b, d, err), at)
}
