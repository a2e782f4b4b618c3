package policy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weir-cluster/weir/ledger"
)

// all returns every chunk that a partition has to ship.
func (rs *Records) all(p uint16, most int) (chunks [][]byte) {
	rs.Track(p, true)
	for more := true; more; {
		var chunk []byte
		if chunk, more = rs.Changes(p, most); chunk != nil {
			chunks = append(chunks, chunk)
		}
	}
	return chunks
}

// inherit has a new node go on with what chunks say.
func (g *rig) inherit(t testing.TB, p uint16, chunks [][]byte) *node {
	t.Helper()
	n := g.node(g.few(0))
	for _, chunk := range chunks {
		if err := n.records.Restore(p, 0, chunk); err != nil {
			t.Fatal(err)
		}
	}
	return n
}

// counted notes the debits that it passes on, and the returns that gave something back.
type counted struct {
	Purse
	keys, backs []string
}

func (c *counted) Debit(ctx context.Context, d ledger.Debit) (ledger.Receipt, error) {
	c.keys = append(c.keys, d.Key)
	return c.Purse.Debit(ctx, d)
}

func (c *counted) Return(ctx context.Context, r ledger.Return) (ledger.Receipt, error) {
	receipt, err := c.Purse.Return(ctx, r)
	if receipt.Amount > 0 && !receipt.Replayed {
		c.backs = append(c.backs, r.Key)
	}
	return receipt, err
}

const settlePolicy = `
version: 1
domains:
  llm:
    account: [user]
    limits: [{name: tpm, key: [user], algorithm: token_bucket, meter: tokens, rate: 4/s, burst: 200, spill: true}]
    prices: [{per: {tokens: 0.0001}}]
`

// begun is a rig with a reservation whose estimate is all that the limit has, and what there is to ship of it. The settlement
// was then paid for, and the answer lost.
func begun(t *testing.T, s *Settlement) (g *rig, part uint16, chunks [][]byte) {
	t.Helper()
	g = newRig(t, settlePolicy)
	g.open(t, "alice", 0, 0, 1_000_000)
	s.Reservation = g.check(t, alice("tokens:200", "requests:0", "reserve")).Reservation
	part, err := ReservationPartition(s.Reservation)
	if err != nil {
		t.Fatal(err)
	}
	chunks = g.w.c.Records.all(part, 1000)
	g.log.broken = errors.New("the answer was lost")
	if _, err := g.w.Settle(t.Context(), *s); !errors.Is(err, ErrUnavailable) {
		t.Fatal(err)
	}
	g.log.broken = nil
	if left := g.balance(t, "alice"); left != 980_000 {
		t.Fatalf("%s left", left)
	}
	return g, part, chunks
}

