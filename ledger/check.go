package ledger

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// Bounds of a command, in bytes where nothing else is said. A command beyond one is ErrInvalid.
const (
	KeyMax        = 255         // of a key, or the id of a grant, hold or charge
	GrantMax      = KeyMax + 16 // of the id of a grant that the ledger named: of a period, of a refund
	AccountMax    = 256         // of an account's id
	PlanMax       = 64
	MemoMax       = 256
	LabelsMax     = 32 // labels of an account, attributes of a debit
	LabelNameMax  = 64
	LabelValueMax = 256
	AppliesToMax  = 8   // conditions of a grant
	EntriesMax    = 256 // events in one answer
	CursorMax     = 64  // of a cursor's name
	TTLMax        = 90 * 24 * time.Hour
	HomeMax       = 255       // of a home's name
	LendTTLMax    = time.Hour // of an allowance
	ItemsMax      = 10_000    // of a report
	ItemBytesMax  = 640 << 10 // of a report's items, their ids and memos with 24 for each: a journal's record is at most 1 MiB
)

// Label is one fact about an account or a debit, such as region=eu.
type Label struct{ Name, Value string }

func (l *Label) wire(c *coder) {
	c.text(&l.Name, LabelNameMax)
	c.text(&l.Value, LabelValueMax)
}

func byName(a, b Label) int { return strings.Compare(a.Name, b.Name) }

// inOrder returns a copy of labels in the one order in which commands carry them.
func inOrder(labels []Label) []Label {
	sorted := slices.Clone(labels)
	slices.SortFunc(sorted, byName)
	return sorted
}

func checkText(what, text string, low, high int) error {
	if len(text) < low || len(text) > high || !utf8.ValidString(text) {
		return fmt.Errorf("%w: %s must be %d to %d bytes of UTF-8", ErrInvalid, what, low, high)
	}
	return nil
}

func checkKey(key string) error { return checkText("key", key, 1, KeyMax) }

func checkAccount(id string) error { return checkText("account", id, 1, AccountMax) }

func checkAmount(what string, amount, low Credits) error {
	if amount < low || amount > CreditsMax {
		return fmt.Errorf("%w: %s of %s is not between %s and %s", ErrInvalid, what, amount, low, CreditsMax)
	}
	return nil
}

// checkTime keeps times where nanoseconds in an int64 are exact and 0 can mean none.
func checkTime(what string, t time.Time) error {
	if !t.IsZero() && (!t.After(time.Unix(0, 0)) || !t.Before(time.Unix(0, math.MaxInt64))) {
		return fmt.Errorf("%w: %s is out of range", ErrInvalid, what)
	}
	return nil
}

func checkTTL(ttl, low time.Duration) error {
	if ttl < low || ttl > TTLMax {
		return fmt.Errorf("%w: ttl of %s is not between %s and %s", ErrInvalid, ttl, low, TTLMax)
	}
	return nil
}

func checkLabels(what string, labels []Label, most int) error {
	if len(labels) > most {
		return fmt.Errorf("%w: %d of %s, at most %d", ErrInvalid, len(labels), what, most)
	}
	for i, l := range labels {
		if i > 0 && labels[i-1].Name >= l.Name {
			return fmt.Errorf("%w: %s has %q twice or out of order", ErrInvalid, what, l.Name)
		}
		if err := cmp.Or(checkText(what, l.Name, 1, LabelNameMax), checkText(what, l.Value, 0, LabelValueMax)); err != nil {
			return err
		}
	}
	return nil
}

func checkOrder(order []Kind) error {
	for i, k := range order {
		if k >= kindCount || slices.Contains(order[:i], k) {
			return fmt.Errorf("%w: %s is unknown or twice in the order", ErrInvalid, k)
		}
	}
	return nil
}

// checkWord refuses an enum beyond its words.
func checkWord(what string, word, count uint8) error {
	if word >= count {
		return fmt.Errorf("%w: unknown %s %d", ErrInvalid, what, word)
	}
	return nil
}
