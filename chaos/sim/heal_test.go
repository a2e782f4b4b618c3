package sim

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// Bars of how long it takes until there is one view again after a split of a minute, and of ten.
const (
	healShort = 10 * time.Second
	healLong  = 30 * time.Second
)

// one says whether all nodes say the same of the view and of who leads, and that all of them serve and are seen.
func (o *outage) one() (leader string, is bool) {
	epochs, leaders := make(map[uint64]bool), make(map[string]bool)
	for _, m := range o.c.all() {
		w, err := o.d.rest(m, time.Second)
		if err != nil {
			o.t.Fatal(err)
		}
		v, err := w.View(o.t.Context())
		if err != nil {
			return "", false
		}
		for _, other := range v.Members {
			if other.State() != "steady" {
				return "", false
			}
		}
		epochs[v.Epoch], leaders[v.Leader], leader = true, true, v.Leader
	}
	return leader, len(epochs) == 1 && len(leaders) == 1 && leader != ""
}

// split cuts links for so long, and returns how long after the end of that there was one view.
func (o *outage) split(inject string, cut func(leader string) []string, lasts time.Duration) time.Duration {
	o.t.Helper()
	var leader string
	if err := until(time.Minute, func() (is bool) { leader, is = o.one(); return is }); err != nil {
		o.t.Fatalf("there is no one view before: %v", err)
	}
	i, s := injectors[inject], Step{Nodes: cut(leader)}
	for _, name := range s.Nodes {
		i.start(o.c, s, o.c.find(name))
	}
	time.Sleep(lasts)
	if _, is := o.one(); is {
		o.t.Error("the split has no effect")
	}
	for _, name := range s.Nodes {
		i.heal(o.c, s, o.c.find(name))
	}
	healed := time.Now()
	if err := until(5*time.Minute, func() bool { _, is := o.one(); return is }); err != nil {
		o.t.Errorf("there is no one view: %v", err)
	}
	return time.Since(healed).Round(100 * time.Millisecond)
}

// A split heals by itself, whoever is cut off. How it goes without the loop that looks for lost members, the planted bug
// no-rejoin-loop shows.
func TestASplitHealsToOneViewSoon(t *testing.T) {
	t.Parallel()
	fixed := func(names ...string) func(string) []string { return func(string) []string { return names } }
	leader := func(leader string) []string { return []string{leader} }
	withAnother := func(leader string) []string {
		return []string{leader, nodeName(slices.IndexFunc([]int{0, 1}, func(i int) bool { return nodeName(i) != leader }))}
	}
	lane := lanes()
	for seed, row := range []struct {
		shape, inject string
		cut           func(leader string) []string
		lasts, bar    time.Duration
	}{
		{"two of five", "cut", fixed("n4", "n5"), time.Minute, healShort},
		{"one node", "cut", fixed("n3"), time.Minute, healShort},
		{"the leader", "cut", leader, time.Minute, healShort},
		{"the leader and another", "cut", withAnother, time.Minute, healShort},
		{"one node, one way", "one-way", fixed("n2"), time.Minute, healShort},
		{"the leader, one way", "one-way", leader, time.Minute, healShort},
		{"the leader and another", "cut", withAnother, 10 * time.Minute, healLong},
	} {
		t.Run(fmt.Sprint(row.shape, " for ", row.lasts), func(t *testing.T) {
			if testing.Short() && row.lasts > time.Minute {
				t.Skip("ten minutes of five nodes")
			}
			t.Parallel()
			lane <- struct{}{}
			defer func() { <-lane }()
			inOutage(t, uint64(seed), 5, func(o *outage) {
				took := o.split(row.inject, row.cut, row.lasts)
				t.Logf("one view %v after the end", took)
				if took > row.bar {
					t.Errorf("one view %v after the end, want at most %v", took, row.bar)
				}
			})
		})
	}
}

// apart cuts one node off from others, by indexes of those that do not lead, or from the leader by -1. It returns the node's name and
// what heals it.
func (o *outage) apart(from ...int) (name string, heal func()) {
	o.t.Helper()
	var leader string
	if err := until(time.Minute, func() (is bool) { leader, is = o.one(); return is }); err != nil {
		o.t.Fatalf("there is no one view before: %v", err)
	}
	var rest []string
	for _, m := range o.c.all() {
		if m.name != leader {
			rest = append(rest, m.name)
		}
	}
	s := Step{Nodes: rest[:1]}
	for _, i := range from {
		if i < 0 {
			s.Peers = append(s.Peers, leader)
		} else {
			s.Peers = append(s.Peers, rest[i])
		}
	}
	injectors["cut"].start(o.c, s, o.c.find(rest[0]))
	return rest[0], func() { injectors["cut"].heal(o.c, s, o.c.find(rest[0])) }
}

// standing returns the standings of a node in the views of the others, without what is the same, and the newest epoch.
func (o *outage) standing(name string) (states []string, epoch uint64) {
	o.t.Helper()
	for _, m := range o.c.all() {
		w, err := o.d.rest(m, time.Second)
		if err != nil {
			o.t.Fatal(err)
		}
		v, err := w.View(o.t.Context())
		if err != nil || m.name == name {
			continue
		}
		epoch = max(epoch, v.Epoch)
		for _, other := range v.Members {
			if other.Name == name {
				states = append(states, other.Standing)
			}
		}
	}
	slices.Sort(states)
	return slices.Compact(states), epoch
}

// Gossip sees a node round about; whether it can be a home is another matter.
func TestANodeThatCannotServeIsHomeOfNothingUntilItCan(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name string
		from []int
		want string
	}{
		{"most do not reach it, the leader does", []int{1, 2, 3}, "absent"},
		{"it does not reach the leader, all others do", []int{-1}, "absent"},
		{"one other does not reach it", []int{1}, "steady"},
		{"half of the others do not reach it", []int{1, 2}, "steady"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			inOutage(t, 5, 5, func(o *outage) {
				name, heal := o.apart(row.from...)
				time.Sleep(15 * time.Second)
				states, epoch := o.standing(name)
				if !slices.Equal(states, []string{row.want}) {
					t.Errorf("%s is %v, want %s", name, states, row.want)
				}
				time.Sleep(time.Minute)
				if states, later := o.standing(name); !slices.Equal(states, []string{row.want}) || later > epoch+10 {
					t.Errorf("a minute later %s is %v, want %s; %d views meanwhile", name, states, row.want, later-epoch)
				}
				heal()
				began := time.Now()
				if err := until(time.Minute, func() bool { _, is := o.one(); return is }); err != nil || time.Since(began) > healShort {
					t.Errorf("one view %v after the end: %v", time.Since(began), err)
				}
			})
		})
	}
}
