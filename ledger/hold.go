package ledger

import (
	"math"
	"slices"
	"time"
)

// HoldState is where a hold stands.
type HoldState uint8

// The states of a hold. All but Open are ends, though a late capture leads from Expired to Captured.
const (
	Open HoldState = iota
	Captured
	Released
	Lapsed  // its time was over
	Refused // its Authorize did not fit
	holdStateCount
)

var holdStateWords = [holdStateCount]string{"open", "captured", "released", "expired", "refused"}

// String returns the state's word.
func (s HoldState) String() string { return word(holdStateWords[:], uint8(s), "state") }

// OnExpire says what becomes of what a hold still holds when its time is over.
type OnExpire uint8

// The policies of expiry.
const (
	ReleaseRest OnExpire = iota // it is given back
	CaptureRest                 // it is charged: the work was dispatched and costs what was held
	onExpireCount
)

var onExpireWords = [onExpireCount]string{"release", "capture"}

// String returns the word that the API uses.
func (o OnExpire) String() string { return word(onExpireWords[:], uint8(o), "on_expire") }

// ParseOnExpire reads one of the words release and capture, or none for release; another is ErrInvalid.
func ParseOnExpire(text string) (OnExpire, error) {
	if text == "" {
		return ReleaseRest, nil
	}
	o, err := parseWord(onExpireWords[:], text, "on_expire")
	return OnExpire(o), err
}

// Late says what a capture does that comes after its hold's time was over.
type Late uint8

// The policies for late captures.
const (
	LateCharge Late = iota // charge what is available; the rest is forgiven
	LateReject             // HoldExpired
	lateCount
)

var lateWords = [lateCount]string{"charge", "reject"}

// String returns the word that the API uses.
func (l Late) String() string { return word(lateWords[:], uint8(l), "late") }

// ParseLate reads one of the words charge and reject, or none for charge; another is ErrInvalid.
func ParseLate(text string) (Late, error) {
	if text == "" {
		return LateCharge, nil
	}
	l, err := parseWord(lateWords[:], text, "late")
	return Late(l), err
}

// take is what a hold has of one grant. 0 <= back <= spent; held is 0 when the hold has ended. Of an allowance, back is what came
// back to the grant because it had been debited already, and no part of spent.
type take struct {
	kind              Kind
	grant             string
	held, spent, back Credits
	keyed             Credits // of spent: of an allowance's items that are idempotency keys, which are returned and refunded as debits are
}

func (k *take) wire(c *coder) {
	c.word((*uint8)(&k.kind), uint8(kindCount))
	c.text(&k.grant, GrantMax)
	c.credits(&k.held)
	c.credits(&k.spent)
	c.credits(&k.back)
	if c.since(snapshotThird) {
		c.credits(&k.keyed)
	}
}

// hold is the state of a hold. Its id is the key of its Authorize. An ended one is remembered as long as keys are.
type hold struct {
	id, account string // no account: it was released before it came
	state       HoldState
	authorized  Credits
	takes       []take // in the order taken
	order       []Kind
	attributes  []Label
	onExpire    OnExpire
	late        Late
	deadline    int64  // in the log's elapsed nanoseconds
	created     int64  // in log time
	ended       int64  // the hour in which it ended
	endedSeq    uint64 // the event that ended it last
	loan        *loan  // of an allowance: the hold is what a home was lent
}

func (h *hold) wire(c *coder) {
	c.bytes(&h.id)
	c.text(&h.account, AccountMax)
	c.word((*uint8)(&h.state), uint8(holdStateCount))
	c.credits(&h.authorized)
	list(c, &h.takes, math.MaxInt32, (*take).wire)
	list(c, &h.order, KindCount, wireKind)
	list(c, &h.attributes, LabelsMax, (*Label).wire)
	c.word((*uint8)(&h.onExpire), uint8(onExpireCount))
	c.word((*uint8)(&h.late), uint8(lateCount))
	c.int(&h.deadline)
	c.int(&h.created)
	c.int(&h.ended)
	c.uint(&h.endedSeq)
	if c.since(snapshotThird) {
		optional(c, &h.loan, (*loan).wire)
	}
}

