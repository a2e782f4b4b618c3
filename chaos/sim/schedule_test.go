package sim

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weir-cluster/weir/chaos"
)

func TestScheduleReadsBackAsItWasWritten(t *testing.T) {
	t.Parallel()
	for seed := range uint64(200) {
		s := Draw(seed, 3+int(seed%5))
		text, err := s.Write()
		if err != nil {
			t.Fatal(err)
		}
		back, err := ReadSchedule(text)
		if err != nil {
			t.Fatalf("seed %d: %v\n%s", seed, err, text)
		}
		if !reflect.DeepEqual(s, back) {
			t.Errorf("seed %d: wrote %+v, read %+v", seed, s, back)
		}
	}
}

func TestReadScheduleSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	const good = "seed: 1\nnodes: 5\nsafety: 10s\nchecks: 5\n"
	for _, row := range []struct{ text, want string }{
		{strings.Replace(good, "5", "8", 1), "nodes: 8"},
		{strings.Replace(good, "10s", "0s", 1), "safety"},
		{strings.Replace(good, "checks: 5", "checks: 51", 1), "checks: 51"},
		{good + "steps: [{at: 1s, inject: cuts, nodes: [n1]}]", `inject "cuts" is not in the fault table`},
		{good + "steps: [{at: 1s, inject: cut, nodes: []}]", "step 1: no nodes"},
		{good + "steps: [{at: 1s, inject: cut, nodes: [n01]}]", `node "n01"`},
		{good + "steps: [{at: -1s, inject: cut, nodes: [n1]}]", "not below zero"},
		{good + "steps: [{at: 1s, inject: lossy, nodes: [n1], probability: 2}]", "probability 2"},
		{good + "stops: []", "stops"},
	} {
		if _, err := ReadSchedule([]byte(row.text)); err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%q: %v, want %q", row.text, err, row.want)
		}
	}
}

// TestDrawStaysWithinTheBlastRadius counts, at each moment of each schedule that is not wild, who may be out.
func TestDrawStaysWithinTheBlastRadius(t *testing.T) {
	t.Parallel()
	wild, kinds := 0, make(map[string]int)
	for seed := range uint64(2000) {
		s := Draw(seed, 5)
		for i, step := range s.Steps {
			kinds[step.Inject]++
			kinds[plotOf(s.Steps, i)]++
		}
		if s.Wild {
			wild++
			continue
		}
		for at := time.Duration(0); at < s.Safety; at += 500 * time.Millisecond {
			out := make(map[string]bool)
			for _, step := range s.Steps {
				if step.At <= at && (step.For == 0 || at <= step.At+step.For) && !slices.Contains(mild, step.Inject) && len(step.Nodes) < 5 {
					for _, name := range step.Nodes {
						out[name] = true
					}
				}
			}
			voters := 0
			for _, name := range []string{"n1", "n2", "n3"} {
				if out[name] {
					voters++
				}
			}
			if len(out) > 2 || voters > 1 {
				t.Fatalf("seed %d at %s: %v are out", seed, at, out)
			}
		}
	}
	if wild < 100 || wild > 400 {
		t.Errorf("%d of 2000 are wild", wild)
	}
	for _, w := range weights {
		if kinds[w.inject] < 50 {
			t.Errorf("%s was drawn %d times in 2000 schedules", w.inject, kinds[w.inject])
		}
	}
}

// plotOf returns which plot begins with a step, empty for none.
func plotOf(steps []Step, at int) string {
	for _, next := range steps[at:] {
		a, after := steps[at], next.At-steps[at].At
		switch {
		case len(a.Nodes) == 5:
			return blackout
		case a.Inject == "leave" && next.Inject == "leave" && after == 5*time.Second:
			return rolling
		case len(a.Peers) == 1 && slices.Contains(next.Nodes, a.Peers[0]) && len(next.Peers) == 0 && after <= 2500*time.Millisecond:
			return lagging
		}
	}
	return ""
}

// TestShrinkFindsTheStepsThatMatter shrinks schedules that fail when a crash of n2 follows a cut that holds n1.
func TestShrinkFindsTheStepsThatMatter(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	for range 50 {
		s := Draw(random.Uint64(), 5)
		s.Steps = append(s.Steps,
			Step{At: 20 * time.Second, Inject: "cut", Nodes: []string{"n4", "n1"}, For: 10 * time.Second},
			Step{At: 25 * time.Second, Inject: "crash", Nodes: []string{"n2", "n3"}, For: 8 * time.Second})
		slices.SortStableFunc(s.Steps, func(a, b Step) int { return int(a.At - b.At) })
		fails := func(s Schedule) bool {
			cut := false
			for _, step := range s.Steps {
				cut = cut || step.Inject == "cut" && slices.Contains(step.Nodes, "n1") && step.For >= 2*time.Second
				if cut && step.Inject == "crash" && slices.Contains(step.Nodes, "n2") {
					return true
				}
			}
			return false
		}
		runs := 0
		small := Shrink(s, func(s Schedule) bool { runs++; return fails(s) }, 100)
		var steps []string
		for _, step := range small.Steps {
			steps = append(steps, step.String())
		}
		if got := fmt.Sprint(steps); !fails(small) || len(steps) != 2 || strings.ContainsAny(got, "345") && !strings.Contains(got, "for") || runs > 100 {
			t.Errorf("after %d runs: %s", runs, got)
		}
	}
}

