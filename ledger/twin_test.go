package ledger

import (
	"fmt"
	"maps"
	"slices"
	"sort"
	"strings"
)

// twin is what the ledger means, written again from the requirements without bounds, books, records or encodings: money is
// plain ints, a hold is a list of what it took, and nothing is forgotten but keys and ended holds.
type twin struct {
	now, elapsed int // unix seconds, seconds
	accounts     map[string]*twinAccount
	holds        map[string]*twinHold
	loans        []*twinLoan
	keys         map[string]*twinKey
	cells        map[string]int // of LEDGER §3.2: how often an event met a state
}

type twinAccount struct {
	blocked                                                       bool
	limit, overdraft, granted, spent, expired, voided, writtenOff int // overdraft is minus what is owed
	forgiven                                                      int
	grants                                                        []*twinGrant
	asked                                                         map[string]*twinLoan // the newest of each home
}

type twinGrant struct {
	id                               string
	kind, priority                   int
	effective, expires               int // unix seconds; 0 is none
	left, held, lent, emptied        int
	only                             string // the attribute that a debit needs
	hasArrived, hasExpired, isVoided bool
}

type twinHold struct {
	account            string
	state              string
	authorized         int
	takes              []*twinTake
	order              []Kind
	only               string
	deadline, ended    int
	rejects, finishing bool // Late and OnExpire
}

type twinTake struct {
	from              *twinGrant // nil is the overdraft
	held, spent, back int
}

type twinKey struct {
	hour            int
	intent, receipt string
	account         string
	took            []*twinTake // of a debit, nil if it took nothing
	barred          bool
}

func (w *twin) hour() int { return w.now / 3600 }

func newTwin() *twin {
	return &twin{
		accounts: map[string]*twinAccount{}, holds: map[string]*twinHold{}, keys: map[string]*twinKey{}, cells: map[string]int{},
	}
}

// touch lets everything happen to an account that is due: its holds, then its grants in the order of their times.
func (w *twin) touch(id string) *twinAccount {
	a := w.accounts[id]
	w.touchHolds(id)
	due := map[int]bool{w.now: true}
	for _, g := range a.grants {
		due[g.effective], due[g.expires] = true, true
	}
	for _, t := range slices.Sorted(maps.Keys(due)) {
		if t > w.now {
			break
		}
		for _, g := range a.grants {
			if !g.hasArrived && g.effective <= t {
				g.hasArrived = true
				if x := min(g.left, -a.overdraft); g.kind == int(Credit) && x > 0 {
					g.left, a.overdraft = g.left-x, a.overdraft+x
				}
			}
		}
		for _, g := range a.grants {
			if g.expires != 0 && g.expires <= t && !g.hasExpired {
				g.hasExpired = true
				a.expired, g.left = a.expired+g.left, 0
			}
		}
	}
	return a
}

func (w *twin) touchHolds(id string) {
	for _, name := range slices.Sorted(maps.Keys(w.holds)) {
		if h := w.holds[name]; h.account == id && h.state == "open" && h.deadline <= w.elapsed {
			w.expire(h)
		}
	}
	for _, l := range w.loans {
		if l.account == id && l.state == "open" && l.deadline <= w.elapsed {
			w.comesBack(l, "expired")
		}
	}
}

func (w *twin) expire(h *twinHold) {
	w.cells["expire open"]++
	a := w.accounts[h.account]
	if h.state, h.ended = "expired", w.hour(); h.finishing {
		h.state = "captured"
		for _, k := range h.takes {
			if k.held > 0 {
				k.from.held, a.spent = k.from.held-k.held, a.spent+k.held
				k.spent, k.held = k.spent+k.held, 0
			}
		}
	}
	a.drop(h)
}

// drop gives back what a hold still holds, and says how much of it had expired or was voided.
func (a *twinAccount) drop(h *twinHold) (expired int) {
	for _, k := range h.takes {
		if k.held > 0 {
			k.from.held -= k.held
			expired += a.move(k.from, k.held)
			k.held = 0
		}
	}
	return expired
}

func (h *twinHold) sum() (held, spent, back int) {
	for _, k := range h.takes {
		held, spent, back = held+k.held, spent+k.spent, back+k.back
	}
	return held, spent, back
}

