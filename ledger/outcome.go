package ledger

// Outcome is how a command ended.
type Outcome uint8

// The outcomes. All of them are stored under the command's key: one intent has one answer. All but Done changed no money.
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
	outcomeCount
)

// outcomesFirst is how many of them version 1 knew.
const outcomesFirst Outcome = 4

var outcomeWords = [outcomeCount]string{
	"done", "insufficient", "returned", "unwilling", "blocked", "hold_exists", "hold_released", "already_captured", "hold_refused",
	"hold_expired", "hold_open", "exceeds_hold", "refund_exceeds_captured",
}

// String returns the outcome's word.
func (o Outcome) String() string { return word(outcomeWords[:], uint8(o), "outcome") }

// ParseOutcome reads an outcome's word; another is ErrInvalid.
func ParseOutcome(text string) (Outcome, error) {
	o, err := parseWord(outcomeWords[:], text, "outcome")
	return Outcome(o), err
}