// A home is lost in the middle of a settlement. The client repeats it, or not; the next home has the reservation as it was
// before it, or on its way. Meanwhile the limits may have come to say something else.
func TestASettlementThatAnEarlierHomeBeganIsPaidForOnce(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		pause time.Duration
		then  Settlement
		left  ledger.Credits // when the next home has it as it was before
		late  ledger.Credits // when it has it on its way
	}{
		{"repeated", 0, Settlement{Actual: []Cost{{"tokens", 400}}}, 980_000, 980_000},
		{"repeated as final", 0, Settlement{Actual: []Cost{{"tokens", 400}}, Final: true}, 980_000, 980_000},
		{"repeated when half of it is within the limit", 25 * time.Second, Settlement{Actual: []Cost{{"tokens", 400}}}, 990_000, 980_000},
		{"repeated when all of it is within the limit", time.Minute, Settlement{Actual: []Cost{{"tokens", 400}}}, 1_000_000, 980_000},
		{"with more use", 0, Settlement{Actual: []Cost{{"tokens", 450}}}, 975_000, 975_000},
		{"final with less use", 0, Settlement{Actual: []Cost{{"tokens", 20}}, Final: true}, 1_000_000, 1_000_000},
		{"extended", 0, Settlement{Extend: time.Minute}, 1_000_000, 980_000},
	} {
		for _, late := range []bool{false, true} {
			var s Settlement
			s.Actual = []Cost{{"tokens", 400}}
			g, part, chunks := begun(t, &s)
			want, id := c.left, s.Reservation
			if late {
				chunks, want = g.w.c.Records.all(part, 1000), c.late
			}
			asked := &counted{Purse: g.ledger}
			g.w.c.Purse = asked
			g.now = g.now.Add(c.pause)
			s = c.then
			s.Reservation = id
			for range 2 { // and then that home is lost too
				next := g.inherit(t, part, chunks)
				for range 2 {
					if _, err := next.w.Settle(t.Context(), s); err != nil {
						t.Fatalf("%s, late %v: %v", c.name, late, err)
					}
				}
				if left := g.balance(t, "alice"); left != want {
					t.Errorf("%s, late %v: %s left, want %s", c.name, late, left, want)
				}
			}
			if same := want == 980_000; same && (slices.ContainsFunc(asked.keys, func(k string) bool { return k != "settle-"+id+"-0" }) || len(asked.backs) > 0) {
				t.Errorf("%s, late %v: asked under %q, gave back %q", c.name, late, asked.keys, asked.backs)
			}
		}
	}
}

// A reservation is paid for as when it was made, whatever the policy says now: else the ledger would be asked for something else.
func TestANewPolicyDoesNotChangeWhatAReservationPays(t *testing.T) {
	t.Parallel()
	s := Settlement{Actual: []Cost{{"tokens", 400}}}
	g, part, chunks := begun(t, &s)
	p, err := Parse("f", []byte(strings.Replace(settlePolicy, "{tokens: 0.0001}}]", "{tokens: 0.0007}}]\n    order: [credit, promo]", 1)))
	if err != nil {
		t.Fatal(err)
	}
	g.policy = p.WithVersion(8)
	asked := &counted{Purse: g.ledger}
	g.w.c.Purse = asked
	a, err := g.inherit(t, part, chunks).w.Settle(t.Context(), s)
	if err != nil || len(asked.keys) != 1 || len(asked.backs) > 0 || g.balance(t, "alice") != 980_000 {
		t.Errorf("%+v, %v; asked under %q, gave back %q, %s left", a, err, asked.keys, asked.backs, g.balance(t, "alice"))
	}
}

// What a home barred, in case an earlier one had paid it, is paid under the next key, also by a home that does not know that.
func TestADebitThatWasBarredIsMadeUnderTheNextKey(t *testing.T) {
	t.Parallel()
	g := newRig(t, settlePolicy)
	g.open(t, "alice", 0, 0, 1_000_000)
	s := Settlement{Reservation: g.check(t, alice("tokens:200", "requests:0", "reserve")).Reservation, Extend: time.Minute}
	part, _ := ReservationPartition(s.Reservation)
	chunks := g.w.c.Records.all(part, 1000)
	for range 2 {
		if _, err := g.inherit(t, part, chunks).w.Settle(t.Context(), s); err != nil || g.balance(t, "alice") != 1_000_000 {
			t.Fatal(err, g.balance(t, "alice"))
		}
	}
	s.Actual = []Cost{{"tokens", 400}}
	a, err := g.inherit(t, part, chunks).w.Settle(t.Context(), s)
	if err != nil || a.Forgiven != 0 || g.balance(t, "alice") != 980_000 {
		t.Errorf("%+v, %v, %s left", a, err, g.balance(t, "alice"))
	}
}

