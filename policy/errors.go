package policy

import (
	"errors"
	"fmt"
)

// The errors of this package. A denial is never one of them: an error means that nothing was decided.
var (
	// ErrInvalid is returned for a request, a settlement or a policy document that breaks a rule of the
	// vocabulary or the language. Repeating it as it is cannot help.
	ErrInvalid = errors.New("invalid")
	// ErrConflict is returned when an idempotency key, or an ended reservation, is used again with other contents.
	ErrConflict = errors.New("idempotency key used with other contents")
	// ErrNoReservation is returned by Settle for a reservation that this home does not know: it never was, it
	// ended, or it was lost with an earlier home. What it took stays taken.
	ErrNoReservation = errors.New("no such reservation")
	// ErrVersionConflict is returned by Put when the cluster's policy is not at the version that the caller expected.
	ErrVersionConflict = errors.New("policy is at another version")
	// ErrChunk is returned by Records.Restore for bytes that are no chunk of this format, or of another partition.
	ErrChunk = errors.New("invalid chunk of records")
	// ErrUnavailable is returned when nothing could be decided: there is no policy yet, a bound of this node is
	// reached, or a settlement could not reach the ledger. Repeating it later can help.
	ErrUnavailable = errors.New("unavailable")
)

// invalid makes an ErrInvalid that says what about a request is wrong.
func invalid(format string, args ...any) error {
	return fmt.Errorf("%w request: %s", ErrInvalid, fmt.Sprintf(format, args...))
}
