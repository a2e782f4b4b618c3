package client

import (
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	weirv1 "github.com/weir-cluster/weir/api/weir/v1"
)

// Checks and their outcomes are written and read by hand: a check is most of what a client does.

func appendSize(b []byte, field protowire.Number, size int) []byte {
	return protowire.AppendVarint(protowire.AppendTag(b, field, protowire.BytesType), uint64(size))
}

func appendText(b []byte, field protowire.Number, text string) []byte {
	if text == "" {
		return b
	}
	return append(appendSize(b, field, len(text)), text...)
}

func appendNumber(b []byte, field protowire.Number, n uint64) []byte {
	if n == 0 {
		return b
	}
	return protowire.AppendVarint(protowire.AppendTag(b, field, protowire.VarintType), n)
}

// sizeText and sizeNumber are what the two append, for a field of at most number 15.
func sizeText(text string) int {
	if text == "" {
		return 0
	}
	return 1 + protowire.SizeBytes(len(text))
}

func sizeNumber(n uint64) int {
	if n == 0 {
		return 0
	}
	return 1 + protowire.SizeVarint(n)
}

// fields reads a message field by field, as the generated code does. What it returns is cut from the message and keeps
// all of it alive.
type fields struct {
	left   string
	number uint64 // of the last field, if it is a number
	part   string // of the last field, if it has a length
	failed bool   // what is left is malformed, or a text is no UTF-8
}

// Tags of the fields with a number: of one that is a number, and of one that has a length.
func numeric(field uint64) uint64 { return field<<3 | uint64(protowire.VarintType) }
func sized(field uint64) uint64   { return field<<3 | uint64(protowire.BytesType) }

// next reads a field and returns its tag, or zero at the end.
func (f *fields) next() (tag uint64) {
	for f.left != "" {
		tag = f.varint()
		if field := tag >> 3; field-1 >= uint64(protowire.MaxValidNumber) {
			f.fail()
		}
		switch protowire.Type(tag & 7) {
		case protowire.VarintType:
			f.number = f.varint()
		case protowire.BytesType:
			n := f.varint()
			if n > uint64(len(f.left)) {
				f.fail()
				return 0
			}
			f.part, f.left = f.left[:n], f.left[n:]
		default: // nothing that is known here
			n := -1
			if !f.failed {
				n = protowire.ConsumeFieldValue(protowire.Number(tag>>3), protowire.Type(tag&7), []byte(f.left))
			}
			if n < 0 {
				f.fail()
				return 0
			}
			f.left = f.left[n:]
			continue
		}
		if f.failed {
			return 0
		}
		return tag
	}
	return 0
}

func (f *fields) fail() { f.left, f.failed = "", true }

func (f *fields) varint() uint64 {
	if f.left != "" && f.left[0] < 0x80 {
		n := uint64(f.left[0])
		f.left = f.left[1:]
		return n
	}
	v, n := protowire.ConsumeVarint([]byte(f.left[:min(len(f.left), 10)]))
	if n < 0 {
		f.fail()
		return 0
	}
	f.left = f.left[n:]
	return v
}

// text is the last field as one.
func (f *fields) text() string {
	if !utf8.ValidString(f.part) {
		f.fail()
	}
	return f.part
}

// readOutcome reads an encoded weirv1.Outcome of a node: its decision, or as an error why there is none.
func readOutcome(node, outcome string) (Decision, error) {
	d := Decision{Verdict: verdictDeny, Sources: []Draw{}, Limits: []Limit{}}
	var failed *weirv1.Fault
	decided := false
	f := fields{left: outcome}
	for tag := f.next(); tag != 0; tag = f.next() {
		switch tag {
		case sized(1):
			decided = true
			if !d.read(f.part) {
				f.fail()
			}
		case sized(2):
			if failed == nil {
				failed = new(weirv1.Fault)
			}
			if err := (proto.UnmarshalOptions{Merge: true}).Unmarshal([]byte(f.part), failed); err != nil {
				f.fail()
			}
		}
	}
	switch {
	case f.failed:
		return Decision{}, &fault{node: node, message: "an outcome that cannot be read"}
	case failed != nil:
		return Decision{}, ofFault(node, failed)
	case !decided:
		return Decision{}, &fault{node: node, message: "an answer without a decision"}
	}
	d.refuse()
	return d, nil
}

