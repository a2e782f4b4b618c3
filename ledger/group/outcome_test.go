package group

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/hashicorp/raft"
)

// TestOutcomeOfWhatTheLibraryReturns has every error of LEDGER 4.3; a caller's timeout is in TestOutcomeOfOurErrors.
func TestOutcomeOfWhatTheLibraryReturns(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		err  error
		want Outcome
		is   error
	}{
		{nil, Applied, nil},
		{raft.ErrNotLeader, NotApplied, ErrNotLeader},
		{raft.ErrLeadershipTransferInProgress, NotApplied, ErrNotLeader},
		{raft.ErrEnqueueTimeout, NotApplied, ErrBusy},
		{raft.ErrCantBootstrap, NotApplied, ErrHasState},
		{raft.ErrLeadershipLost, Unknown, ErrUnknown},
		{raft.ErrRaftShutdown, Unknown, ErrUnknown},
		{raft.ErrAbortedByRestore, Unknown, ErrUnknown},
		{io.ErrShortWrite, Unknown, ErrUnknown}, // as of a store
		{fmt.Errorf("store: %w", raft.ErrLogNotFound), Unknown, ErrUnknown},
	} {
		err := refine(row.err)
		if got := OutcomeOf(err); got != row.want || !errors.Is(err, row.is) {
			t.Errorf("%v: %v (%v), want %v", row.err, got, err, row.want)
		}
	}
}

func TestOutcomeOfOurErrors(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		err  error
		want Outcome
	}{
		{ErrNotLeader, NotApplied},
		{ErrBusy, NotApplied},
		{ErrNoRoom, NotApplied},
		{ErrTooLarge, NotApplied},
		{ErrUnknownMachine, NotApplied},
		{ErrStopped, NotApplied},
		{ErrHasState, NotApplied},
		{ErrUnknown, Unknown},
		{fmt.Errorf("propose: %w: %w", ErrUnknown, ErrStopped), Unknown},
		{fmt.Errorf("propose: %w: %w", ErrBusy, context.Canceled), NotApplied},
		{fmt.Errorf("%w: replica at fault: %w", ErrUnknown, errDiffers), Unknown},
		{context.DeadlineExceeded, Unknown},
		{errors.New("from elsewhere"), Unknown},
	} {
		if got := OutcomeOf(row.err); got != row.want {
			t.Errorf("%v: %v, want %v", row.err, got, row.want)
		}
	}
	if Unknown.String() != "unknown" || Applied.String() != "applied" || NotApplied.String() != "not applied" {
		t.Error("an outcome has another name")
	}
}