func (a *twinAccount) balance() int {
	sum := a.overdraft
	for _, g := range a.grants {
		if g.hasArrived {
			sum += g.left
		}
	}
	return sum
}

// books are those that the machine should have.
func (a *twinAccount) books() [BookCount]Credits {
	left, held, lent := 0, 0, 0
	for _, g := range a.grants {
		left, held, lent = left+g.left, held+g.held, lent+g.lent
	}
	return [BookCount]Credits{
		Credits(-a.granted), Credits(left), Credits(a.overdraft), Credits(a.spent), Credits(a.expired), Credits(held), Credits(a.voided),
		Credits(lent),
	}
}

// once answers an intent by its key; run is called if the key is new.
func (w *twin) once(key, account, intent string, run func(*twinKey) string) string {
	k := w.keys[key]
	switch {
	case k == nil || w.hour()-k.hour > 25:
		n := &twinKey{hour: w.hour(), intent: intent, account: account}
		if n.receipt = run(n); strings.Contains(n.receipt, ":") { // a refusal is one word
			w.keys[key] = n
		}
		return n.receipt
	case k.intent == intent, k.intent == "debit of an item" && intent[:5] == "debit" && k.account == account:
		return k.receipt + " replayed"
	case k.barred && k.intent == "":
		if intent[:5] != "debit" || k.account != account {
			return "conflict"
		}
		w.keys[key] = &twinKey{hour: w.hour(), intent: intent, account: account, receipt: w.receipt(w.touch(account), "returned", 0, 0, 0, nil)}
		return w.keys[key].receipt
	}
	return "conflict"
}

func (w *twin) receipt(a *twinAccount, outcome string, amount, expired, forgiven int, took []*twinTake) string {
	balance := 0
	if a != nil {
		balance = a.balance()
	}
	text := fmt.Sprintf("%s %d balance %d expired %d forgiven %d:", outcome, amount, balance, expired, forgiven)
	for _, t := range took {
		id := "overdraft"
		if t.from != nil {
			id = t.from.id
		}
		text += fmt.Sprintf(" %s %d", id, t.spent)
	}
	return text
}

// burn takes what it can and says how much it could not. It changes grants but no sums.
func (a *twinAccount) burn(amount int, order []Kind, only string, owes bool) (took []*twinTake, short int) {
	take := func(from *twinGrant, x int) {
		if x = min(x, amount); x > 0 {
			took, amount = append(took, &twinTake{from: from, spent: x}), amount-x
		}
	}
	inOrder := slices.Clone(a.grants) // which are in the order of creation
	sort.SliceStable(inOrder, func(i, j int) bool {
		x, y := inOrder[i], inOrder[j]
		if x.priority != y.priority {
			return x.priority < y.priority
		}
		if x.expires != y.expires {
			return y.expires == 0 || (x.expires != 0 && x.expires < y.expires)
		}
		return x.effective < y.effective
	})
	for _, kind := range order {
		if kind == Overdraft && owes {
			take(nil, a.limit+a.overdraft)
		}
		for _, g := range inOrder {
			if g.kind == int(kind) && g.hasArrived && (g.only == "" || g.only == only || only == "*") {
				take(g, g.left)
			}
		}
	}
	return took, amount
}

// pay takes out of the grants what burn found.
func (a *twinAccount) pay(took []*twinTake) {
	for _, t := range took {
		if t.from == nil {
			a.overdraft -= t.spent
		} else {
			t.from.left -= t.spent
		}
	}
}

// move puts something back where it came from, and says how much of it cannot be spent.
func (a *twinAccount) move(g *twinGrant, x int) (expired int) {
	switch {
	case g == nil:
		a.overdraft += x
	case g.isVoided:
		a.voided += x
		return x
	case g.hasExpired:
		a.expired += x
		return x
	default:
		g.left += x
	}
	return 0
}

