package ring

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// members returns n Steady members in one zone.
func members(n int) []Member {
	roster := make([]Member, n)
	for i := range roster {
		roster[i] = Member{Name: fmt.Sprintf("node-%d", i+1), Standing: Steady}
	}
	return roster
}

const batch = 250 // moves of a share must not end with a whole one

// mustPlan plans without balancing: what the loss or the leave of a member does, and no more.
func mustPlan(t *testing.T, last *Table, roster []Member, epoch uint64) *Table {
	t.Helper()
	next, err := Plan(last, roster, epoch, Moves{Batch: batch})
	if err == nil {
		err = sound(next, roster)
	}
	if err != nil {
		t.Fatal(err)
	}
	return next
}

// rested plans on, everything ready each time, until nothing changes. A Joined member is Steady after the first plan.
func rested(t *testing.T, last *Table, roster []Member) *Table {
	t.Helper()
	for range 100 {
		next, err := Plan(last, roster, last.newest()+1, Moves{Ready: everything(), Batch: batch, Balance: true})
		if err == nil {
			err = sound(next, roster)
		}
		if err != nil {
			t.Fatal(err)
		}
		if *next == *last {
			return next
		}
		last, roster = next, steadied(roster)
	}
	t.Fatal("a hundred plans and no rest")
	return nil
}

func everything() []uint16 {
	all := make([]uint16, Partitions)
	for p := range all {
		all[p] = uint16(p)
	}
	return all
}

func steadied(roster []Member) []Member {
	roster = slices.Clone(roster)
	for i, m := range roster {
		if m.Standing == Joined {
			roster[i].Standing = Steady
		}
	}
	return roster
}

// newest is an epoch that is not older than the table.
func (t *Table) newest() uint64 { return slices.Max(t.Since[:]) + 1 }

// sound holds what is true of every table.
func sound(tb *Table, roster []Member) error {
	takers := 0
	for _, m := range roster {
		if m.takes() {
			takers++
		}
	}
	for p, home := range tb.Homes {
		deputy, next := tb.Deputies[p], tb.Nexts[p]
		gets := func(m uint16) bool { return m == None || roster[m].takes() || roster[m].Standing == Silent }
		switch {
		case home == None || roster[home].Standing == Absent:
			return fmt.Errorf("partition %d has no present home: %d", p, home)
		case home == deputy || home == next || deputy == next && next != None:
			return fmt.Errorf("partition %d has home %d, deputy %d and next home %d", p, home, deputy, next)
		case !gets(deputy) || !gets(next):
			return fmt.Errorf("partition %d has deputy %d and next home %d, one of them absent or leaving", p, deputy, next)
		case deputy == None && next == None && takers > 1:
			return fmt.Errorf("partition %d has no deputy", p)
		case tb.Priors[p] >= tb.Since[p]:
			return fmt.Errorf("partition %d: a tenure of %d after one of %d", p, tb.Since[p], tb.Priors[p])
		}
	}
	return nil
}

// grown adds the members one at a time, each Joined once and Steady afterwards.
func grown(t *testing.T, roster []Member) *Table {
	t.Helper()
	last := mustPlan(t, nil, roster[:1], 1)
	for n := 1; n < len(roster); n++ {
		now := slices.Clone(roster[:n+1])
		now[n].Standing = Joined
		last = rested(t, mustPlan(t, last, now, last.newest()), steadied(now))
	}
	return last
}

// crowding is the greatest share over the mean share of n members.
func crowding(owners []uint16, n int) float64 {
	count := make([]int, n)
	for _, m := range owners {
		count[m]++
	}
	return float64(slices.Max(count)) * float64(n) / float64(len(owners))
}

func moves(a, b *Table) (n int) {
	for p := range Partitions {
		if a.Homes[p] != b.Homes[p] {
			n++
		}
	}
	return n
}

