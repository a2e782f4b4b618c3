package group

import (
	"errors"
	"fmt"

	"github.com/hashicorp/raft"
)

// What Propose and the other calls that change the group return, wrapped. After any of them but ErrUnknown
// it is sure that nothing was applied.
var (
	// ErrUnknown: it was submitted, and it is open whether it was or will be applied. Repeat it with the same key.
	ErrUnknown = errors.New("outcome unknown")
	// ErrNotLeader: this server does not lead; Leader may know who does.
	ErrNotLeader = errors.New("not the leader")
	// ErrBusy: too much waits already, or the time was over while it waited.
	ErrBusy = errors.New("too much waits")
	// ErrNoRoom: the disk of the log has less left than Config.Reserve.
	ErrNoRoom = errors.New("too little room on the disk of the log")
	// ErrTooLarge: the command is longer than Config.CommandBytes.
	ErrTooLarge = errors.New("command too large")
	// ErrUnknownMachine: no machine of that name is registered where the command was applied.
	ErrUnknownMachine = errors.New("unknown machine")
	// ErrStopped: Run has not started yet, or is ending.
	ErrStopped = errors.New("group not running")
	// ErrHasState: a group with any state cannot be bootstrapped.
	ErrHasState = errors.New("group has state already")
)

// Outcome says what became of a proposal.
type Outcome uint8

// The zero value promises least.
const (
	Unknown Outcome = iota
	Applied
	NotApplied
)

// String returns the outcome in lower case.
func (o Outcome) String() string {
	switch o {
	case Applied:
		return "applied"
	case NotApplied:
		return "not applied"
	default:
		return "unknown"
	}
}

// OutcomeOf tells from the error of a call to this package what became of what it proposed. An error that
// this package does not know is Unknown.
func OutcomeOf(err error) Outcome {
	if err == nil {
		return Applied
	}
	if errors.Is(err, ErrUnknown) {
		return Unknown
	}
	for _, sure := range []error{ErrNotLeader, ErrBusy, ErrNoRoom, ErrTooLarge, ErrUnknownMachine, ErrStopped, ErrHasState} {
		if errors.Is(err, sure) {
			return NotApplied
		}
	}
	return Unknown
}

// refine turns an error of the Raft library, for something that was handed to it, into one of ours. Only
// errors that it returns before it appends to its log are sure; a failed store, lost leadership and a
// shutdown are not.
func refine(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrLeadershipTransferInProgress):
		return fmt.Errorf("%w: %w", ErrNotLeader, err)
	case errors.Is(err, raft.ErrEnqueueTimeout):
		return fmt.Errorf("%w: %w", ErrBusy, err)
	case errors.Is(err, raft.ErrCantBootstrap):
		return fmt.Errorf("%w: %w", ErrHasState, err)
	default:
		return fmt.Errorf("%w: %w", ErrUnknown, err)
	}
}
