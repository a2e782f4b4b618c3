package client

import "errors"

// The errors of a call, which errors.Is tells apart.
var (
	// ErrUnreachable is returned when no node accepted a connection: nothing was sent, nothing was done.
	ErrUnreachable = errors.New("no node could be reached")
	// ErrNoKey is returned, before anything is sent, for a ledger write without an idempotency key.
	ErrNoKey = errors.New("a ledger write needs an idempotency key")
)
