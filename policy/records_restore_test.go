package policy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/weir-cluster/weir/ring"
	"pgregory.net/rapid"
)

func TestWhatChangesIsDueOnceUntilItIsTaken(t *testing.T) {
	t.Parallel()
	g := newRig(t, spillPolicy)
	rs, p := g.w.c.Records, ring.Partition("llm", "alice")
	told := func() bool {
		select {
		case <-rs.Changed():
			return true
		default:
			return false
		}
	}
	if d := g.check(t, alice("reserve")); told() || rs.Due(nil) != nil {
		t.Errorf("not tracked, %s is due", d.Reservation)
	}
	rs.Track(p, true)
	for range 2 {
		if due := rs.Due([]uint16{1}); !told() || !slices.Equal(due, []uint16{1, p}) {
			t.Errorf("what was there: %v", due)
		}
		g.check(t, alice("reserve", "requests:0", "tokens:1"))
		if due := rs.Due(nil); told() || due != nil {
			t.Errorf("before it is taken, again %v", due)
		}
		if chunk, more := rs.Changes(p, 1); chunk == nil || !more {
			t.Errorf("first of two: %q, %v", chunk, more)
		}
		if chunk, more := rs.Changes(p, 1); chunk == nil || more {
			t.Errorf("second of two: %q, %v", chunk, more)
		}
		if chunk, more := rs.Changes(p, 1); chunk != nil || more || rs.Due(nil) != nil {
			t.Errorf("nothing: %q, %v", chunk, more)
		}
		rs.Drop(p)
		g.check(t, alice("reserve", "requests:0", "tokens:1"))
		rs.Track(p, true)
	}
	rs.Track(p, false)
	if chunk, more := rs.Changes(p, 1); chunk != nil || more || rs.Due(nil) != nil {
		t.Errorf("tracked no more: %q, %v", chunk, more)
	}
	rs.Track(p, true)
	g.now = g.now.Add(time.Hour)
	if chunk, more := rs.Changes(p, 1); chunk != nil || more {
		t.Errorf("ended: %q, %v", chunk, more)
	}
}

// A settlement that waits for the ledger keeps nobody from shipping what was before it.
func TestASettlementUnderWayIsShippedAsItStood(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, settlePolicy)
		g.open(t, "alice", 0, 0, 1_000_000)
		s := Settlement{Reservation: g.check(t, alice("tokens:200", "requests:0", "reserve")).Reservation, Actual: []Cost{{"tokens", 300}}}
		p, _ := ReservationPartition(s.Reservation)
		answer, done := make(chan struct{}), make(chan Settled)
		g.w.c.Purse = slowPurse{g.ledger, answer}
		go func() {
			a, err := g.w.Settle(t.Context(), s)
			if err != nil {
				t.Error(err)
			}
			done <- a
		}()
		synctest.Wait()
		under := g.w.c.Records.all(p, 1000)
		read := func(chunks [][]byte) reservationForm {
			f, err := readChunk(p, chunks[0])
			if err != nil || len(chunks) != 1 {
				t.Fatal(err, len(chunks))
			}
			return f.reservations[0]
		}
		if f := read(under); f.meters[0].charged != 200 || f.meters[0].more != 100 || f.cost != 10_000 || len(f.debits) != 0 {
			t.Errorf("under way: %+v", f)
		}
		close(answer)
		<-done
		chunk, _ := g.w.c.Records.Changes(p, 1000)
		if f := read([][]byte{chunk}); f.meters[0].charged != 300 || f.cost != 0 || len(f.debits) != 1 {
			t.Errorf("done: %+v", f)
		}
	})
}

