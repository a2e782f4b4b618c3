package ledger

import (
	"fmt"
	"math"
)

// What a reply holds, in its second byte. Append only.
const (
	repliesReceipt = iota
	repliesReplay  // a receipt given before: how often its key came, and the receipt; in format 1 the receipt only
	repliesAccount
	repliesEntries // of format 1
	repliesRefusal
	repliesDone // a number
	repliesHold
	repliesPage
	repliesStatus
	repliesAllowances
	repliesCount
)

const textMax = math.MaxInt16 // of a text that the machine itself wrote

func encodeReply(format, what uint8, body func(*coder)) []byte {
	c := coder{b: make([]byte, 0, replyBytes)}
	c.version(format)
	c.byte(&what)
	body(&c)
	return c.b
}

// replyBytes is room for most replies.
const replyBytes = 192

// replay is a stored receipt, marked as such.
func replay(reply string, attempts uint64) []byte {
	c := coder{b: make([]byte, 0, len(reply)+10)}
	c.b = append(c.b, reply[0], repliesReplay)
	if reply[0] > wireFirst {
		c.uint(&attempts)
	}
	return append(c.b, reply[2:]...)
}

// decodeReply reads one of the things expected, or the refusal that came instead.
func decodeReply(text string, body func(what uint8, c *coder)) error {
	c := reader(text)
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
	if c.err == nil {
		body(what, &c)
	}
	if err := c.end(); err != nil {
		return damaged("reply", err)
	}
	return nil
}

// only reads a reply of one kind.
func only(expected uint8, body func(*coder)) func(uint8, *coder) {
	return func(what uint8, c *coder) {
		if what != expected {
			c.fail(errRange)
			return
		}
		body(c)
	}
}

func decodeReceipt(text string) (Receipt, error) {
	var r Receipt
	err := decodeReply(text, func(what uint8, c *coder) {
		switch what {
		case repliesReceipt:
		case repliesReplay:
			if r.Replayed = true; c.format >= 2 {
				c.uint(&r.Attempts)
			}
		default:
			c.fail(errRange)
			return
		}
		r.wire(c)
	})
	if err == nil && !r.Replayed {
		r.Attempts = 1
	}
	return r, err
}

// damaged tells that something cannot be read, and whether it is only too new.
func damaged(what string, err error) error {
	return fmt.Errorf("%w: %s %w", ErrCorrupt, what, err)
}