// Of all that an earlier home was paid, and of which nothing became known, nothing stands that its heir would not be paid too.
func TestAllDebitsOfAnEarlierHomeAreUndone(t *testing.T) {
	t.Parallel()
	g := newRig(t, settlePolicy)
	g.open(t, "alice", 0, 0, 1_000_000)
	s := Settlement{Reservation: g.check(t, alice("tokens:200", "requests:0", "reserve")).Reservation}
	part, _ := ReservationPartition(s.Reservation)
	chunks := g.w.c.Records.all(part, 1000)
	for i := range int64(drawsMost) {
		s.Actual = []Cost{{"tokens", 300 + 100*i}}
		if _, err := g.w.Settle(t.Context(), s); err != nil || g.balance(t, "alice") != ledger.Credits(990_000-10_000*i) {
			t.Fatal(err, g.balance(t, "alice"))
		}
	}
	s.Actual = nil
	next := g.inherit(t, part, chunks).w
	if _, err := next.Settle(t.Context(), s); !errors.Is(err, ErrUnavailable) {
		t.Errorf("there was more than one settlement may undo: %v", err)
	}
	if _, err := next.Settle(t.Context(), s); err != nil || g.balance(t, "alice") != 1_000_000 {
		t.Errorf("%v, %s left", err, g.balance(t, "alice"))
	}
}

// An earlier home found that there was not enough, and took what there was.
func TestTheRestThatAnEarlierHomeTookIsUndoneToo(t *testing.T) {
	t.Parallel()
	g := newRig(t, settlePolicy)
	g.open(t, "alice", 0, 0, 7_000)
	s := Settlement{Reservation: g.check(t, alice("tokens:200", "requests:0", "reserve")).Reservation, Actual: []Cost{{"tokens", 400}}}
	part, _ := ReservationPartition(s.Reservation)
	chunks := g.w.c.Records.all(part, 1000)
	if a, err := g.w.Settle(t.Context(), s); err != nil || a.Forgiven != 13_000 || g.balance(t, "alice") != 0 {
		t.Fatal(a, err, g.balance(t, "alice"))
	}
	for range 2 {
		a, err := g.inherit(t, part, chunks).w.Settle(t.Context(), s)
		if err != nil || a.Forgiven != 13_000 || g.balance(t, "alice") != 0 {
			t.Errorf("repeated: %+v, %v, %s left", a, err, g.balance(t, "alice"))
		}
	}
	g.now = g.now.Add(5 * time.Minute) // all of it is within the limit
	if a, err := g.inherit(t, part, chunks).w.Settle(t.Context(), s); err != nil || a.Forgiven != 0 || g.balance(t, "alice") != 7_000 {
		t.Errorf("later: %+v, %v, %s left", a, err, g.balance(t, "alice"))
	}
}

// Give-backs of a final settlement that got halfway are not made again by the next home.
func TestAGiveBackThatAnEarlierHomeBeganIsMadeOnce(t *testing.T) {
	t.Parallel()
	g := newRig(t, settlePolicy)
	g.open(t, "alice", 10_000, 20_000, 1_000_000)
	d := g.check(t, alice("tokens:300", "requests:0", "reserve")) // 100 of them paid for
	s := Settlement{Reservation: d.Reservation, Actual: []Cost{{"tokens", 500}}}
	if _, err := g.w.Settle(t.Context(), s); err != nil || g.balance(t, "alice") != 1_000_000 {
		t.Fatal(err, g.balance(t, "alice"))
	}
	part, _ := ReservationPartition(d.Reservation)
	chunks := g.w.c.Records.all(part, 1000)
	s.Actual[0].Amount, s.Final = 150, true // all of two debits comes back
	purse := g.w.c.Purse
	g.w.c.Purse = &returnsOnce{Purse: purse}
	if _, err := g.w.Settle(t.Context(), s); !errors.Is(err, ErrUnavailable) || g.balance(t, "alice") != 1_020_000 {
		t.Fatal(err, g.balance(t, "alice"))
	}
	if now := g.w.c.Records.all(part, 1000); len(now) != 1 || !bytes.Equal(now[0], chunks[0]) {
		t.Errorf("halfway, %x is told, and before it %x", now, chunks)
	}
	g.w.c.Purse = purse
	next := g.inherit(t, part, chunks)
	want, err := next.w.Settle(t.Context(), s)
	if err != nil || g.balance(t, "alice") != 1_030_000 {
		t.Errorf("%v, %s left", err, g.balance(t, "alice"))
	}
	next = g.inherit(t, part, next.records.all(part, 1000))
	if got, err := next.w.Settle(t.Context(), s); err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("at the home after: %+v, %v, want %+v", got, err, want)
	}
	if _, err := next.w.Settle(t.Context(), Settlement{Reservation: s.Reservation, Final: true}); !errors.Is(err, ErrConflict) {
		t.Errorf("with other contents: %v", err)
	}
	if got, err := g.w.Settle(t.Context(), s); err != nil || fmt.Sprint(got) != fmt.Sprint(want) || g.balance(t, "alice") != 1_030_000 {
		t.Errorf("at the home before: %+v, %v, want %+v; %s left", got, err, want, g.balance(t, "alice"))
	}
}

