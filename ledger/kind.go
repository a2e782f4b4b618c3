package ledger

import "fmt"

// Kind says what sort of credit an amount is.
type Kind uint8

// The kinds, in the order in which a debit that names no order burns them. Grants are of the first three;
// Overdraft is what an account may go below zero.
const (
	Included Kind = iota // part of the plan
	Promo                // given away
	Credit               // paid for
	Overdraft
	kindCount
)

// KindCount is how many kinds there are.
const KindCount = int(kindCount)

var kindWords = [KindCount]string{"included", "promo", "credit", "overdraft"}

// String returns the word that policies and the API use.
func (k Kind) String() string {
	if k < kindCount {
		return kindWords[k]
	}
	return fmt.Sprintf("kind(%d)", uint8(k))
}

// ParseKind reads one of the words included, promo, credit and overdraft; another is ErrInvalid.
func ParseKind(word string) (Kind, error) {
	for k, w := range kindWords {
		if w == word {
			return Kind(k), nil
		}
	}
	return 0, fmt.Errorf("%w: unknown kind %.32q, expected included, promo, credit or overdraft", ErrInvalid, word)
}

// Outcome is how a command ended.
type Outcome uint8

// The outcomes. All of them are stored under the command's key: one intent has one answer.
const (
	Done         Outcome = iota
	Insufficient         // a debit that did not fit: nothing was charged
	Returned             // a debit that came after its own Return: nothing was charged
	Unwilling            // a debit that did not fit, of an account that did not agree to pay with credit: nothing was charged
	outcomeCount
)

var outcomeWords = [outcomeCount]string{"done", "insufficient", "returned", "unwilling"}

// String returns the outcome's word.
func (o Outcome) String() string {
	if o < outcomeCount {
		return outcomeWords[o]
	}
	return fmt.Sprintf("outcome(%d)", uint8(o))
}
