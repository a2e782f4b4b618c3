package ledger

import "errors"

// What the machine answers when it refuses a command or a query. Nothing was charged and nothing is stored under the
// key, so the same key may be tried again. Any other error of a Ledger comes from its Proposer or Querier.
var (
	// ErrInvalid: the command breaks a rule or bound of its own; repeating it cannot help.
	ErrInvalid = errors.New("invalid")
	// ErrConflict: the key or the id is taken by something with other contents.
	ErrConflict = errors.New("conflict")
	// ErrTooOld: the key, hold or charge carries a time from before the window in which it is remembered.
	ErrTooOld = errors.New("key too old")
	// ErrNoAccount: the account was never opened.
	ErrNoAccount = errors.New("no such account")
	// ErrFull: a bound of the ledger is reached; it may have room later.
	ErrFull = errors.New("ledger full")
	// ErrClock: the leader's clock is so far ahead of the log that it is not believed.
	ErrClock = errors.New("clock suspect")
	// ErrNewer: a command or a snapshot was written by a newer version than this one. The machine answers it to a
	// query; a command of that kind stops the replica.
	ErrNewer = errors.New("format too new")
	// ErrCorrupt: a snapshot, an event or a reply is damaged. The machine never answers it.
	ErrCorrupt = errors.New("corrupt")
	// ErrNoHold: there is no such hold, or its Authorize has not come yet: try the same key again.
	ErrNoHold = errors.New("no such hold")
	// ErrNoCharge: there is no such charge, or it has not come yet: try the same key again.
	ErrNoCharge = errors.New("no such charge")
	// ErrNoGrant: the account has no such grant.
	ErrNoGrant = errors.New("no such grant")
	// ErrNoAllowance: the ledger never lent this.
	ErrNoAllowance = errors.New("no such allowance")
	// ErrGone: the journal keeps these events no more, or never had them. A Journal's Read wraps it.
	ErrGone = errors.New("events gone")
	// ErrJournal: the journal could not be read for another reason.
	ErrJournal = errors.New("journal unreadable")
)

// refusals gives each error its code in replies. Append only.
var refusals = [...]error{
	ErrInvalid, ErrConflict, ErrTooOld, ErrNoAccount, ErrFull, ErrClock, ErrNewer, ErrNoHold, ErrNoCharge, ErrNoGrant, ErrGone, ErrJournal,
	ErrNoAllowance,
}

// refusal is an error of the machine as it came over the wire.
type refusal struct {
	code uint8
	text string
}

func (r *refusal) Error() string { return r.text }
func (r *refusal) Unwrap() error { return refusals[r.code] }

func (r *refusal) wire(c *coder) {
	c.word(&r.code, uint8(len(refusals)))
	c.text(&r.text, textMax)
}

func refusalOf(err error) *refusal {
	for code, e := range refusals {
		if errors.Is(err, e) {
			text := err.Error()
			return &refusal{code: uint8(code), text: text[:min(len(text), textMax)]}
		}
	}
	panic("ledger: an error without a code: " + err.Error())
}