func (w *twin) debit(k *twinKey, amount int, order []Kind, only string, o Overshoot) string {
	a := w.touch(k.account)
	w.cells["debit absent"]++
	if a.blocked {
		return w.receipt(a, "blocked", 0, 0, 0, nil)
	}
	if o == Overdraw && !slices.Contains(order, Overdraft) {
		order = append(slices.Clone(order), Overdraft)
	}
	took, short := a.burn(amount, order, only, o != Cap)
	if short > 0 && o == Deny {
		return w.receipt(a, "insufficient", 0, 0, 0, nil)
	}
	a.pay(took)
	a.spent += amount - short
	a.forgiven += short
	k.took = nil
	for _, t := range took {
		k.took = append(k.took, &twinTake{from: t.from, spent: t.spent})
	}
	return w.receipt(a, "done", amount-short, 0, short, took)
}

// unwind takes an amount off the end of what was taken.
func unwindTwin(took []*twinTake, amount int) (back []*twinTake) {
	for i := len(took) - 1; i >= 0; i-- {
		if x := min(amount, took[i].spent-took[i].back); x > 0 {
			back, amount = append(back, &twinTake{from: took[i].from, spent: x}), amount-x
			took[i].back += x
		}
	}
	return back
}

func leftOf(took []*twinTake) (left int) {
	for _, t := range took {
		left += t.spent - t.back
	}
	return left
}

func (w *twin) giveBack(account, debit string, amount int) string {
	a := w.touch(account)
	k := w.keys[debit]
	if k == nil || w.hour()-k.hour > 25 {
		w.keys[debit] = &twinKey{hour: w.hour(), account: account, barred: true}
		return w.receipt(a, "done", 0, 0, 0, nil)
	}
	left := leftOf(k.took)
	switch {
	case k.account != account || (!k.barred && k.intent[:5] != "debit"):
		return "conflict"
	case amount > left && !k.barred:
		return "invalid"
	case amount == 0 || k.barred:
		amount = left
	}
	back := unwindTwin(k.took, amount)
	expired := 0
	for _, t := range back {
		expired += a.move(t.from, t.spent)
	}
	a.spent -= amount
	return w.receipt(a, "done", amount, expired, 0, back)
}

// refund gives back what was charged; what has no place to go gets a grant of its own.
func (w *twin) refund(key, charge string, amount int) string {
	if h := w.held(charge); h != nil {
		return w.refundHold(key, h, amount)
	}
	k := w.keys[charge]
	w.cells["refund absent"]++
	switch {
	case k == nil || w.hour()-k.hour > 25:
		return "nocharge"
	case !k.barred && k.intent[:5] != "debit":
		return "conflict"
	}
	a := w.touch(k.account)
	left := leftOf(k.took)
	if amount == 0 {
		amount = left
	}
	if amount == 0 || amount > left {
		return w.receipt(a, "refund_exceeds_captured", 0, 0, 0, nil)
	}
	back := unwindTwin(k.took, amount)
	return w.receipt(a, "done", amount, w.settleBack(a, key, back), 0, back)
}

func (w *twin) settleBack(a *twinAccount, key string, back []*twinTake) (voided int) {
	homeless := map[int]int{}
	for _, t := range back {
		a.spent -= t.spent
		if t.from != nil && (w.forgets(t.from) || (t.from.hasExpired && !t.from.isVoided)) {
			homeless[t.from.kind] += t.spent
			continue
		}
		voided += a.move(t.from, t.spent)
	}
	for kind := range 3 {
		if homeless[kind] > 0 {
			a.grants = append(a.grants, &twinGrant{
				id: key + "#" + Kind(kind).String(), kind: kind, left: homeless[kind], hasArrived: true, effective: w.now, expires: w.now + 7*24*3600,
			})
		}
	}
	return voided
}

// forgets tells that nothing remembers the grant: it became empty more than a day ago. No debit that can be refunded is that
// old, but a hold may be.
func (w *twin) forgets(g *twinGrant) bool { return g.emptied != 0 && w.hour()-g.emptied > 25 }

// empties notes since when grants have been empty.
func (w *twin) empties() {
	for _, a := range w.accounts {
		for _, g := range a.grants {
			if g.left+g.held+g.lent > 0 {
				g.emptied = 0
			} else if g.emptied == 0 {
				g.emptied = w.hour()
			}
		}
	}
}
