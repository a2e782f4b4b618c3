package chaos

import (
	"testing"
	"time"
)

// TestAChangeOfHomeLosesWhatWasNotShippedAndNoMore has n1 admit and n2 take over after it, with and without trouble between.
func TestAChangeOfHomeLosesWhatWasNotShippedAndNoMore(t *testing.T) {
	t.Parallel()
	const crashed = 20 * time.Second
	crash := Event{At: crashed, Node: "n1", What: "crash"}
	fault := func(kind string, from, until time.Duration, nodes, peers []string) Fault {
		return Fault{Kind: kind, From: from, Until: until, Nodes: nodes, Peers: peers}
	}
	for _, row := range []struct {
		name     string
		takeover string
		before   time.Duration // how long before 20 s n1 admitted three
		event    Event
		starts   Event // of a process of n2, besides its first
		fault    Fault
		want     Status
	}{
		{"planned", "copy", 100 * time.Millisecond, Event{}, Event{}, Fault{}, Refuted},
		{"crash, just admitted", "copy", 100 * time.Millisecond, crash, Event{}, Fault{}, Held},
		{"crash, shipped before", "copy", 200 * time.Millisecond, crash, Event{}, Fault{}, Refuted},
		{"crash, just admitted, and nothing is left", "empty", 100 * time.Millisecond, crash, Event{}, Fault{}, Refuted},
		{"their link is cut", "copy", 4 * time.Second, crash, Event{}, fault("cut", 15*time.Second, 30*time.Second, []string{"n1"}, []string{"n2"}), Held},
		{"one is cut from all", "copy", 4 * time.Second, Event{}, Event{}, fault("cut", 15*time.Second, 30*time.Second, []string{"n2"}, nil), Held},
		{"the cut came later", "copy", 4 * time.Second, crash, Event{}, fault("cut", 17*time.Second, 30*time.Second, []string{"n1"}, []string{"n2"}), Refuted},
		{"the cut was over", "copy", 4 * time.Second, crash, Event{}, fault("cut", 15*time.Second, 16500*time.Millisecond, []string{"n1"}, []string{"n2"}), Refuted},
		{"another link is cut", "copy", 4 * time.Second, crash, Event{}, fault("cut", 15*time.Second, 30*time.Second, []string{"n1"}, []string{"n3"}), Refuted},
		{"both are on one side", "copy", 4 * time.Second, crash, Event{}, fault("cut", 15*time.Second, 30*time.Second, []string{"n1", "n2"}, nil), Refuted},
		{"the new home was paused", "copy", 4 * time.Second, crash, Event{}, fault("pause", 15*time.Second, 18*time.Second, []string{"n2"}, nil), Held},
		{"cut, and nothing is left", "empty", 4 * time.Second, crash, Event{}, fault("cut", 15*time.Second, 30*time.Second, []string{"n1"}, nil), Refuted},
		{"the new home has it from its disk", "copy", 4 * time.Second, crash, Event{At: crashed + time.Second, Node: "n2", What: "start"}, Fault{}, Held},
	} {
		h := &History{Events: []Event{{Node: "n1", What: "start"}, {Node: "n2", What: "start"}}}
		for _, e := range []Event{row.event, row.starts} {
			if e.What != "" {
				h.Events = append(h.Events, e)
			}
		}
		if row.fault.Kind != "" {
			h.Faults = append(h.Faults, row.fault)
		}
		admit := func(at time.Duration, n int, home string, epoch uint64) {
			for range n {
				h.Ops = append(h.Ops, Op{
					Invoked: at, Returned: at + time.Millisecond, Kind: Check, Account: "a", Limits: []string{"l"}, Cost: 1, Outcome: OK,
					Reply: Reply{Verdict: "ALLOW", Reason: "OK", Home: home, Epoch: epoch},
				})
			}
		}
		admit(crashed-row.before, 3, "n1", 1)
		admit(crashed-time.Millisecond, 0, "n1", 1)
		admit(crashed+2*time.Second, 10, "n2", 2)
		rule := Limit{Name: "l", Algorithm: "token_bucket", Rate: 0.01, Burst: 10, Takeover: row.takeover}
		if got := OverAdmission(h, []Limit{rule}); got.Status != row.want {
			t.Errorf("%s: %s, want %s: %g of %g, %s", row.name, got.Status, row.want, got.Observed, got.Bound, got.Why)
		}
	}
}

// TestWindowsMayBeGivenAnewOnceAChangeOfHome goes by how many homes there were within the window.
func TestWindowsMayBeGivenAnewOnceAChangeOfHome(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		algorithm, takeover string
		homes               int // each admits 12 within a window of 12
		more                int // the last one so many more
		want                Status
	}{
		{"fixed_window", "copy", 3, 0, Held},
		{"fixed_window", "copy", 1, 13, Refuted},
		{"fixed_window", "copy", 2, 13, Refuted},
		{"rolling_log", "copy", 3, 0, Held},
		{"rolling_log", "copy", 3, 1, Refuted},
		{"rolling_log", "empty", 2, 0, Refuted},
		{"rolling_log", "empty", 1, 0, Held},
		{"sliding_window", "empty", 3, 0, Held},
		{"sliding_window", "empty", 3, 1, Refuted},
	} {
		h := &History{}
		for i := range row.homes {
			n := 12
			if i == row.homes-1 {
				n += row.more
			}
			for range n {
				at := time.Duration(i+1) * time.Second
				h.Ops = append(h.Ops, Op{
					Invoked: at, Returned: at + time.Millisecond, Kind: Check, Account: "a", Limits: []string{"l"}, Cost: 1, Outcome: OK,
					Reply: Reply{Verdict: "ALLOW", Reason: "OK", Home: []string{"n1", "n2", "n3"}[i], Epoch: uint64(i + 1)},
				})
			}
		}
		rule := Limit{Name: "l", Algorithm: row.algorithm, Limit: 12, Window: time.Hour, Takeover: row.takeover}
		if got := OverAdmission(h, []Limit{rule}); got.Status != row.want {
			t.Errorf("%s, %s, %d homes and %d more: %s, want %s: %g of %g, %s", row.algorithm, row.takeover, row.homes, row.more, got.Status, row.want, got.Observed, got.Bound, got.Why)
		}
	}
}