func TestRestoreKeepsTheNewerAndRepeatsNothing(t *testing.T) {
	t.Parallel()
	g := newRig(t, spillPolicy)
	from := g.node(g.few(0))
	p := ring.Partition("llm", "alice")
	from.records.Track(p, true)
	decide := func(words ...string) (Decision, []byte) {
		t.Helper()
		d, err := from.c.Check(t.Context(), alice(words...))
		chunk, more := from.records.Changes(p, 1<<20)
		if err != nil || chunk == nil || more {
			t.Fatal(err, chunk, more)
		}
		return d, chunk
	}
	d, older := decide("key=k", "reserve")
	if _, err := from.w.Settle(t.Context(), Settlement{Reservation: d.Reservation, Extend: time.Hour}); err != nil {
		t.Fatal(err)
	}
	newer, _ := from.records.Changes(p, 1<<20)
	to := g.inherit(t, p, [][]byte{older, newer, newer, older})
	r := to.records.shelves[p].reservations[d.Reservation]
	if left := r.until.Sub(g.now); to.records.reserved != 1 || to.records.keys != 1 || left != time.Hour {
		t.Errorf("%d reservations, %d keys, %v left", to.records.reserved, to.records.keys, left)
	}
	if again, err := to.c.Check(t.Context(), alice("key=k", "reserve")); err != nil || again.ID != d.ID {
		t.Errorf("%+v, %v", again, err)
	}
	g.now = g.now.Add(time.Second)
	for _, chunk := range [][]byte{newer, older} {
		if err := to.records.Restore(p, 0, chunk); err != nil { // late, it would last longer
			t.Fatal(err)
		}
	}
	f := to.records.shelves[p].firsts[checkKey{"llm", "alice", "k"}]
	if left, first := r.until.Sub(g.now), f.until.Sub(g.now); left != time.Hour-time.Second || first != 10*time.Minute-time.Second {
		t.Errorf("repeated later: %v and %v left", left, first)
	}
	// A home that began without the record decided the key anew, later.
	from.records.Drop(p)
	from.records.Track(p, true)
	g.now = g.now.Add(time.Second)
	late, chunk := decide("key=k", "reserve")
	for range 2 {
		if err := to.records.Restore(p, 0, chunk); err != nil {
			t.Fatal(err)
		}
		if again, err := to.c.Check(t.Context(), alice("key=k", "reserve")); err != nil || again.ID != late.ID || to.records.keys != 1 {
			t.Errorf("%+v, %v", again, err)
		}
		chunk = older
	}
}

// A node that is deciding a key already is asked by its own clients; what comes late does not change its answer.
func TestRestoreLeavesWhatIsBeingDecided(t *testing.T) {
	t.Parallel()
	g := newRig(t, spillPolicy)
	from, to := g.node(g.few(0)), g.node(g.few(0))
	p, r := ring.Partition("llm", "alice"), alice("key=k")
	if _, err := from.c.Check(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	c := Idempotent(slowly(func(context.Context, Request) (Decision, error) {
		return Decision{Verdict: Allow, ID: ulid.ULID{7}}, to.records.Restore(p, 0, from.records.all(p, 1<<20)[0])
	}), IdempotentConfig{Policy: g.w.c.Policy, Now: g.w.c.Now, Records: to.records})
	for range 2 {
		if d, err := c.Check(t.Context(), r); err != nil || d.ID != (ulid.ULID{7}) || to.records.keys != 1 || len(to.records.soonest) != 1 {
			t.Errorf("%+v, %v, %d keys", d, err, to.records.keys)
		}
	}
}

func TestASweepForgetsWhatEndedButNotWhatIsBeingSettled(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, settlePolicy)
		g.open(t, "alice", 0, 0, 1_000_000)
		rs := g.few(0)
		n := g.node(rs)
		d, err := n.c.Check(t.Context(), alice("tokens:200", "requests:0", "reserve", "key=k"))
		if err != nil {
			t.Fatal(err)
		}
		for i, moves := range []bool{false, true} {
			use := int64(300 + 1000*i)
			answer, done := make(chan struct{}), make(chan error)
			n.w.c.Purse = slowPurse{g.ledger, answer}
			go func() {
				_, err := n.w.Settle(t.Context(), Settlement{Reservation: d.Reservation, Actual: []Cost{{"tokens", use}}, Extend: time.Hour})
				done <- err
			}()
			synctest.Wait()
			if moves {
				rs.Drop(ring.Partition("llm", "alice"))
			} else {
				g.now = g.now.Add(11 * time.Minute)
				rs.sweep(g.now)
			}
			close(answer)
			if err := <-done; moves != errors.Is(err, ErrUnavailable) || !moves && err != nil {
				t.Errorf("moves %v: %v", moves, err)
			}
			if rs.keys != 0 || (rs.reserved == 0) != moves {
				t.Errorf("moves %v: %d keys, %d reservations", moves, rs.keys, rs.reserved)
			}
			g.now = g.now.Add(30 * time.Minute)
		}
	})
}