func TestPlanIsEvenForAnyNumberOfMembers(t *testing.T) {
	t.Parallel()
	for _, n := range []int{1, 2, 3, 5, 10, 33, 54, 99, 100} {
		roster := members(n)
		tables := map[string]*Table{"first placement": mustPlan(t, nil, roster, 1)}
		if n == 3 || n == 5 || n == 10 {
			tables["grown"] = grown(t, roster)
		}
		for how, tb := range tables {
			if c := crowding(tb.Homes[:], n); c > 1.06 {
				t.Errorf("%s of %d: homes max/mean %.3f", how, n, c)
			}
			if n > 1 && crowding(tb.Deputies[:], n) > 1.2 {
				t.Errorf("%s of %d: deputies max/mean %.3f", how, n, crowding(tb.Deputies[:], n))
			}
		}
	}
}

func TestPlanIsDeterministicAndLeavesLastAlone(t *testing.T) {
	t.Parallel()
	roster := members(5)
	last := mustPlan(t, nil, roster, 1)
	kept := *last
	roster[1].Standing, roster[3].Standing = Absent, Joined
	a, b := mustPlan(t, last, roster, 2), mustPlan(t, last, roster, 2)
	if *a != *b {
		t.Error("two plans from the same arguments differ")
	}
	if *last != kept {
		t.Error("Plan modified the last table")
	}
}

func TestFirstPlacementGoesByNameNotByPlaceInTheRoster(t *testing.T) {
	t.Parallel()
	roster := members(5)
	turned := slices.Clone(roster)
	slices.Reverse(turned)
	a, b := mustPlan(t, nil, roster, 1), mustPlan(t, nil, turned, 1)
	same := 0
	for p := range Partitions {
		if roster[a.Homes[p]].Name == turned[b.Homes[p]].Name {
			same++
		}
	}
	if same < Partitions*9/10 {
		t.Errorf("only %d partitions have the same home", same)
	}
}

func TestCrashMovesOnlyTheDeadHomesPartitionsToTheirDeputies(t *testing.T) {
	t.Parallel()
	for _, n := range []int{2, 3, 5, 10, 100} {
		roster := members(n)
		last := mustPlan(t, nil, roster, 1)
		roster[1].Standing = Absent
		next := mustPlan(t, last, roster, 2)
		for p, home := range last.Homes {
			wantHome, wantSince := home, uint64(1)
			if home == 1 {
				wantHome, wantSince = last.Deputies[p], 2
			}
			if next.Homes[p] != wantHome || next.Since[p] != wantSince {
				t.Fatalf("of %d: partition %d went from %d to %d since %d, want %d since %d",
					n, p, home, next.Homes[p], next.Since[p], wantHome, wantSince)
			}
			if d := last.Deputies[p]; home != 1 && d != 1 && next.Deputies[p] != d {
				t.Fatalf("of %d: partition %d changed its deputy from %d to %d", n, p, d, next.Deputies[p])
			}
		}
		if n == 2 {
			continue
		}
		homes := float64(slices.Max(counts(next.Homes[:], n))) * float64(n-1) / Partitions
		deputies := float64(slices.Max(counts(next.Deputies[:], n))) * float64(n-1) / Partitions
		t.Logf("%d members, one crashed: %d of %d partitions moved, then max/mean homes %.3f, deputies %.3f",
			n, moves(last, next), Partitions, homes, deputies)
		if homes > 1.25 || deputies > 1.2 {
			t.Errorf("of %d after a crash: max/mean homes %.3f, deputies %.3f", n, homes, deputies)
		}
	}
}

func counts(owners []uint16, n int) []int {
	count := make([]int, n)
	for _, m := range owners {
		count[m]++
	}
	return count
}

func TestLoneMemberThatRestartsKeepsEverythingAsNew(t *testing.T) {
	t.Parallel()
	roster := members(1)
	last := mustPlan(t, nil, roster, 1)
	roster[0].Standing = Joined
	next := mustPlan(t, last, roster, 7)
	for p := range Partitions {
		if next.Homes[p] != 0 || next.Deputies[p] != None || next.Since[p] != 7 {
			t.Fatal(p, next.Homes[p], next.Deputies[p], next.Since[p])
		}
	}
}

func TestRestartOfEverybodyMovesNothing(t *testing.T) {
	t.Parallel()
	roster := members(5)
	last := mustPlan(t, nil, roster, 1)
	for i := range roster {
		roster[i].Standing = Joined
	}
	next := mustPlan(t, last, roster, 2)
	if next.Homes != last.Homes || next.Deputies != last.Deputies {
		t.Error("partitions moved between members of which none has state")
	}
	for p, since := range next.Since {
		if since != 2 {
			t.Fatalf("partition %d lost its state in epoch 2, since says %d", p, since)
		}
	}
}

