package ledger

import (
	"fmt"
	"slices"
)

func encodeReply(what uint8, body func(*coder)) []byte {
	c := coder{}
	c.version(wireNewest)
	c.byte(&what)
	body(&c)
	return c.b
}

// replay is a stored receipt, marked as such.
func replay(reply []byte) []byte {
	again := slices.Clone(reply)
	again[1] = repliesReplay
	return again
}

// decodeReply reads the one thing expected, or the refusal that came instead.
func decodeReply(b []byte, expected uint8, body func(*coder)) error {
	c := coder{b: b, reading: true}
	c.version(wireNewest)
	var what uint8
	c.word(&what, repliesCount)
	if c.err == nil && what == repliesRefusal {
		r := &refusal{}
		r.wire(&c)
		if err := c.end(); err == nil {
			return r
		}
	}
	if what != expected {
		c.fail(errRange)
	}
	if c.err == nil {
		body(&c)
	}
	if err := c.end(); err != nil {
		return fmt.Errorf("%w: reply %w", ErrCorrupt, err)
	}
	return nil
}

func decodeReceipt(b []byte) (Receipt, error) {
	var r Receipt
	expected := uint8(repliesReceipt)
	if len(b) > 1 && b[1] == repliesReplay {
		expected, r.Replayed = repliesReplay, true
	}
	err := decodeReply(b, expected, r.wire)
	return r, err
}
