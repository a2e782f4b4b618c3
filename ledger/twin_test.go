package ledger

import (
	"fmt"
	"maps"
	"slices"
	"sort"
)

// twin is what the ledger of one account means, written again without bounds, books, lazy expiry or encodings:
// time is walked second by second's event, nothing is ever forgotten but keys, and money is plain ints.
type twin struct {
	now, spent, expired, granted int
	limit, overdraft             int // overdraft is minus what is owed
	grants                       []*twinGrant
	keys                         map[string]*twinKey
}

type twinGrant struct {
	id                     string
	kind, priority         int
	effective, expires     int // unix seconds; 0 is none
	left                   int
	hasArrived, hasExpired bool
}

type twinKey struct {
	hour            int
	intent, receipt string
	took            []*twinTake // of a debit, nil if it took nothing
	barred          bool
}

type twinTake struct {
	from   *twinGrant // nil is the overdraft
	amount int
}

// walk lets everything happen that is due until now, in the order of its time.
func (w *twin) walk(now int) {
	due := map[int]bool{now: true}
	for _, g := range w.grants {
		due[g.effective], due[g.expires] = true, true
	}
	for _, t := range slices.Sorted(maps.Keys(due)) {
		if t > now {
			break
		}
		for _, g := range w.grants {
			if !g.hasArrived && g.effective <= t {
				g.hasArrived = true
				if x := min(g.left, -w.overdraft); g.kind == int(Credit) && x > 0 {
					g.left, w.overdraft = g.left-x, w.overdraft+x
				}
			}
		}
		for _, g := range w.grants {
			if g.expires != 0 && g.expires <= t && !g.hasExpired {
				g.hasExpired = true
				w.expired, g.left = w.expired+g.left, 0
			}
		}
	}
	w.now = now
}

func (w *twin) balance() int {
	sum := w.overdraft
	for _, g := range w.grants {
		if g.hasArrived {
			sum += g.left
		}
	}
	return sum
}

func (w *twin) conserved() bool {
	held := w.overdraft + w.spent + w.expired
	for _, g := range w.grants {
		held += g.left
	}
	return held == w.granted
}

// once answers an intent by its key; run is called if the key is new.
func (w *twin) once(key, intent string, run func(*twinKey) string) string {
	k := w.keys[key]
	switch {
	case k == nil || w.now/3600-k.hour > 25:
		n := &twinKey{hour: w.now / 3600, intent: intent}
		if n.receipt = run(n); n.receipt != "invalid" && n.receipt != "conflict" {
			w.keys[key] = n
		}
		return n.receipt
	case k.intent == intent:
		return k.receipt + " replayed"
	case k.barred && k.intent == "":
		if intent[:5] != "debit" {
			return "conflict"
		}
		w.keys[key] = &twinKey{hour: w.now / 3600, intent: intent, receipt: w.receipt("returned", 0, 0, nil)}
		return w.keys[key].receipt
	}
	return "conflict"
}

func (w *twin) receipt(outcome string, amount, expired int, took []*twinTake) string {
	text := fmt.Sprintf("%s %d balance %d expired %d:", outcome, amount, w.balance(), expired)
	for _, t := range took {
		id := "overdraft"
		if t.from != nil {
			id = t.from.id
		}
		text += fmt.Sprintf(" %s %d", id, t.amount)
	}
	return text
}

func (w *twin) debit(k *twinKey, amount int, order []Kind) string {
	var took []*twinTake
	rest := amount
	take := func(from *twinGrant, x int) {
		if x = min(x, rest); x > 0 {
			took, rest = append(took, &twinTake{from, x}), rest-x
		}
	}
	inOrder := slices.Clone(w.grants) // which are in the order of creation
	sort.SliceStable(inOrder, func(i, j int) bool {
		a, b := inOrder[i], inOrder[j]
		if a.priority != b.priority {
			return a.priority < b.priority
		}
		if a.expires != b.expires {
			return b.expires == 0 || (a.expires != 0 && a.expires < b.expires)
		}
		return a.effective < b.effective
	})
	for _, kind := range order {
		if kind == Overdraft {
			take(nil, w.limit+w.overdraft)
		}
		for _, g := range inOrder {
			if g.kind == int(kind) && g.hasArrived {
				take(g, g.left)
			}
		}
	}
	if rest > 0 {
		return w.receipt("insufficient", 0, 0, nil)
	}
	for _, t := range took {
		w.move(t.from, -t.amount)
	}
	w.spent += amount
	receipt := w.receipt("done", amount, 0, took)
	k.took = took
	return receipt
}

func (w *twin) move(g *twinGrant, x int) (expired int) {
	switch {
	case g == nil:
		w.overdraft += x
	case g.hasExpired:
		w.expired += x
		return x
	default:
		g.left += x
	}
	return 0
}

func (w *twin) giveBack(debit string, amount int) string {
	k := w.keys[debit]
	if k == nil || w.now/3600-k.hour > 25 {
		w.keys[debit] = &twinKey{hour: w.now / 3600, barred: true}
		return w.receipt("done", 0, 0, nil)
	}
	left := 0
	for _, t := range k.took {
		left += t.amount
	}
	switch {
	case !k.barred && k.intent[:5] != "debit":
		return "conflict"
	case amount > left && !k.barred:
		return "invalid"
	case amount == 0 || k.barred:
		amount = left
	}
	var back []*twinTake
	rest, expired := amount, 0
	for i := len(k.took) - 1; i >= 0; i-- {
		if x := min(rest, k.took[i].amount); x > 0 {
			expired += w.move(k.took[i].from, x)
			back, rest = append(back, &twinTake{k.took[i].from, x}), rest-x
			k.took[i] = &twinTake{k.took[i].from, k.took[i].amount - x}
		}
	}
	w.spent -= amount
	return w.receipt("done", amount, expired, back)
}