func wireKind(k *Kind, c *coder) { c.word((*uint8)(k), uint8(kindCount)) }

func (h *hold) held() (sum Credits) {
	for i := range h.takes {
		sum += h.takes[i].held
	}
	return sum
}

func (h *hold) captured() (sum Credits) {
	for i := range h.takes {
		sum += h.takes[i].spent
	}
	return sum
}

func (h *hold) refunded() (sum Credits) {
	for i := range h.takes {
		sum += h.takes[i].back
	}
	return sum
}

// take returns what the hold has of a part's grant, in its place in the order taken.
func (h *hold) take(p Part) *take {
	i := slices.IndexFunc(h.takes, func(k take) bool { return k.kind == p.Kind && k.grant == p.Grant })
	if i < 0 {
		h.takes = append(h.takes, take{kind: p.Kind, grant: p.Grant})
		i = len(h.takes) - 1
	}
	return &h.takes[i]
}

// charge is what may pay for more than is held.
func (h *hold) charge(o Overshoot) charge { return charge{h.order, h.attributes, o} }

func (h *hold) change() *HoldChange {
	return &HoldChange{
		State: h.state, Authorized: h.authorized, Captured: h.captured(), Refunded: h.refunded(), Deadline: time.Duration(h.deadline),
	}
}

// sound tells whether the hold keeps its invariants.
func (h *hold) sound() bool {
	if h.loan != nil {
		return h.loan.sound(h)
	}
	held, captured := h.held(), h.captured()
	for i := range h.takes {
		if k := &h.takes[i]; k.held < 0 || k.back < 0 || k.back > k.spent {
			return false
		}
	}
	if h.state == Open {
		return h.account != "" && held+captured <= h.authorized && h.refunded() == 0
	}
	return held == 0 && (captured == 0 || (h.state != Refused && h.account != ""))
}

// Hold is a hold as of a place in the log. It belongs to the caller.
type Hold struct {
	ID, Account                          string
	State                                HoldState
	Authorized, Held, Captured, Refunded Credits
	Takes                                []Part // what it holds or has captured of each grant, in the order taken
	Order                                []Kind
	Attributes                           []Label
	OnExpire                             OnExpire
	Late                                 Late
	Created                              time.Time
	ExpiresIn                            time.Duration // of an open one, in the log's Elapsed
	AsOf                                 Stamp
}

func (h *Hold) wire(c *coder) {
	c.text(&h.ID, KeyMax)
	c.text(&h.Account, AccountMax)
	c.word((*uint8)(&h.State), uint8(holdStateCount))
	c.credits(&h.Authorized)
	c.credits(&h.Held)
	c.credits(&h.Captured)
	c.credits(&h.Refunded)
	list(c, &h.Takes, math.MaxInt32, (*Part).wire)
	list(c, &h.Order, KindCount, wireKind)
	list(c, &h.Attributes, LabelsMax, (*Label).wire)
	c.word((*uint8)(&h.OnExpire), uint8(onExpireCount))
	c.word((*uint8)(&h.Late), uint8(lateCount))
	c.time(&h.Created)
	c.duration(&h.ExpiresIn)
	h.AsOf.wire(c)
}

// view copies the hold out. One whose time is over counts as ended, though nothing may have booked it yet.
func (h *hold) view(at Stamp) Hold {
	v := Hold{
		ID: h.id, Account: h.account, State: h.state, Authorized: h.authorized, Held: h.held(), Captured: h.captured(),
		Refunded: h.refunded(), Order: h.order, Attributes: h.attributes, OnExpire: h.onExpire, Late: h.late,
		Created: fromNanos(h.created, 0), AsOf: at,
	}
	for _, k := range h.takes {
		v.Takes = append(v.Takes, Part{k.kind, k.grant, k.held + k.spent})
	}
	if h.state == Open {
		v.ExpiresIn = time.Duration(h.deadline) - at.Elapsed
	}
	return v
}