// Dropping a partition leaves what is being decided to who decides it.
func TestDropForgetsAllButWhatIsBeingDecided(t *testing.T) {
	t.Parallel()
	g := newRig(t, spillPolicy)
	rs, p := g.few(0), ring.Partition("llm", "alice")
	n := g.node(rs)
	for _, key := range []string{"key=a", "key=b"} {
		if _, err := n.c.Check(t.Context(), alice(key, "reserve")); err != nil {
			t.Fatal(err)
		}
	}
	c := Idempotent(slowly(func(context.Context, Request) (Decision, error) {
		rs.Drop(p)
		if rs.reserved != 0 || rs.keys != 1 || len(rs.soonest) != 0 {
			t.Errorf("%d reservations, %d keys", rs.reserved, rs.keys)
		}
		return Decision{Verdict: Allow}, nil
	}), IdempotentConfig{Policy: g.w.c.Policy, Now: g.w.c.Now, Records: rs})
	if _, err := c.Check(t.Context(), alice("key=k")); err != nil || rs.keys != 1 {
		t.Error(err, rs.keys)
	}
}

func TestWhatIsLeftOfARecordShrinksOnItsWay(t *testing.T) {
	t.Parallel()
	g := newRig(t, spillPolicy)
	d := g.check(t, alice("reserve"))
	p, _ := ReservationPartition(d.Reservation)
	chunk := g.w.c.Records.all(p, 1<<20)[0]
	n := g.node(g.few(0))
	for _, c := range []struct {
		age  time.Duration
		left time.Duration
	}{{10 * time.Minute, 0}, {9 * time.Minute, time.Minute}, {-time.Minute, 10 * time.Minute}} {
		n.records.Drop(p)
		if err := n.records.Restore(p, c.age, chunk); err != nil {
			t.Fatal(err)
		}
		left := time.Duration(0)
		if r := n.records.shelves[p].reservations[d.Reservation]; r != nil {
			left = r.until.Sub(g.now)
		}
		if left != c.left {
			t.Errorf("%v old: %v left, want %v", c.age, left, c.left)
		}
	}
}

func TestRestoreAtTheBoundsDropsTheOldestDecisionsAndRefusesReservations(t *testing.T) {
	t.Parallel()
	g := newRig(t, spillPolicy)
	from, p := g.node(g.few(0)), ring.Partition("llm", "alice")
	var ids []ulid.ULID
	for i := range 4 {
		d, err := from.c.Check(t.Context(), alice(fmt.Sprint("key=k", i), "requests:1", "reserve"))
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, d.ID)
		g.now = g.now.Add(time.Second)
	}
	to := g.node(NewRecords(RecordsConfig{Policy: g.w.c.Policy, Now: g.w.c.Now, ReservationsMax: 3, KeysMax: 2}))
	chunks := from.records.all(p, 1<<20)
	err := to.records.Restore(p, 0, chunks[0])
	if len(chunks) != 1 || !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "holds 3 reservations, as many as it may, and has no room for 1 more") {
		t.Error(err)
	}
	for i := range 4 {
		kept := to.records.shelves[p].firsts[checkKey{"llm", "alice", fmt.Sprint("k", i)}] != nil
		if kept != (i >= 2) {
			t.Errorf("the decision of %d is kept: %v", i, kept)
		}
	}
	g.now = g.now.Add(9*time.Minute + 58*time.Second) // all but the last have ended
	if err := to.records.Restore(p, 9*time.Minute+58*time.Second, chunks[0]); err != nil || to.records.reserved > 3 {
		t.Error(err, to.records.reserved)
	}
	if d, err := to.c.Check(t.Context(), alice("key=k3", "requests:1", "reserve")); err != nil || d.ID != ids[3] {
		t.Errorf("%+v %v", d, err)
	}
}