// returnsOnce does one return and is then out of reach.
type returnsOnce struct {
	Purse
	done bool
}

func (p *returnsOnce) Return(ctx context.Context, r ledger.Return) (ledger.Receipt, error) {
	if p.done {
		return ledger.Receipt{}, errors.New("out of reach")
	}
	p.done = true
	return p.Purse.Return(ctx, r)
}

// A node that is home no more must not undo what the home paid.
func TestAHomeBeforeDoesNotUndoWhatTheHomePaid(t *testing.T) {
	t.Parallel()
	s := Settlement{Actual: []Cost{{"tokens", 400}}}
	g, part, chunks := begun(t, &s)
	stale := g.inherit(t, part, chunks)
	stale.w.c.Lease = &lapsing{comes: true}
	g.now = g.now.Add(25 * time.Second) // it would ask for less
	if _, err := stale.w.Settle(t.Context(), s); !errors.Is(err, ErrUnavailable) {
		t.Error(err)
	}
	if left := g.balance(t, "alice"); left != 980_000 {
		t.Errorf("%s left", left)
	}
}

// An answer of a home that moved its partition meanwhile would be known to nobody.
func TestASettlementIsNotAnsweredByAHomeThatIsNoneAnyMore(t *testing.T) {
	t.Parallel()
	g := newRig(t, settlePolicy)
	s := Settlement{Reservation: g.check(t, alice("tokens:20", "reserve")).Reservation, Actual: []Cost{{"tokens", 10}}, Final: true}
	part, _ := ReservationPartition(s.Reservation)
	for _, l := range []lapsing{{}, {comes: true}} {
		g.w.c.Lease = &l
		if _, err := g.w.Settle(t.Context(), s); !errors.Is(err, ErrUnavailable) {
			t.Error(err)
		}
	}
	g.w.c.Lease = always{}
	if a, err := g.w.Settle(t.Context(), s); err != nil || !a.Final {
		t.Errorf("asked again: %+v, %v", a, err)
	}
	g.w.c.Lease = &lapsing{}
	s.Reservation = reservationID(part, [16]byte{1})
	if _, err := g.w.Settle(t.Context(), s); !errors.Is(err, ErrUnavailable) {
		t.Errorf("of a reservation that may be on its way: %v", err)
	}
}

func TestAReservationOfATryIsSettledAsAnyOther(t *testing.T) {
	t.Parallel()
	g := newRig(t, settlePolicy)
	g.open(t, "alice", 0, 0, 1_000_000)
	r, d := alice("tokens:200", "requests:0", "reserve"), Decision{}
	if decided, err := g.w.Try(&r, &d); !decided || err != nil {
		t.Fatal(decided, err)
	}
	a, err := g.w.Settle(t.Context(), Settlement{Reservation: d.Reservation, Actual: []Cost{{"tokens", 300}}})
	if err != nil || len(a.Sources) != 2 || g.balance(t, "alice") != 990_000 {
		t.Errorf("%+v, %v, %s left", a, err, g.balance(t, "alice"))
	}
}
