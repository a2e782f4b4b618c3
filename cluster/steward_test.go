package cluster

import (
	"testing"

	"github.com/weir-cluster/weir/ring"
)

func TestNothingChangesWhileTheSameAreAlive(t *testing.T) {
	v := grown(t, nil, sighted("a", "1"), sighted("b", "2"))
	next, err := nextView(v, []Sighting{sighted("a", "1"), sighted("b", "2")}, anyEnded{}.Ended)
	if err != nil || next != nil {
		t.Errorf("next view %v, %v", next, err)
	}
}

func TestACrashMovesOnlyTheLostHomesPartitionsToTheirDeputies(t *testing.T) {
	a, b, c := sighted("a", "1"), sighted("b", "2"), sighted("c", "3")
	v := grown(t, nil, a, b, c)
	next := grown(t, v, a, c)
	for p := range uint16(ring.Partitions) {
		was, _ := v.Home(p)
		is, _ := next.Home(p)
		deputy, _ := v.Deputy(p)
		switch {
		case was.Name != "b" && is.Name != was.Name:
			t.Fatalf("partition %d moved from %s to %s", p, was.Name, is.Name)
		case was.Name == "b" && is.Name != deputy.Name:
			t.Fatalf("partition %d went to %s, its deputy was %s", p, is.Name, deputy.Name)
		}
	}
	if i := next.Find("b"); i < 0 || next.Roster[i].Standing != ring.Absent {
		t.Errorf("b must stay on the roster, absent: %+v", next.Roster)
	}
}

func TestARestartedMemberBringsNoState(t *testing.T) {
	a, b := sighted("a", "1"), sighted("b", "2")
	v := grown(t, nil, a, b)
	next := grown(t, v, a, sighted("b", "3"))
	for p := range uint16(ring.Partitions) {
		was, _ := v.Home(p)
		is, _ := next.Home(p)
		deputy, _ := next.Deputy(p)
		if is.Name != "a" || deputy.Name != "b" || was.Name == "b" && next.Table.Since[p] != next.Epoch {
			t.Fatalf("partition %d of %s went to %s since %d, deputy %s", p, was.Name, is.Name, next.Table.Since[p], deputy.Name)
		}
	}
}

func TestALeavingMemberOwnsNothing(t *testing.T) {
	a, b := sighted("a", "1"), sighted("b", "2")
	v := grown(t, nil, a, b)
	b.Leaving = true
	next := grown(t, v, a, b)
	if n := homes(next); n["b"] != 0 || n["a"] != ring.Partitions {
		t.Errorf("homes %v", n)
	}
	a.Leaving = true
	if last, err := nextView(next, []Sighting{a, b}, anyEnded{}.Ended); last != nil || err != nil {
		t.Errorf("all leave: %v, %v: there is nobody to plan for", last, err)
	}
}

func TestANewAddressMovesNothing(t *testing.T) {
	a, b := sighted("a", "1"), sighted("b", "2")
	v := grown(t, nil, a, b)
	b.Peer = "elsewhere:1"
	next := grown(t, v, a, b)
	if *next.Table != *v.Table || next.Roster[next.Find("b")].Peer != "elsewhere:1" {
		t.Errorf("table changed or address not: %+v", next.Roster)
	}
}

func TestANewcomerIsHomeOfNothingAtFirst(t *testing.T) {
	a, b, c := sighted("a", "1"), sighted("b", "2"), sighted("c", "3")
	was := grown(t, nil, a, b)
	v := grown(t, was, a, b, c)
	if v.Table.Homes != was.Table.Homes || v.Table.Moving() > 0 || !v.Roster[2].Joining || v.Roster[2].Standing != ring.Steady {
		t.Errorf("homes %v, %d partitions move, %+v", homes(v), v.Table.Moving(), v.Roster[2])
	}
	if was.Roster[0].Joining || v.Roster[1].Joining {
		t.Errorf("who founded the cluster, or was there before, is not joining: %+v", v.Roster)
	}
}

func TestALeavingHomeWhoseDeputyIsLostStaysUntilAnotherHasCopied(t *testing.T) {
	a, b, c := sighted("a", "1"), sighted("b", "2"), sighted("c", "3")
	v := grown(t, nil, a, b, c)
	a.Leaving = true
	next, err := nextView(v, []Sighting{a, c}, func(string, string) bool { return false }) // b may be lost
	if err != nil || next == nil {
		t.Fatal(next, err)
	}
	kept := 0
	for p := range uint16(ring.Partitions) {
		was, _ := v.Home(p)
		is, _ := next.Home(p)
		deputy, _ := v.Deputy(p)
		to, moves := next.Next(p)
		switch {
		case was.Name != "a" && is.Name != was.Name, was.Name == "a" && deputy.Name == "c" && is.Name != "c":
			t.Fatalf("partition %d of %s, deputy %s, went to %s", p, was.Name, deputy.Name, is.Name)
		case is.Name == "a":
			kept++
			if moves && to.Name != "c" {
				t.Fatalf("partition %d moves to %s", p, to.Name)
			}
		}
	}
	if i := next.Find("a"); kept == 0 || next.Table.Moving() != min(kept, moveBatch) || next.Roster[i].Standing != ring.Leaving {
		t.Errorf("%d partitions stayed, %d move, %+v", kept, next.Table.Moving(), next.Roster[i])
	}
}

func TestAWeightIsTakenIntoTheView(t *testing.T) {
	a, b := sighted("a", "1"), sighted("b", "1")
	a.Weight = 3
	if n := homes(grown(t, nil, a, b)); n["a"] != 3072 || n["b"] != 1024 {
		t.Errorf("homes %v", n)
	}
}

func TestNobodyGetsWhatALeaseMayStillHold(t *testing.T) {
	a, b, c := sighted("a", "1"), sighted("b", "1"), sighted("c", "1")
	v := grown(t, nil, a, b, c)
	unended := func(string, string) bool { return false }
	for _, alive := range [][]Sighting{{a, c}, {a, c, sighted("b", "2")}} {
		if next, err := nextView(v, alive, unended); next != nil || err != nil {
			t.Errorf("%d alive: %+v, %v: b may decide still", len(alive), next, err)
		}
	}
	b.Leaving = true
	next, err := nextView(v, []Sighting{a, b, c}, unended)
	if err != nil || next == nil || homes(next)["b"] != 0 {
		t.Errorf("b leaves by itself: %+v, %v", next, err)
	}
}
