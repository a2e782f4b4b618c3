package policy

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// What a command does. They are in every log: add, never renumber.
const (
	kindPut uint8 = iota + 1
	kindOverride
	kindUnsetOverride
	kindBlock
	kindUnblock
	kindReset
)

const (
	putFormat     byte = 1 // of the first release: the expected version, 8 bytes, and the text
	putHeader          = 1 + 8
	commandFormat byte = 2
	replyFormat   byte = 2
	replyLength        = 1 + 1 + 8 + 8

	wordMax = 256 // bytes of a name, a note or a why in a command; the language itself may allow less
)

// ErrFull is returned when the cluster holds as many overrides, blocks or resets as it may. Removing some makes room.
var ErrFull = errors.New("the policy book is full")

// Proposer has a command applied by every Book of the cluster, in the same order everywhere, and returns this
// command's reply. An error means that it was not applied, or that nobody knows.
type Proposer interface {
	Propose(ctx context.Context, command []byte) (reply []byte, err error)
}

// command is one change of what is agreed. Repeating one whose outcome is unknown is safe.
type command struct {
	kind   uint8
	expect int64 // of a put: the version in force, or AnyVersion
	note   string
	text   []byte
	place  place // of the others
	terms  Terms
	why    string
	until  time.Time
	nonce  uint64        // of a reset
	debts  time.Duration // of a reset: how long the buckets from before may owe something
}

func (x *command) fields(c *coder) {
	c.version(commandFormat)
	c.byte(&x.kind)
	switch x.kind {
	case kindPut:
		c.int(&x.expect)
		c.text(&x.note, wordMax)
		c.bytes(&x.text, TextMax)
		return
	case kindOverride, kindUnsetOverride, kindBlock, kindUnblock, kindReset:
		x.place.fields(c)
	default:
		c.fail("it is of kind %d, which this release does not know", x.kind)
	}
	switch x.kind {
	case kindOverride:
		x.terms.fields(c)
		c.time(&x.until)
	case kindBlock:
		c.text(&x.why, wordMax)
		c.time(&x.until)
	case kindReset:
		c.uint(&x.nonce)
		c.int((*int64)(&x.debts))
	}
}

func (p *place) fields(c *coder) {
	c.text(&p.domain, wordMax)
	c.text(&p.account, wordMax)
	c.text(&p.limit, wordMax)
}

func (t *Terms) fields(c *coder) {
	c.text(&t.Rate, wordMax)
	c.int(&t.Burst)
	c.int(&t.Limit)
	c.text(&t.Window, wordMax)
}

// valid reports whether the command can have been meant. Whether its text compiles and its terms can be kept is not
// asked: another release might judge differently, and then replicas would part.
func (x *command) valid() bool {
	limited := x.place.limit != ""
	switch x.kind {
	case kindPut:
		return x.expect >= AnyVersion && len(x.text) > 0
	case kindOverride, kindUnsetOverride:
		return x.place.account != "" && limited
	case kindBlock, kindUnblock:
		return x.place.account != "" && !limited
	default:
		return x.place.account != "" && x.debts > 0 && x.debts <= durationMax
	}
}

func (x *command) encode() []byte {
	c := &coder{}
	x.fields(c)
	return c.b
}

func decodeCommand(b []byte) (*command, bool) {
	if len(b) > 0 && b[0] == putFormat {
		if len(b) <= putHeader || len(b) > putHeader+TextMax {
			return nil, false
		}
		x := &command{kind: kindPut, expect: int64(binary.BigEndian.Uint64(b[1:])), text: b[putHeader:]}
		return x, x.valid()
	}
	x, c := &command{}, &coder{b: b, reading: true}
	x.fields(c)
	return x, c.end() == nil && x.valid()
}

func (o outcome) encode(a *agreed) []byte {
	r := binary.BigEndian.AppendUint64([]byte{replyFormat, byte(o)}, a.revision)
	return binary.BigEndian.AppendUint64(r, a.current().number)
}

// reached is what was agreed once a command was carried out, or refused.
type reached struct{ revision, version uint64 }

func decodeReply(r []byte) (reached, error) {
	if len(r) != replyLength || r[0] != replyFormat {
		return reached{}, fmt.Errorf("reply of %d bytes is of a format that this release does not know", len(r))
	}
	at := reached{binary.BigEndian.Uint64(r[2:]), binary.BigEndian.Uint64(r[10:])}
	switch outcome(r[1]) {
	case outcomeDone:
		return at, nil
	case outcomeConflict:
		return at, fmt.Errorf("%w: it is at %d", ErrVersionConflict, at.version)
	case outcomeFull:
		return at, fmt.Errorf("%w: at most %d overrides, %d blocks and %d resets, and %d MiB of them", ErrFull, OverridesMax, BlocksMax, ResetsMax, besideBytesMax>>20)
	case outcomePast:
		return at, fmt.Errorf("%w request: it ends before now", ErrInvalid)
	default:
		return at, fmt.Errorf("%w policy command", ErrInvalid)
	}
}

// propose has the cluster carry a command out, and returns once this node decides by it too.
func (b *Book) propose(ctx context.Context, p Proposer, x *command) (reached, error) {
	reply, err := p.Propose(ctx, x.encode())
	if err != nil {
		return reached{}, err
	}
	at, err := decodeReply(reply)
	if err == nil {
		b.await(ctx, at.revision)
	}
	return at, err
}
