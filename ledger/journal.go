package ledger

import "crypto/sha256"

// Journal keeps the events. One goroutine calls Append and Sync; Read may be called from any, beside them.
type Journal interface {
	// Append takes the next event. After a restart the log is applied again and the same events come again: it
	// ignores what it has, but returns an error if that has other bytes. It must not keep event.
	Append(seq uint64, event []byte) error
	// Read returns an event that was appended. An error for one that is not there any more wraps ErrGone.
	Read(seq uint64) (event []byte, err error)
	// Sync returns when all that was appended would survive a loss of power.
	Sync() error
}

// eventBytes is how long an event is for its hash to need no memory.
const eventBytes = 512

// chainOf is the hash over all events up to one: of the hash before and its bytes.
func chainOf(before [32]byte, event []byte) [32]byte {
	var room [eventBytes + sha256.Size]byte
	return sha256.Sum256(append(append(room[:0], before[:]...), event...))
}
