package sim

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weir-cluster/weir/chaos"
)

// TestSchedules runs the schedules of fixed seeds: most with five nodes, a few with other numbers.
func TestSchedules(t *testing.T) {
	t.Parallel()
	seeds, lane := 60, lanes()
	if testing.Short() {
		seeds = 2 // they run under the race detector, which is ten times slower
	}
	for seed := range uint64(seeds) {
		nodes := 5
		if seed >= 48 {
			nodes = []int{3, 4, 7}[seed%3]
		}
		s := Draw(seed, nodes)
		t.Run(fmt.Sprint("seed-", seed), func(t *testing.T) {
			t.Parallel()
			lane <- struct{}{}
			defer func() { <-lane }()
			judged(t, s).report(t, repeatSeed(s))
		})
	}
}

// TestRegressions runs every schedule that once showed a bug.
func TestRegressions(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/regressions/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	lane := lanes()
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			lane <- struct{}{}
			defer func() { <-lane }()
			s := scheduleFile(t, file)
			if testing.Short() && s.Log > 0 {
				t.Skip("it is long")
			}
			judged(t, s).report(t, repeatFile(file))
		})
	}
}

func scheduleFile(t *testing.T, file string) Schedule {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	s, err := ReadSchedule(text)
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	return s
}

// TestSeed repeats one schedule, for whoever asks for it by flags, and shrinks it when it fails.
func TestSeed(t *testing.T) {
	seed, file := flagged[uint64]("seed"), flagged[string]("schedule")
	if !given("seed") && file == "" || flagged[int]("seeds") > 0 || flagged[bool]("child") {
		t.Skip("asked for by -seed or -schedule")
	}
	s := Draw(seed, flagged[int]("nodes"))
	if file != "" {
		s = scheduleFile(t, file)
	}
	var failed verdict
	for range flagged[int]("tries") {
		if failed = judged(t, s); len(failed.refuted) > 0 {
			break
		}
	}
	name, repeat := fmt.Sprint("seed-", s.Seed), repeatSeed(s)
	if file != "" {
		name, repeat = strings.TrimSuffix(filepath.Base(file), ".yaml"), repeatFile(file)
	}
	failed.report(t, repeat)
	if len(failed.refuted) == 0 {
		keep(t, name, s, failed.history)
		return
	}
	what := failed.refuted[0]
	last := failed
	small := Shrink(s, func(s Schedule) bool {
		v := judged(t, s)
		for _, r := range v.refuted {
			if r.Invariant == what.Invariant {
				last = v
				return true
			}
		}
		return false
	}, flagged[int]("shrink"))
	small.Why, small.Finds = fmt.Sprintf("%s: %s", what.Invariant, what.Why), []string{what.Invariant}
	keep(t, name, small, last.history)
}

// TestHistory judges a run that was kept, for whoever asks for it by -history.
func TestHistory(t *testing.T) {
	if !given("history") {
		t.Skip("asked for by -history")
	}
	f, err := os.Open(flagged[string]("history"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	h, err := chaos.ReadHistory(f)
	if err != nil {
		t.Fatal(err)
	}
	judge(h, flagged[int]("nodes")).report(t, "it is the history of a run that was kept")
}

// TestOneSeedGivesOneSetOfFaultsAndMuchTheSameWork runs a seed twice: what is done is the same, and nearly what is asked.
func TestOneSeedGivesOneSetOfFaultsAndMuchTheSameWork(t *testing.T) {
	t.Parallel()
	s := Draw(3, 5)
	s.Safety, s.Liveness = 10e9, 0
	one, two := Run(t, s, nodeLogs(t)), Run(t, s, nodeLogs(t))
	kinds := func(h *chaos.History) string {
		var all string
		for _, e := range h.Events {
			if e.What == "fault" {
				all += fmt.Sprintln(e.Node, e.Detail)
			}
		}
		return all
	}
	if a, b := kinds(one), kinds(two); a != b {
		t.Errorf("faults\n%s\nthen\n%s", a, b)
	}
	if a, b := len(one.Ops), len(two.Ops); a < 200 || a > 2*b || b > 2*a {
		t.Errorf("%d operations, then %d", a, b)
	}
}
