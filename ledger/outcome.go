package ledger

// Outcome is how a command ended.
type Outcome uint8

// The outcomes. All are stored under the command's key, if it has one: one intent has one answer. All but Done changed no money.
const (
	Done                  Outcome = iota
	Insufficient                  // what was asked for did not fit
	Returned                      // a debit that came after its own Return
	Unwilling                     // a debit that did not fit, of an account that did not agree to pay with credit
	Blocked                       // the account is blocked
	HoldExists                    // an Authorize whose id is a hold already
	HoldReleased                  // the hold was released; of an Authorize: before it came
	AlreadyCaptured               // the hold was captured to its end
	HoldRefused                   // the hold's Authorize did not fit
	HoldExpired                   // the hold's time is over
	HoldOpen                      // a Refund of a hold that is not ended
	ExceedsHold                   // a capture of more than is held, with Deny
	RefundExceedsCaptured         // a Refund of more than is left of the charge
	UseDirect                     // a Lend of an account that has too little: ask the ledger for each draw
	Superseded                    // a Lend that a later one of the same home has overtaken
	AllowanceClosed               // the allowance has ended and nothing more is known of it
	ItemsMissing                  // a Report that leaves out items: send those after Receipt.Items too
	outcomeCount
)

// outcomesFirst and outcomesSecond are how many of them versions 1 and 2 knew.
const (
	outcomesFirst  Outcome = 4
	outcomesSecond Outcome = 13
)

var outcomeWords = [outcomeCount]string{
	"done", "insufficient", "returned", "unwilling", "blocked", "hold_exists", "hold_released", "already_captured", "hold_refused",
	"hold_expired", "hold_open", "exceeds_hold", "refund_exceeds_captured", "use_direct", "superseded", "allowance_closed", "items_missing",
}

// String returns the outcome's word.
func (o Outcome) String() string { return word(outcomeWords[:], uint8(o), "outcome") }

// ParseOutcome reads an outcome's word; another is ErrInvalid.
func ParseOutcome(text string) (Outcome, error) {
	o, err := parseWord(outcomeWords[:], text, "outcome")
	return Outcome(o), err
}
