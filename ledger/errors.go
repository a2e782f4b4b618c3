package ledger

import "errors"

// What the machine answers when it refuses a command. Nothing was charged and nothing is stored under the
// key, so the same key may be tried again. Any other error of a Ledger comes from its Proposer.
var (
	// ErrInvalid: the command breaks a rule or bound of its own; repeating it cannot help.
	ErrInvalid = errors.New("invalid")
	// ErrConflict: the key or the id is taken by something with other contents.
	ErrConflict = errors.New("conflict")
	// ErrTooOld: the key carries a time from before the window in which keys are remembered.
	ErrTooOld = errors.New("key too old")
	// ErrNoAccount: the account was never opened.
	ErrNoAccount = errors.New("no such account")
	// ErrFull: a bound of the ledger is reached; it may have room later.
	ErrFull = errors.New("ledger full")
	// ErrClock: the leader's clock is so far ahead of the log that it is not believed.
	ErrClock = errors.New("clock suspect")
	// ErrNewer: a command or a snapshot was written by a newer version than this one.
	ErrNewer = errors.New("format too new")
	// ErrCorrupt: a snapshot or a reply is damaged. The machine never answers it.
	ErrCorrupt = errors.New("corrupt")
)

// refusals gives each error its code in replies. Append only.
var refusals = [...]error{ErrInvalid, ErrConflict, ErrTooOld, ErrNoAccount, ErrFull, ErrClock, ErrNewer}

// refusal is an error of the machine as it came over the wire.
type refusal struct {
	code uint8
	text string
}

func (r *refusal) Error() string { return r.text }
func (r *refusal) Unwrap() error { return refusals[r.code] }

func refusalOf(err error) *refusal {
	for code, e := range refusals {
		if errors.Is(err, e) {
			return &refusal{code: uint8(code), text: err.Error()}
		}
	}
	panic("ledger: an error without a code: " + err.Error())
}
