package ring

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func TestAJoinMovesOneShareInBatchesAndOnlyToTheNewcomer(t *testing.T) {
	t.Parallel()
	for _, n := range []int{1, 2, 3, 5, 10, 99} {
		roster := members(n)
		first := mustPlan(t, nil, roster, 1)
		roster = append(roster, Member{Name: "newcomer", Standing: Joined})
		last := mustPlan(t, first, roster, 2)
		if last.Homes != first.Homes || last.Moving() > 0 {
			t.Fatalf("of %d: a plan without balance moved something", n)
		}
		roster[n].Standing = Steady
		moved := 0
		for epoch := uint64(3); ; epoch++ {
			next, err := Plan(last, roster, epoch, Moves{Ready: everything(), Batch: batch, Balance: true})
			if err != nil {
				t.Fatal(err)
			}
			if *next == *last {
				break
			}
			for p, home := range next.Homes {
				if home != last.Homes[p] && (int(home) != n || home != last.Nexts[p] || next.Since[p] != epoch || next.Priors[p] != last.Since[p]) {
					t.Fatalf("partition %d went from %d to %d since %d after %d", p, last.Homes[p], home, next.Since[p], next.Priors[p])
				}
			}
			if next.Moving() > batch {
				t.Fatalf("of %d: %d partitions move at a time", n, next.Moving())
			}
			moved += moves(last, next)
			last = next
		}
		share := float64(Partitions) / float64(n+1)
		crowd := crowding(last.Homes[:], n+1)
		t.Logf("%d members and a newcomer: %d partitions moved, its share is %.0f; then max/mean homes %.3f", n, moved, share, crowd)
		if float64(moved) < share-2 || float64(moved) > 1.3*share || slices.Max(counts(last.Homes[:], n+1)) > int(share)+1 {
			t.Errorf("of %d: a join moved %d partitions, its share is %.0f, max/mean %.3f", n, moved, share, crowd)
		}
	}
}

func TestALeaveMovesOneShareAndAtOnceToTheDeputies(t *testing.T) {
	t.Parallel()
	for _, n := range []int{2, 3, 5, 10, 100} {
		roster := members(n)
		last := mustPlan(t, nil, roster, 1)
		roster[1].Standing = Leaving
		next := mustPlan(t, last, roster, 2)
		for p, home := range last.Homes {
			if want := last.Deputies[p]; home == 1 && (next.Homes[p] != want || next.Priors[p] != 1) {
				t.Fatalf("of %d: partition %d went to %d after %d, its deputy was %d", n, p, next.Homes[p], next.Priors[p], want)
			}
		}
		roster[1].Standing = Absent
		after := rested(t, next, roster)
		share, moved := float64(Partitions)/float64(n), moves(last, after)
		crowd := crowding(after.Homes[:], n) * float64(n-1) / float64(n)
		t.Logf("%d members, one left: %d partitions moved at once and %d in all, its share was %.0f; then max/mean homes %.3f",
			n, moves(last, next), moved, share, crowd)
		if float64(moved) > 1.3*share || crowd > 1.15 {
			t.Errorf("of %d: a leave moved %d partitions, its share was %.0f, max/mean %.3f", n, moved, share, crowd)
		}
	}
}

func TestALeavingHomeWithoutADeputyWaitsForItsNextHome(t *testing.T) {
	t.Parallel()
	roster := members(2)
	last := mustPlan(t, nil, roster[:1], 1)
	roster[0].Standing, roster[1].Standing = Leaving, Joined
	next := mustPlan(t, last, roster, 2)
	if next.Homes != last.Homes || next.Moving() != batch || next.Since != last.Since {
		t.Fatalf("%d partitions move, %d have moved", next.Moving(), moves(last, next))
	}
	roster[1].Standing = Steady
	if after := mustPlan(t, next, roster, 3); after.Owns(0) && moves(next, after) != Partitions-batch {
		t.Errorf("%d partitions went to their deputy, which is steady now", moves(next, after))
	}
	next, err := Plan(next, roster, 3, Moves{Ready: everything(), Batch: batch})
	if err != nil || next.Owns(0) || next.Priors[0] != 1 || next.Since[0] != 3 {
		t.Errorf("everything is ready and not moved: %v", err)
	}
}

