package sim

import (
	"slices"
	"testing"
	"time"

	"github.com/weir-cluster/weir/chaos"
)

// TestASearchFindsAnOrderOfWhatWasBooked has the search, which believes no seq, judge the beginning of what each account saw in a
// run with a leader that crashes, and looks whether the run did everything that bookers can do.
func TestASearchFindsAnOrderOfWhatWasBooked(t *testing.T) {
	t.Parallel()
	const most = 60
	s := Schedule{Seed: 4, Nodes: 3, Safety: 25 * time.Second, Checks: 2, Steps: []Step{
		{At: 6 * time.Second, Inject: "crash", Nodes: []string{"n1"}, For: 4 * time.Second},
		{At: 15 * time.Second, Inject: "crash", Nodes: []string{"n2"}, For: 4 * time.Second},
	}}
	h := Run(t, s, nodeLogs(t))
	judge(h, s.Nodes).report(t, "it is that of this test")
	held, kinds := 0, make(map[chaos.Kind]int)
	for _, o := range h.Ops {
		if o.Kind.Writes() && o.Outcome == chaos.OK {
			kinds[o.Kind]++
		}
	}
	for _, n := range intents {
		if kinds[n.kind] == 0 && n.weight > 2 {
			t.Errorf("no %s was answered", n.kind)
		}
	}
	for _, account := range accounts()[:funded] {
		var all []chaos.Op
		for _, o := range h.Ops {
			if o.Account == account && o.Kind != chaos.Entries && len(all) < most {
				all = append(all, o)
			}
		}
		opinion, err := chaos.SecondOpinion(slices.Clone(all), Rules(s.Nodes), account, 2*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		switch opinion.Status {
		case chaos.Refuted:
			t.Errorf("%s: %s%s", account, opinion.Why, excerpt(all))
		case chaos.Held:
			held++
		}
	}
	if held == 0 {
		t.Error("no account could be judged")
	}
}