func TestDeputyIsInAnotherZone(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		zones string
		apart int // partitions whose deputy must be in another zone
	}{
		{"ab", Partitions},
		{"aabb", Partitions},
		{"abcabc", Partitions},
		{"aab", Partitions/3 + Partitions*11/30}, // b takes 1.1 shares at least: more would crowd it
	} {
		roster := members(len(c.zones))
		for i := range roster {
			roster[i].Zone = c.zones[i : i+1]
		}
		for how, tb := range map[string]*Table{"first": mustPlan(t, nil, roster, 1), "grown": grown(t, roster)} {
			apart := 0
			for p, home := range tb.Homes {
				if roster[home].Zone != roster[tb.Deputies[p]].Zone {
					apart++
				}
			}
			crowd := crowding(tb.Deputies[:], len(roster))
			t.Logf("%s %s: %d apart, max/mean %.3f", how, c.zones, apart, crowd)
			if apart < c.apart || crowd > 1.21 {
				t.Errorf("%s %s: %d deputies in another zone, want %d; max/mean %.3f", how, c.zones, apart, c.apart, crowd)
			}
		}
	}
}

func TestPlanRefusesRostersItCannotPlaceOn(t *testing.T) {
	t.Parallel()
	last := mustPlan(t, nil, members(3), 1)
	for why, c := range map[string]struct {
		last   *Table
		roster []Member
	}{
		"empty":        {nil, nil},
		"all absent":   {nil, []Member{{Name: "a"}}},
		"no name":      {nil, []Member{{Standing: Steady}}},
		"twice":        {nil, append(members(2), members(1)...)},
		"shrunk":       {last, members(2)},
		"out of range": {nil, members(None + 1)},
	} {
		if tb, err := Plan(c.last, c.roster, 2, Moves{}); tb != nil || err == nil || errors.Unwrap(err) == nil {
			t.Errorf("%s: %v", why, err)
		}
	}
}

func TestKeysAreSpreadEvenly(t *testing.T) {
	t.Parallel()
	const keys = 100_000
	random := rand.New(rand.NewPCG(1, 2))
	kinds := map[string]func(i int) string{
		"sequential": func(i int) string { return fmt.Sprintf("user-%d", i+1) },
		"uuid": func(int) string {
			a, b := random.Uint64(), random.Uint64()
			return fmt.Sprintf("%08x-%04x-4%03x-%04x-%012x", a>>32, a>>16&0xffff, a&0xfff, b>>48, b&0xffffffffffff)
		},
		"email":      func(i int) string { return fmt.Sprintf("%c%c.smith%d@example.com", 'a'+i%26, 'a'+i/26%26, i/676) },
		"org~user":   func(i int) string { return fmt.Sprintf("org%d~user%d", i%500, i/500) },
		"api key":    func(i int) string { return fmt.Sprintf("sk_live_51H8xQy2eZvKYlo2C%05d", i) },
		"one letter": func(i int) string { return fmt.Sprintf("customer%c%c%cname", 'a'+i%26, 'a'+i/26%26, 'a'+i/676%148) },
	}
	tables := map[int][]*Table{}
	for _, n := range []int{3, 5, 10} {
		tables[n] = []*Table{mustPlan(t, nil, members(n), 1), grown(t, members(n))}
	}
	for kind, key := range kinds {
		parts := make([]uint16, keys)
		for i := range parts {
			parts[i] = Partition("llm", key(i))
		}
		for n, pair := range tables {
			for i, how := range []string{"first placement", "grown"} {
				homes := make([]uint16, keys)
				for k, p := range parts {
					homes[k] = pair[i].Homes[p]
				}
				c := crowding(homes, n)
				t.Logf("%-10s %2d nodes, %-15s: keys max/mean %.3f", kind, n, how, c)
				if c > 1.25 {
					t.Errorf("%s over %d nodes, %s: keys max/mean %.3f", kind, n, how, c)
				}
			}
		}
	}
}
