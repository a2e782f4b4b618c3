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
func (k Kind) String() string { return word(kindWords[:], uint8(k), "kind") }

// ParseKind reads one of the words included, promo, credit and overdraft; another is ErrInvalid.
func ParseKind(text string) (Kind, error) {
	k, err := parseWord(kindWords[:], text, "kind")
	return Kind(k), err
}

// Every is how often a recurring grant is made anew.
type Every uint8

// The recurrences. The zero value is a grant that is made once.
const (
	Once Every = iota
	Daily
	Weekly
	Monthly
	Yearly
	everyCount
)

var everyWords = [everyCount]string{"once", "day", "week", "month", "year"}

// String returns the word that the API uses.
func (e Every) String() string { return word(everyWords[:], uint8(e), "every") }

// ParseEvery reads one of the words once, day, week, month and year, or none for once; another is ErrInvalid.
func ParseEvery(text string) (Every, error) {
	if text == "" {
		return Once, nil
	}
	e, err := parseWord(everyWords[:], text, "recurrence")
	return Every(e), err
}

// Overshoot says what a charge does that is more than is available. The zero value never refuses: work that was done
// is charged as far as possible, and nobody owes the rest.
type Overshoot uint8

// The policies of overshoot.
const (
	Cap      Overshoot = iota // charge what is available of the kinds in the order, without overdraft; the rest is forgiven
	Deny                      // all of it, overdraft included if the order has it, or nothing
	Overdraw                  // charge what is available and then the overdraft down to its limit; the rest is forgiven
	overshootCount
)

var overshootWords = [overshootCount]string{"cap", "deny", "overdraw"}

// String returns the word that the API uses.
func (o Overshoot) String() string { return word(overshootWords[:], uint8(o), "overshoot") }

// ParseOvershoot reads one of the words cap, deny and overdraw, or none for cap; another is ErrInvalid.
func ParseOvershoot(text string) (Overshoot, error) {
	if text == "" {
		return Cap, nil
	}
	o, err := parseWord(overshootWords[:], text, "overshoot")
	return Overshoot(o), err
}

// word returns a value's word, or what and the number of one that has none.
func word(words []string, v uint8, what string) string {
	if int(v) < len(words) {
		return words[v]
	}
	return fmt.Sprintf("%s(%d)", what, v)
}

func parseWord(words []string, text, what string) (uint8, error) {
	for v, w := range words {
		if w == text {
			return uint8(v), nil
		}
	}
	return 0, fmt.Errorf("%w: unknown %s %.32q, expected one of %v", ErrInvalid, what, text, words)
}
