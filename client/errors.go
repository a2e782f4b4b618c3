package client

import (
	"errors"
	"fmt"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	weirv1 "github.com/weir-cluster/weir/api/weir/v1"
)

// The errors of a call, which errors.Is tells apart.
var (
	// ErrUnreachable is returned when no node accepted a connection: nothing was sent, nothing was done.
	ErrUnreachable = errors.New("no node could be reached")
	// ErrNoKey is returned, before anything is sent, for a ledger write without an idempotency key.
	ErrNoKey = errors.New("a ledger write needs an idempotency key")
	// ErrUnknown is returned when a write was sent and its answer did not come: repeat it with the same key.
	ErrUnknown = errors.New("outcome unknown")
	// ErrInvalid is returned for a request that no node would decide; its text says what is wrong with it.
	ErrInvalid = errors.New("invalid request")
	// ErrConflict is returned for an idempotency key, or a reservation, that was used with other contents.
	ErrConflict = errors.New("used with other contents")
	// ErrTooOld is returned for an idempotency key, a hold or a charge from before what the cluster remembers.
	ErrTooOld = errors.New("older than what is remembered")
	// ErrNotFound is returned for an account, a grant, a hold, a charge or a reservation that is not there any more, or never
	// was, or not yet.
	ErrNotFound = errors.New("not found")
	// ErrFull is returned when a bound is reached: of the ledger, or of the settlements that wait.
	ErrFull = errors.New("full")
	// ErrClosed is returned by a client that has ended or is ending.
	ErrClosed = errors.New("client closed")
)

// fault is a node's answer that is no decision: its own words, and what they stand for.
type fault struct {
	node, message string
	sentinel      error // nil when the node could not decide, and another may
}

// Error returns the node's words.
func (f *fault) Error() string { return f.node + ": " + f.message }

// Unwrap returns what errors.Is finds.
func (f *fault) Unwrap() error { return f.sentinel }

// sentinels are the words of the API for what is the same on every node.
var sentinels = map[string]error{
	"INVALID": ErrInvalid, "IDEMPOTENCY_CONFLICT": ErrConflict, "TOO_OLD": ErrTooOld, "NOT_FOUND": ErrNotFound, "FULL": ErrFull,
	"HOLD_NOT_FOUND": ErrNotFound, "CHARGE_NOT_FOUND": ErrNotFound, "GRANT_NOT_FOUND": ErrNotFound, "GONE": ErrTooOld,
}

func ofFault(node string, f *weirv1.Fault) *fault {
	return &fault{node, f.GetMessage(), sentinels[f.GetWord()]}
}

// ofStatus reads a failed unary call. The error wraps errUnsent if it surely left nothing behind: the node said so.
func ofStatus(node string, err error) error {
	s := status.Convert(err)
	f := &fault{node: node, message: s.Message()}
	undone := s.Code() == codes.Unimplemented
	for _, d := range s.Details() {
		if detail, ok := d.(*errdetails.ErrorInfo); ok {
			f.sentinel = sentinels[detail.GetReason()]
			undone = undone || detail.GetReason() == wordNotLeader
		}
	}
	if undone {
		return fmt.Errorf("%w: %w", errUnsent, f)
	}
	return f
}

const wordNotLeader = "NOT_LEADER" // surely not applied
