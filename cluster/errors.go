package cluster

import "errors"

// What can come of a proposal that failed. A caller tells them apart with errors.Is.
var (
	// ErrNotApplied: the command is surely not in the log; it may be proposed again, or elsewhere.
	ErrNotApplied = errors.New("not applied")
	// ErrUnknown: the command may or may not be applied. Repeat it with the same idempotency key.
	ErrUnknown = errors.New("outcome unknown")
)

// ErrUnreachable is returned by a Peer that could not be asked, or did not answer in time. A check that
// ended so may have been decided all the same.
var ErrUnreachable = errors.New("peer unreachable")

// NotLeaderError is ErrNotApplied with a hint: the asked node does not lead, and who does as far as it
// knows (empty when it does not know).
type NotLeaderError struct{ Leader string }

// Error names the leader, when it is known.
func (e *NotLeaderError) Error() string {
	if e.Leader == "" {
		return "no known leader"
	}
	return "not the leader: ask " + e.Leader
}

// Is makes a NotLeaderError an ErrNotApplied.
func (e *NotLeaderError) Is(target error) bool { return target == ErrNotApplied }

// NotHomeError is returned by a node that is not the home of a check's account. View is its view, encoded,
// when that is newer than the asker's, and empty otherwise.
type NotHomeError struct{ View []byte }

// Error says that the node is not the home.
func (e *NotHomeError) Error() string { return "not the home of this account" }

// leaderHint returns who leads, as an error says; empty when it does not.
func leaderHint(err error) string {
	if hint := (*NotLeaderError)(nil); errors.As(err, &hint) {
		return hint.Leader
	}
	return ""
}