// read takes in an encoded weirv1.Decision, and reports whether it can be read.
func (d *Decision) read(message string) bool {
	ok := true
	f := fields{left: message}
	for tag := f.next(); tag != 0; tag = f.next() {
		switch tag {
		case numeric(1):
			d.Verdict = verdictWord(weirv1.Verdict(int32(f.number)))
		case sized(2):
			d.Reason = f.text()
		case sized(3):
			d.Message = f.text()
		case sized(4):
			d.Remedy = f.text()
		case numeric(5):
			d.RetryAfterMS = int64(f.number)
		case numeric(6):
			d.WaitMS = int64(f.number)
		case sized(7):
			d.Ticket = f.text()
		case sized(8):
			ok = ok && d.readDegrade(f.part)
		case sized(9):
			d.Sources = append(d.Sources, Draw{})
			ok = ok && d.Sources[len(d.Sources)-1].read(f.part)
		case sized(10):
			d.Limits = append(d.Limits, Limit{})
			ok = ok && d.Limits[len(d.Limits)-1].read(f.part)
		case sized(11):
			d.Reservation = f.text()
		case numeric(12):
			d.PolicyVersion = f.number
		case sized(13):
			d.Home = f.text()
		case numeric(14):
			d.Epoch = f.number
		case sized(15):
			d.DecisionID = f.text()
		case sized(16):
			d.Explain = append(d.Explain, Step{})
			ok = ok && d.Explain[len(d.Explain)-1].read(f.part)
		case sized(17):
			f.text() // the limit that refused: Limits tell, too
		case numeric(18):
			d.Unreplicated = f.number != 0
		}
	}
	return ok && !f.failed
}

func (d *Decision) readDegrade(message string) bool {
	var name, value string
	f := fields{left: message}
	for tag := f.next(); tag != 0; tag = f.next() {
		switch tag {
		case sized(1):
			name = f.text()
		case sized(2):
			value = f.text()
		}
	}
	if d.Degrade == nil {
		d.Degrade = make(map[string]string)
	}
	d.Degrade[name] = value
	return !f.failed
}

func (s *Step) read(message string) bool {
	f := fields{left: message}
	for tag := f.next(); tag != 0; tag = f.next() {
		switch tag {
		case sized(1):
			s.Rule = f.text()
		case sized(2):
			s.Result = f.text()
		case sized(3):
			s.Detail = f.text()
		}
	}
	return !f.failed
}

func (d *Draw) read(message string) bool {
	f := fields{left: message}
	for tag := f.next(); tag != 0; tag = f.next() {
		switch tag {
		case sized(1):
			d.Source = f.text()
		case sized(2):
			d.Meter = f.text()
		case numeric(3):
			d.Amount = int64(f.number)
		case numeric(4):
			d.CreditsMicros = int64(f.number)
		case sized(5):
			d.Grant = f.text()
		}
	}
	return !f.failed
}

func (l *Limit) read(message string) bool {
	f := fields{left: message}
	for tag := f.next(); tag != 0; tag = f.next() {
		switch tag {
		case sized(1):
			l.Name = f.text()
		case numeric(2):
			l.Limit = int64(f.number)
		case numeric(3):
			l.Remaining = int64(f.number)
		case numeric(4):
			l.ResetMS = int64(f.number)
		case numeric(5):
			l.WindowMS = int64(f.number)
		case sized(6):
			l.Meter = f.text()
		case numeric(7):
			l.Refused = f.number != 0
		case numeric(8):
			l.WaitMS = int64(f.number)
		case numeric(9):
			l.Shadow = f.number != 0
		case numeric(10):
			l.Overridden = f.number != 0
		case numeric(11):
			l.InFlight = f.number != 0
		case numeric(12):
			l.Fallback = fallbackWord(weirv1.Fallback(int32(f.number)))
		case numeric(13):
			l.Burst = int64(f.number)
		case numeric(14):
			l.Spill = f.number != 0
		}
	}
	return !f.failed
}