func TestALostHomeIsFollowedByWhoHasItsState(t *testing.T) {
	t.Parallel()
	ready := []uint16{0}
	for _, c := range []struct {
		why                string
		home, deputy, next Standing
		ready              []uint16
		want               uint16
	}{
		{"a crash", Absent, Steady, Steady, nil, 1},
		{"a crash, the move was done", Absent, Steady, Steady, ready, 2},
		{"a crash, the deputy too", Absent, Absent, Steady, nil, 2},
		{"a crash, the deputy may be lost", Absent, Silent, Absent, nil, 1},
		{"a crash, the next home has forgotten", Absent, Steady, Joined, ready, 1},
		{"it may be lost", Silent, Steady, Steady, ready, 0},
		{"it restarted", Joined, Steady, Absent, nil, 1},
		{"all restarted", Joined, Joined, Joined, nil, 0},
		{"the others restarted", Absent, Joined, Absent, nil, 1},
		{"it leaves", Leaving, Steady, Steady, nil, 1},
		{"it leaves, the deputy may be lost", Leaving, Silent, Steady, nil, 0},
		{"it leaves, the move was done", Leaving, Silent, Steady, ready, 2},
		{"nothing happened", Steady, Steady, Steady, ready, 0},
		{"nobody is left", Absent, Absent, Absent, nil, 3},
	} {
		roster := members(4)
		last := mustPlan(t, nil, roster, 1)
		last.Homes[0], last.Deputies[0], last.Nexts[0] = 0, 1, 2
		roster[0].Standing, roster[1].Standing, roster[2].Standing = c.home, c.deputy, c.next
		next, err := Plan(last, roster, 2, Moves{Ready: c.ready, Batch: batch})
		if err != nil {
			t.Fatal(err)
		}
		want := uint64(2)
		if c.want == 0 && c.home != Joined {
			want = 1
		}
		if next.Homes[0] != c.want || next.Since[0] != want || next.Priors[0] != want-1 {
			t.Errorf("%s: home %d since %d after %d, want home %d since %d", c.why, next.Homes[0], next.Since[0], next.Priors[0], c.want, want)
		}
	}
}

func TestADeputyThatBecomesHomeHasTheOldHomeAsItsDeputyAndCopiesNothingTwice(t *testing.T) {
	t.Parallel()
	roster := members(2)
	last := mustPlan(t, nil, roster[:1], 1)
	roster[1].Standing = Joined
	last = mustPlan(t, last, roster, 2)
	roster[1].Standing = Steady
	next, err := Plan(last, roster, 3, Moves{Batch: batch, Balance: true})
	if err != nil {
		t.Fatal(err)
	}
	for p, to := range next.Nexts {
		if last.Deputies[p] != 1 || to == 1 != (next.Deputies[p] == None) {
			t.Fatalf("partition %d: deputy %d, then %d and next home %d", p, last.Deputies[p], next.Deputies[p], to)
		}
	}
	kept := mustPlan(t, next, roster, 4)
	if *kept != *next {
		t.Error("the next plan changed what moves")
	}
	after := rested(t, next, roster)
	for p, home := range after.Homes {
		if deputy := after.Deputies[p]; home+deputy != 1 {
			t.Fatalf("partition %d: home %d, deputy %d", p, home, deputy)
		}
	}
}

func TestARestartedMemberIsDeputyUntilItHasCopiedAndThenHome(t *testing.T) {
	t.Parallel()
	roster := members(3)
	first := mustPlan(t, nil, roster, 1)
	roster[0].Standing = Joined
	next := mustPlan(t, first, roster, 2)
	for p, home := range first.Homes {
		if home == 0 && (next.Homes[p] != first.Deputies[p] || next.Deputies[p] != 0) {
			t.Fatalf("partition %d went to %d, its deputy was %d", p, next.Homes[p], first.Deputies[p])
		}
	}
	step, err := Plan(next, steadied(roster), 3, Moves{Batch: batch, Balance: true})
	if err != nil || step.Moving() != batch {
		t.Fatalf("%d partitions move: %v", step.Moving(), err)
	}
	for p, to := range step.Nexts {
		if to != None && (to != 0 || next.Deputies[p] != 0) {
			t.Fatalf("partition %d goes to %d, which must copy it first: its deputy is %d", p, to, next.Deputies[p])
		}
	}
	if kept := mustPlan(t, step, steadied(roster), 4); *kept != *step {
		t.Error("the next plan changed what moves")
	}
	if crowd := crowding(rested(t, next, steadied(roster)).Homes[:], 3); crowd > 1.06 {
		t.Errorf("max/mean %.3f", crowd)
	}
}

