package sim

import (
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"

	"github.com/weir-cluster/weir/chaos"
)

// TestMain knows the flags by which a person runs schedules; docs/chaos.md tells how.
func TestMain(m *testing.M) {
	flag.Uint64("seed", 0, "TestSeed: run the schedule of this seed. TestSoak: the first seed")
	flag.Int("seeds", 0, "TestSoak: run so many seeds")
	flag.Int("nodes", 5, "nodes of the cluster of a seed")
	flag.Int("tries", 1, "TestSeed: run the schedule so often, or until it fails. TestBatch: so often")
	flag.String("schedule", "", "TestSeed: run the schedule in this file instead")
	flag.String("unexcused", "", "an invariant for which no excuse counts, as if its step of the plan was done")
	flag.String("history", "", "TestHistory: judge the run in this file")
	flag.Int("shrink", 60, "TestSeed: look for a smaller schedule that fails, by at most so many runs")
	flag.String("keep", "", "folder for the schedules and histories of what failed; TestPlantedBugsAreCaught: for its binary")
	flag.Bool("all", false, "TestSoak: keep what did not fail too")
	flag.Bool("child", false, "TestBatch: run by TestSoak and TestPlantedBugsAreCaught")
	flag.Bool("nodelog", false, "print the nodes' logs")
	flag.Parse()
	debug.SetGCPercent(400) // a run keeps little of what it allocates: a sixth faster
	os.Exit(m.Run())
}

func flagged[T any](name string) T {
	return flag.Lookup(name).Value.(flag.Getter).Get().(T)
}

// given says whether a flag stands on the command line.
func given(name string) bool {
	is := false
	flag.Visit(func(f *flag.Flag) { is = is || f.Name == name })
	return is
}

func nodeLogs(t *testing.T) *slog.Logger {
	if !flagged[bool]("nodelog") {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// verdict is what the judges said of a run.
type verdict struct {
	history  *chaos.History
	refuted  []chaos.Result
	expected []chaos.Result // refuted too, but known to be until a later step
	open     []chaos.Result // inconclusive
}

// judged runs a schedule and has every judge look at it.
func judged(t *testing.T, s Schedule) verdict {
	t.Helper()
	return judge(Run(t, s, nodeLogs(t)), s.Nodes)
}

// judge has every judge look at the history of so many nodes.
func judge(h *chaos.History, nodes int) verdict {
	v := verdict{history: h}
	var all []chaos.Result
	for _, judge := range Judges() {
		for _, r := range judge(h, Rules(nodes)) {
			switch r.Status {
			case chaos.Refuted:
				all = append(all, r)
			case chaos.Inconclusive:
				v.open = append(v.open, r)
			}
		}
	}
	for _, r := range all {
		if e, known := expected[r.Invariant]; known && r.Invariant != flagged[string]("unexcused") && e.covers(r, h, all) {
			v.expected = append(v.expected, r)
		} else {
			v.refuted = append(v.refuted, r)
		}
	}
	return v
}

// report fails t for what was refuted, and says how to repeat it.
func (v verdict) report(t *testing.T, repeat string) {
	t.Helper()
	for _, r := range v.refuted {
		t.Errorf("%s refuted: %s: bound %g, observed %g %s%s", r.Invariant, r.Why, r.Bound, r.Observed, r.Unit, excerpt(r.Excerpt))
	}
	for _, r := range v.expected {
		t.Logf("%s refuted, as expected until %s: %s", r.Invariant, expected[r.Invariant].until, r.Why)
	}
	for _, r := range v.open {
		t.Logf("%s inconclusive: %s", r.Invariant, r.Why)
	}
	if len(v.refuted) > 0 {
		t.Errorf("repeat it: %s", repeat)
	}
}

func excerpt(ops []chaos.Op) string {
	var lines strings.Builder
	for _, o := range ops {
		fmt.Fprintf(&lines, "\n\t%+v", o)
	}
	return lines.String()
}

func repeatFile(file string) string {
	return "make sim SCHEDULE=" + filepath.ToSlash(filepath.Join("chaos/sim", file))
}

func repeatSeed(s Schedule) string {
	if s.Nodes == 5 {
		return fmt.Sprintf("make sim SEED=%d", s.Seed)
	}
	return fmt.Sprintf("make sim SEED=%d NODES=%d", s.Seed, s.Nodes)
}

// keep writes a schedule, and the history of its last failure, where -keep says.
func keep(t *testing.T, name string, s Schedule, h *chaos.History) {
	t.Helper()
	text, err := s.Write()
	if err != nil {
		t.Fatal(err)
	}
	dir := flagged[string]("keep")
	if dir == "" {
		t.Logf("schedule:\n%s", text)
		return
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name+".yaml"), text, 0o644); err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(filepath.Join(dir, name+".jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Write(f); err != nil {
		t.Error(err)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	t.Logf("kept in %s: %s.yaml, %s.jsonl", dir, name, name)
}

// lanes returns a channel that lets so many run at once as there are processors: t.Parallel alone would let as many
// bubbles begin as -parallel says, and each is a cluster.
func lanes() chan struct{} { return make(chan struct{}, runtime.GOMAXPROCS(0)) }