func TestWhatANewerPolicyDoesNotHaveIsLeftOut(t *testing.T) {
	t.Parallel()
	g := newRig(t, spillPolicy)
	from, p := g.node(g.few(0)), ring.Partition("llm", "alice")
	d, err := from.c.Check(t.Context(), alice("model=large", "tokens:30", "key=k", "reserve"))
	if err != nil {
		t.Fatal(err)
	}
	chunk := from.records.all(p, 1<<20)[0]
	for _, c := range []struct {
		document string
		limits   []string
		keys     int
	}{
		{spillPolicy, []string{"rpm", "tpm", "guard"}, 1},
		{around("limits: [{name: tpm, key: [user], algorithm: fixed_window, meter: tokens, limit: 70, window: 1m}]"), []string{"tpm"}, 1},
		{around("limits: [{name: tpm, key: [user], algorithm: sliding_window, meter: tokens, limit: 70, window: 1m}]"), []string{}, 1},
		{around("limits: [{name: tpm, key: [user], algorithm: fixed_window, limit: 70, window: 1m}]"), []string{}, 1},
		{"version: 1\ndomains: {other: {account: [user]}}", nil, 0},
	} {
		q, err := Parse("f", []byte(c.document))
		if err != nil {
			t.Fatal(err)
		}
		g.policy = q.WithVersion(8)
		n := g.inherit(t, p, [][]byte{chunk})
		var limits []string
		if r := n.records.shelves[p].reservations[d.Reservation]; r != nil {
			limits = []string{}
			for _, l := range r.limits {
				limits = append(limits, l.name)
			}
		}
		if !slices.Equal(limits, c.limits) || (limits == nil) != (c.limits == nil) || n.records.keys != c.keys {
			t.Errorf("%s: %q and %d keys", c.document, limits, n.records.keys)
		}
		if c.limits == nil {
			g.policy = q.WithVersion(6)
			if err := n.records.Restore(p, 0, chunk); !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), `domain "llm" is unknown under policy version 6, the chunk is of version 7`) {
				t.Errorf("before the policy came: %v", err)
			}
		}
	}
}

func TestARestoredReservationGoesByTheOverrideOfItsAccount(t *testing.T) {
	t.Parallel()
	g := newRig(t, spillPolicy)
	d := g.check(t, alice("reserve"))
	p, _ := ReservationPartition(d.Reservation)
	chunks := g.w.c.Records.all(p, 1<<20)
	g.policy = g.policy.beside(&agreed{overrides: map[place]override{{"llm", "alice", "guard"}: {terms: Terms{Limit: 9}}}})
	r := g.inherit(t, p, chunks).records.shelves[p].reservations[d.Reservation]
	if len(r.takes) != 2 || r.takes[0].Limit.Burst != 2 || r.takes[1].Limit.Count != 9 {
		t.Errorf("%+v", r.takes)
	}
}

func TestAChunkThatCannotBeReadChangesNothingAndSaysWhich(t *testing.T) {
	t.Parallel()
	g := newRig(t, spillPolicy)
	from, p := g.node(g.few(0)), ring.Partition("llm", "alice")
	d, err := from.c.Check(t.Context(), alice("key=k", "reserve"))
	if err != nil {
		t.Fatal(err)
	}
	from.records.Track(p, true)
	one, _ := from.records.Changes(p, 1)
	two, _ := from.records.Changes(p, 1)
	whole := append(slices.Clone(one), two[2:]...)
	for _, c := range []struct {
		p     uint16
		chunk []byte
		want  string
	}{
		{p, nil, "it ends too early"},
		{p, []byte{9, 7}, "it is of a format that this release does not know"},
		{p, append(slices.Clone(one), 7), "record 2 is of kind 7, which this release does not know"},
		{p, one[:len(one)-1], "record 1, reservation " + reservationID(p, d.ID) + ` of account "alice"`},
		{p, whole[:len(whole)-1], `record 2, idempotency key "k" of account "alice"`},
		{p + 1, one, fmt.Sprintf(`account "alice" of domain "llm" is of partition %d`, p)},
		{p + 1, two, fmt.Sprintf(`account "alice" of domain "llm" is of partition %d`, p)},
	} {
		rs := g.few(0)
		err := rs.Restore(c.p, 0, c.chunk)
		if !errors.Is(err, ErrChunk) || !strings.Contains(err.Error(), c.want) || rs.reserved+rs.keys > 0 {
			t.Errorf("got %v, want %s; %d reservations, %d keys", err, c.want, rs.reserved, rs.keys)
		}
	}
	if err := g.few(0).Restore(p, 0, whole); err != nil {
		t.Error(err)
	}
}

