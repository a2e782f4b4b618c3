package ledger

import (
	"crypto/sha256"
	"errors"
	"fmt"
)

// The formats of commands, queries and replies. Version 1 knew OpenAccount, Grant, Debit, Return and two reads, and
// no journal; version 2 knew no allowances. A log of either still reads as it was meant.
const (
	wireFirst  = 1
	wireSecond = 2
	wireNewest = 3
)

// op names a command on the wire. Append only.
type op uint8

const (
	opOpen op = iota + 1
	opGrant
	opDebit
	opReturn
	opAccount // a read in log order, of version 1
	opEntries // another
	opUpdate
	opVoid
	opAuthorize
	opExtend
	opCapture
	opRelease
	opRefund
	opAdjust
	opCursor
	opTick
	opCompare
	opAsk
	opLend
	opReport
	opCount
)

var opWords = [opCount]string{
	"unknown", "open", "grant", "debit", "return", "account", "entries", "update", "void", "authorize", "extend", "capture",
	"release", "refund", "adjust", "cursor", "tick", "compare", "ask", "lend", "report",
}

func (o op) String() string { return opWords[o] }

// command is what a log entry can hold.
type command interface {
	op() op
	wire(c *coder)
	check() error // rules that need no state
}

// intent is a command that changes the ledger, once per key.
type intent interface {
	command
	key() string
	// payer finds the account that run will need. Empty: none, and run makes what it needs.
	payer(m *Machine) (account string, err error)
	// run stages the change. What it staged is dropped if it returns an error.
	run(t *tx) (Receipt, error)
}

// exchange is a command between a home and the ledger about an allowance. It needs no key: whatever comes twice, late or out
// of order finds in the state what it has done.
type exchange interface {
	command
	payer(m *Machine) (account string, err error)
	run(t *tx) (Receipt, error)
}

// blank returns an empty command to be read into, or nil.
func blank(o op) command {
	switch o {
	case opOpen:
		return &OpenAccount{}
	case opGrant:
		return &Grant{}
	case opDebit:
		return &Debit{}
	case opReturn:
		return &Return{}
	case opAccount:
		return &readAccount{}
	case opEntries:
		return &readEntries{}
	case opUpdate:
		return &UpdateAccount{}
	case opVoid:
		return &VoidGrant{}
	case opAuthorize:
		return &Authorize{}
	case opExtend:
		return &Extend{}
	case opCapture:
		return &Capture{}
	case opRelease:
		return &Release{}
	case opRefund:
		return &Refund{}
	case opAdjust:
		return &Adjust{}
	case opCursor:
		return &SetCursor{}
	case opTick:
		return &tick{}
	case opCompare:
		return &compare{}
	case opAsk:
		return &ask{}
	case opLend:
		return &Lend{}
	case opReport:
		return &Report{}
	}
	return nil
}

// since tells in which format a command came into being.
func (o op) since() uint8 {
	switch {
	case o <= opEntries:
		return wireFirst
	case o <= opAsk:
		return wireSecond
	}
	return wireNewest
}

func encodeCommand(in command) []byte { return encodeAs(in, wireNewest) }

func encodeAs(in command, format uint8) []byte {
	c := coder{}
	c.version(format)
	o := uint8(in.op())
	c.byte(&o)
	in.wire(&c)
	return c.b
}

// decodeCommand reads a command and the format it was written in.
func decodeCommand(text string) (in command, format uint8, err error) {
	return decodeInto(&coder{}, text)
}

// decodeInto is decodeCommand with a coder of the caller's.
func decodeInto(c *coder, text string) (in command, format uint8, err error) {
	*c = reader(text)
	c.version(wireNewest)
	var o uint8
	c.word(&o, uint8(opCount))
	in = blank(op(o))
	if c.err == nil && (in == nil || c.format < op(o).since()) {
		c.fail(errRange)
	}
	if c.err == nil {
		in.wire(c)
	}
	if err := c.end(); err != nil {
		return nil, c.format, malformed("command", err)
	}
	return in, c.format, in.check()
}

func malformed(what string, err error) error {
	if errors.Is(err, ErrNewer) {
		return fmt.Errorf("%s: %w", what, err)
	}
	return fmt.Errorf("%w: %s %w", ErrInvalid, what, err)
}

// digest is the hash of an intent: of the client's command, never of what the state made of it.
type digest [16]byte

// digestOf hashes an encoded command without its version.
func digestOf(command []byte) digest {
	sum := sha256.Sum256(command[1:])
	return digest(sum[:])
}

// firstDigest is what version 1 stored for an intent, if it could have been one of its own.
func firstDigest(in intent) (digest, bool) {
	if in.op().since() > wireFirst {
		return digest{}, false
	}
	first := encodeAs(in, wireFirst)
	again, _, err := decodeCommand(string(first))
	if err != nil || string(encodeCommand(again)) != string(encodeCommand(in)) {
		return digest{}, false
	}
	return digestOf(first), true
}