func TestAMoveIntoTheZoneOfTheDeputyLeavesTheOldHomeAsDeputy(t *testing.T) {
	t.Parallel()
	roster := members(4)
	for i := range roster {
		roster[i].Zone = "abab"[i : i+1]
	}
	for next, deputy := range map[uint16]uint16{3: 2, 0: 1} {
		last := mustPlan(t, nil, roster, 1)
		p, other := owned(last, 2, 1), owned(last, next, 3-next)
		last.Nexts[p], last.Homes[other] = next, 2 // so that all have their share when it has moved
		got, err := Plan(last, roster, 2, Moves{Ready: []uint16{p}, Batch: batch, Balance: true})
		if err != nil || got.Homes[p] != next || got.Deputies[p] != deputy {
			t.Errorf("home %d, deputy %d, want %d and %d: %v", got.Homes[p], got.Deputies[p], next, deputy, err)
		}
	}
}

// owned returns a partition of a home with a deputy.
func owned(tb *Table, home, deputy uint16) uint16 {
	p := uint16(0)
	for tb.Homes[p] != home || tb.Deputies[p] != deputy {
		p++
	}
	return p
}

func TestSharesGoByWeight(t *testing.T) {
	t.Parallel()
	roster := members(4)
	roster[1].Weight, roster[2].Weight = 1, 3
	first := mustPlan(t, nil, roster, 1)
	check := func(when string, tb *Table, shares ...int) {
		t.Helper()
		for i, n := range counts(tb.Homes[:], len(roster)) {
			if want := Partitions * shares[i] / 6; n < want*94/100 || n > want*106/100+1 {
				t.Errorf("%s: member %d is home of %d, its share is %d", when, i, n, want)
			}
		}
	}
	check("first placement", first, 1, 1, 3, 1)
	roster[2].Weight, roster[3].Weight = 1, 3
	check("weights changed", rested(t, first, roster), 1, 1, 1, 3)
}

// TestAnyHistoryComesToRestEven joins, crashes, restarts, silences, leaves and returns members at random, while moves become ready at random,
// and holds every plan to its contract. Then it lets the table come to rest.
func TestAnyHistoryComesToRestEven(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		roster := members(rapid.IntRange(1, 4).Draw(rt, "members"))
		for i := range roster {
			roster[i].Zone = rapid.SampledFrom([]string{"a", "b"}).Draw(rt, "zone")
		}
		last, err := Plan(nil, roster, 1, Moves{})
		if err != nil {
			rt.Fatal(err)
		}
		for epoch := uint64(2); epoch < 12; epoch++ {
			roster = steadied(roster)
			m := Moves{Batch: batch}
			if rapid.IntRange(0, 2).Draw(rt, "kind") > 0 {
				m.Balance = true
			} else {
				roster = befallen(rt, roster, last)
			}
			m.Ready = someReady(rt, last)
			next, err := Plan(last, roster, epoch, m)
			if !slices.ContainsFunc(roster, Member.takes) {
				if err == nil {
					rt.Fatal("planned for nobody")
				}
				return
			}
			if err == nil {
				err = sound(next, roster)
			}
			if err == nil {
				err = follows(last, next, roster, epoch, m)
			}
			if err != nil {
				rt.Fatal(err)
			}
			last = next
		}
		for i, m := range roster {
			if m.Standing == Silent || m.Standing == Leaving && !last.Owns(uint16(i)) {
				roster[i].Standing = Absent
			}
		}
		if !slices.ContainsFunc(roster, Member.takes) {
			return
		}
		if err := restsEven(rested(t, last, steadied(roster)), roster); err != nil {
			rt.Fatal(err)
		}
	})
}