// TestEveryFaultBites injects each kind of fault, one after the other, and asks for its proof.
func TestEveryFaultBites(t *testing.T) {
	if testing.Short() {
		t.Skip("it is long")
	}
	t.Parallel()
	s := Schedule{Seed: 1, Nodes: 5, Checks: 20}
	const every, held = 9 * time.Second, 5 * time.Second
	for i, name := range injectorNames() {
		step := Step{At: drawFirst + time.Duration(i)*every, Inject: name, Nodes: []string{nodeName(i % founderVotes)}, For: held}
		switch name {
		case "join":
			step.Nodes = []string{"n6"}
		case "lossy", "doubling", "reordering":
			step.Chance, step.Delay = 0.5, 30*time.Millisecond
		case "slow", "disk-slow":
			step.Delay = 200 * time.Millisecond
		case "clock":
			step.Rate, step.Jump = 1.001, time.Second
		}
		s.Steps = append(s.Steps, step)
		s.Safety = step.At + every
	}
	v := judged(t, s)
	bit := make(map[string]bool)
	for _, f := range v.history.Faults {
		bit[f.Kind] = f.Bit()
		if f.Until < 0 || f.Proof == "" {
			t.Errorf("%+v was not healed or has no proof", f)
		}
	}
	for _, name := range injectorNames() {
		if !bit[name] {
			t.Errorf("%s did not bite", name)
		}
	}
	for _, r := range v.refuted {
		t.Errorf("%s: %s", r.Invariant, r.Why)
	}
}

// TestJudgesTellWhatASimulationPromises gives the judges of this package a history for each answer.
func TestJudgesTellWhatASimulationPromises(t *testing.T) {
	t.Parallel()
	event := func(at time.Duration, node, what, detail string) chaos.Event {
		return chaos.Event{At: at, Node: node, What: what, Detail: detail}
	}
	check := chaos.Op{Invoked: 48 * time.Second, Returned: 49 * time.Second, Node: "n1", Kind: chaos.Check, Outcome: chaos.OK}
	write := func(outcome chaos.Outcome) chaos.Op {
		return chaos.Op{Invoked: 43 * time.Second, Returned: 43 * time.Second, Node: "n1", Kind: chaos.Debit, Outcome: outcome}
	}
	view := func(at time.Duration, epoch uint64) chaos.Op {
		return chaos.Op{Invoked: at, Returned: at, Node: "n1", Kind: chaos.View, Outcome: chaos.OK, Reply: chaos.Reply{Epoch: epoch}}
	}
	phases := []chaos.Event{event(20*time.Second, "", "phase", "liveness n1"), event(50*time.Second, "", "phase", "recovery")}
	converged, diverged := event(60*time.Second, "", "converged", ""), event(110*time.Second, "", "diverged", "two")
	died := event(10*time.Second, "n2", "died", "broken")
	disk := chaos.Fault{Kind: "disk-error", Nodes: []string{"n2"}, From: 9 * time.Second, Until: 12 * time.Second}
	for _, row := range []struct {
		name   string
		judge  Judge
		ops    []chaos.Op
		events []chaos.Event
		faults []chaos.Fault
		want   chaos.Status
	}{
		{"no liveness", alive, nil, nil, nil, chaos.Inconclusive},
		{"serves", alive, []chaos.Op{write(chaos.OK), check, view(47*time.Second, 3)}, phases, nil, chaos.Held},
		{"decides nothing", alive, []chaos.Op{write(chaos.OK), view(47*time.Second, 3)}, phases, nil, chaos.Refuted},
		{"does no write", alive, []chaos.Op{write(chaos.Unknown), write(chaos.Failed), write(chaos.Failed), check}, phases, nil, chaos.Refuted},
		{"was asked for few writes", alive, []chaos.Op{write(chaos.Unknown), check}, phases, nil, chaos.Held},
		{"stays behind", alive, []chaos.Op{check, view(30*time.Second, 4), view(47*time.Second, 3)}, phases, nil, chaos.Refuted},
		{"converged", recovered, nil, append(phases, converged), nil, chaos.Held},
		{"diverged", recovered, nil, append(phases, diverged), nil, chaos.Refuted},
		{"did not end", recovered, nil, phases, nil, chaos.Inconclusive},
		{"lived", unharmed, nil, phases, nil, chaos.Held},
		{"died", unharmed, nil, []chaos.Event{died}, nil, chaos.Refuted},
		{"died of its disk", unharmed, nil, []chaos.Event{died}, []chaos.Fault{disk}, chaos.Held},
	} {
		r := row.judge(&chaos.History{Ops: row.ops, Events: row.events, Faults: row.faults}, nil)[0]
		if r.Status != row.want {
			t.Errorf("%s: %s %q, want %s", row.name, r.Status, r.Why, row.want)
		}
	}
}

// TestHealingAFaultLeavesTheLinksOfAnother cuts off n1 and n2, and heals n1: what is between the two stays cut.
func TestHealingAFaultLeavesTheLinksOfAnother(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		record := newRecorder()
		c := newCluster(1, 3, nil, record, slog.New(slog.DiscardHandler))
		n := &nemesis{c: c, seed: 1, record: record}
		n.inject(0, Step{Inject: "cut", Nodes: []string{"n1"}})
		n.inject(1, Step{Inject: "cut", Nodes: []string{"n2"}})
		passes := func(from, to string) bool {
			dialing, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			_, err := c.network.Host(c.find(from).ip).Dial(dialing, c.find(to).ip+":80")
			return errors.Is(err, syscall.ECONNREFUSED) // nobody listens
		}
		n.healStep(0)
		for _, row := range []struct {
			from, to string
			want     bool
		}{{"n1", "n2", false}, {"n2", "n1", false}, {"n1", "n3", true}, {"n2", "n3", false}} {
			if got := passes(row.from, row.to); got != row.want {
				t.Errorf("from %s to %s: %v, want %v", row.from, row.to, got, row.want)
			}
		}
		n.healStep(1)
		if !passes("n1", "n2") || !passes("n3", "n2") {
			t.Error("all is healed, and yet cut")
		}
	})
}