// What is read would be written so, and what is restored can be shipped again.
func FuzzRecords(f *testing.F) {
	g := newRig(f, recordsPolicy)
	p := ring.Partition("llm", "alice")
	g.open(f, "alice", 0, 0, 1_000_000)
	n := g.node(g.few(0))
	for i, words := range [][]string{{"key=k", "requests:6", "tokens:150"}, {"reserve"}, {"key=e", "tokens:9000"}} {
		r := alice(append(words, "model=large")...)
		r.Explain = i == 2
		d, err := n.c.Check(context.Background(), r)
		if err != nil {
			f.Fatal(err)
		}
		if d.Reservation != "" {
			_, err = n.w.Settle(context.Background(), Settlement{Reservation: d.Reservation, Actual: []Cost{{"tokens", 500}}, Final: true})
		}
		if err != nil {
			f.Fatal(err)
		}
		for _, chunk := range n.records.all(p, 1<<20) {
			f.Add(chunk)
		}
	}
	under := &reservationForm{left: 1, domain: "llm", account: "alice", priced: true, cost: 5, meters: []meterForm{{name: "tokens", charged: 9, price: 3, more: 5, short: 4}}}
	c := &coder{b: append(appendHead(nil, g.policy), kindReservation)}
	under.fields(c)
	f.Add(c.b)
	f.Fuzz(func(t *testing.T, chunk []byte) {
		form, err := readChunk(p, chunk)
		rs := g.few(2)
		rs.c.ReservationsMax = 2
		rs.Track(p, true)
		restored := rs.Restore(p, time.Millisecond, chunk)
		if err != nil {
			if !errors.Is(restored, ErrChunk) {
				t.Fatalf("read %v, restored %v", err, restored)
			}
			return
		}
		c := &coder{}
		for i := range form.reservations {
			c.b = append(c.b, kindReservation)
			form.reservations[i].fields(c)
		}
		for i := range form.firsts {
			c.b = append(c.b, kindFirst)
			form.firsts[i].fields(c)
		}
		if mixed := len(form.reservations) > 0 && len(form.firsts) > 0; !mixed && !bytes.HasSuffix(chunk, c.b) {
			t.Fatalf("%x is written as %x", chunk, c.b)
		}
		for more := true; more; {
			var again []byte
			if again, more = rs.Changes(p, 100); again == nil {
				continue
			}
			if err := g.few(0).Restore(p, 0, again); err != nil {
				t.Fatalf("%x was restored, and %x not: %v", chunk, again, err)
			}
		}
	})
}

func TestTheDecisionThatEndsSoonestIsForgottenFirst(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var h soonest
		var in []*first
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			if rapid.IntRange(0, 2).Draw(t, "act") > 0 || len(in) == 0 {
				f := &first{note: note{until: time.Unix(rapid.Int64Range(0, 9).Draw(t, "until"), 0)}}
				h.push(f)
				in = append(in, f)
			} else {
				i := rapid.IntRange(0, len(in)-1).Draw(t, "which")
				h.remove(in[i])
				h.remove(in[i])
				in = slices.Delete(in, i, i+1)
			}
			if len(h) != len(in) {
				t.Fatalf("%d of %d", len(h), len(in))
			}
			for i, f := range h {
				if f.place != i+1 || !slices.Contains(in, f) || f.until.Before(h.front().until) {
					t.Fatalf("place %d of %d is wrong", i, len(h))
				}
			}
		}
	})
}