// befallen is the roster after something happened to some.
func befallen(t *rapid.T, roster []Member, last *Table) []Member {
	for i, m := range roster {
		to := []Standing{m.Standing, m.Standing, m.Standing, Absent, Silent, Joined, Leaving}
		if m.Standing == Absent {
			to = []Standing{Absent, Joined}
		}
		roster[i].Standing = rapid.SampledFrom(to).Draw(t, "standing")
		if roster[i].Standing == Leaving && !last.Owns(uint16(i)) {
			roster[i].Standing = Absent
		}
	}
	if rapid.Bool().Draw(t, "join") {
		zone := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "zone")
		roster = append(roster, Member{Name: fmt.Sprint("new-", len(roster)), Zone: zone, Standing: Joined})
	}
	return roster
}

func someReady(t *rapid.T, last *Table) (ready []uint16) {
	of := rapid.IntRange(0, 3).Draw(t, "ready")
	for p, next := range last.Nexts {
		if next != None && p%3 < of {
			ready = append(ready, uint16(p))
		}
	}
	return ready
}

// follows holds one step to the rules of Plan.
func follows(last, next *Table, roster []Member, epoch uint64, m Moves) error {
	ready := make(map[uint16]bool)
	for _, p := range m.Ready {
		ready[p] = true
	}
	is := func(m uint16, s Standing) bool { return m != None && roster[m].Standing == s }
	for p, home := range next.Homes {
		old, deputy, to := last.Homes[p], last.Deputies[p], last.Nexts[p]
		kept := home == old && roster[old].Standing != Joined
		moved := ready[uint16(p)] && home == to && is(to, Steady)
		switch {
		case kept && (next.Since[p] != last.Since[p] || next.Priors[p] != last.Priors[p]),
			!kept && (next.Since[p] != epoch || next.Priors[p] != last.Since[p]):
			return fmt.Errorf("partition %d: home %d -> %d, since %d -> %d after %d", p, old, home, last.Since[p], next.Since[p], next.Priors[p])
		case is(old, Silent) && home != old, is(old, Steady) && home != old && !(moved && m.Balance):
			return fmt.Errorf("partition %d left its home %d, %v, without need", p, old, roster[old].Standing)
		case is(old, Absent) && is(deputy, Steady) && home != deputy && !moved:
			return fmt.Errorf("partition %d went to %d instead of its deputy %d", p, home, deputy)
		case is(home, Joined) && home != old && (is(old, Leaving) || is(deputy, Steady) || is(to, Steady)):
			return fmt.Errorf("partition %d went to %d, which has nothing", p, home)
		case is(deputy, Steady) && !m.Balance && next.Deputies[p] != deputy && home != deputy && next.Nexts[p] != deputy && home == old:
			return fmt.Errorf("partition %d lost its deputy %d without need", p, deputy)
		}
	}
	if next.Moving() > max(batch, last.Moving()) {
		return fmt.Errorf("%d partitions move at a time, before %d", next.Moving(), last.Moving())
	}
	return nil
}

// restsEven holds what is true of a table at rest.
func restsEven(tb *Table, roster []Member) error {
	homes, takers, zones := counts(tb.Homes[:], len(roster)), 0, make(map[string]int)
	for _, m := range roster {
		if m.takes() {
			takers++
			zones[m.Zone]++
		}
	}
	if crowd := float64(slices.Max(homes)) * float64(takers) / Partitions; crowd > 1.15 || tb.Moving() > 0 {
		return fmt.Errorf("at rest with max/mean %.3f and %d partitions that move", crowd, tb.Moving())
	}
	for _, n := range zones {
		if 2*n > takers || len(zones) < 2 { // a zone with most of the members has not enough others for its deputies
			return nil
		}
	}
	deputies := counts(tb.Deputies[:], len(roster))
	for p, home := range tb.Homes {
		if deputy := tb.Deputies[p]; roster[home].Zone == roster[deputy].Zone {
			return fmt.Errorf("partition %d at rest with home %d and deputy %d in one zone; deputies %d", p, home, deputy, deputies)
		}
	}
	return nil
}
