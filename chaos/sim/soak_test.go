package sim

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weir-cluster/weir/chaos"
)

const (
	batchSeeds    = 10
	childMark     = "soaked "
	progressEvery = 30 * time.Second
	childTimeout  = "5m" // of a batch: one that hangs ends with what every goroutine does
)

// soaked is what came of a seed.
type soaked struct {
	Seed     uint64        `json:"seed"`
	Took     time.Duration `json:"took"`
	Virtual  time.Duration `json:"virtual"`
	Ops      int           `json:"ops"`
	Faults   int           `json:"faults"`
	Idle     []string      `json:"idle,omitempty"` // kinds of faults that did not bite
	Refuted  []string      `json:"refuted,omitempty"`
	Expected []string      `json:"expected,omitempty"`
	Open     []string      `json:"open,omitempty"`
	Why      string        `json:"why,omitempty"`
}

// TestBatch runs seeds for TestSoak and prints a line for each.
func TestBatch(t *testing.T) {
	if !flagged[bool]("child") {
		t.Skip("run by TestSoak")
	}
	var all []Schedule
	if file := flagged[string]("schedule"); file != "" {
		all = slices.Repeat([]Schedule{scheduleFile(t, file)}, flagged[int]("tries"))
	} else {
		first := flagged[uint64]("seed")
		for i := range uint64(flagged[int]("seeds")) {
			all = append(all, Draw(first+i, flagged[int]("nodes")))
		}
	}
	for _, s := range all {
		began := time.Now()
		v := judged(t, s)
		line, err := json.Marshal(v.soaked(s.Seed, time.Since(began)))
		if err != nil {
			t.Fatal(err)
		}
		if (len(v.refuted) > 0 || flagged[bool]("all")) && flagged[string]("keep") != "" {
			keep(t, fmt.Sprint("seed-", s.Seed), s, v.history)
		}
		fmt.Printf("\n%s%s\n", childMark, line)
	}
}

func (v verdict) soaked(seed uint64, took time.Duration) soaked {
	k := soaked{Seed: seed, Took: took, Ops: len(v.history.Ops), Faults: len(v.history.Faults)}
	names := func(all []chaos.Result) []string {
		var names []string
		for _, r := range all {
			names = append(names, r.Invariant)
		}
		return names
	}
	k.Refuted, k.Expected, k.Open = names(v.refuted), names(v.expected), names(v.open)
	if len(v.refuted) > 0 {
		k.Why = v.refuted[0].Why
	}
	for _, f := range v.history.Faults {
		if !f.Bit() {
			k.Idle = append(k.Idle, f.Kind)
		}
	}
	for _, e := range v.history.Events {
		k.Virtual = max(k.Virtual, e.At)
	}
	return k
}

// TestSoak runs -seeds seeds from -seed on, in processes of their own, one for each processor: a panic ends one batch only,
// whose seeds then run one by one.
func TestSoak(t *testing.T) {
	count := uint64(flagged[int]("seeds"))
	if count == 0 || flagged[bool]("child") {
		t.Skip("asked for by -seeds")
	}
	first := flagged[uint64]("seed")
	sum := &summary{began: time.Now(), first: first, count: count}
	batches := make(chan [2]uint64)
	var workers sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for b := range batches {
				sum.batch(t, b[0], b[1])
			}
		})
	}
	for seed := first; seed < first+count; seed += batchSeeds {
		batches <- [2]uint64{seed, min(batchSeeds, first+count-seed)}
		sum.progress(t)
	}
	close(batches)
	workers.Wait()
	sum.print(t)
}

// summary is what a soak has found so far.
type summary struct {
	began        time.Time
	first, count uint64

	mu    sync.Mutex
	said  time.Time
	seeds []soaked
}

// batch runs seeds in a child, and, when that dies, those it did not get to one by one.
func (s *summary) batch(t *testing.T, first, count uint64) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	done, out, err := children(self, "", "-seed", fmt.Sprint(first), "-seeds", fmt.Sprint(count),
		"-nodes", fmt.Sprint(flagged[int]("nodes")), fmt.Sprintf("-all=%t", flagged[bool]("all")), "-keep", flagged[string]("keep"))
	s.add(done...)
	if err == nil || uint64(len(done)) == count {
		return
	}
	next := first + uint64(len(done)) // it died on it
	if count > 1 {
		for seed := next; seed < first+count; seed++ {
			s.batch(t, seed, 1)
		}
		return
	}
	t.Errorf("seed %d ended its process: %v\n%s", next, err, tail(out))
	s.add(soaked{Seed: next, Refuted: []string{"process"}, Why: "the process ended: " + err.Error()})
}

// children runs TestBatch of a test binary and returns what came of each schedule it got to. plant is the planted bug that
// is in force, of a binary that has them.
func children(binary, plant string, args ...string) (done []soaked, out []byte, err error) {
	c := exec.Command(binary, append([]string{"-test.run", "^TestBatch$", "-test.v", "-test.timeout", childTimeout, "-child"}, args...)...)
	c.Env = append(os.Environ(), "GOMAXPROCS=1", plantedBy+"="+plant)
	out, err = c.CombinedOutput()
	lines := bufio.NewScanner(bytes.NewReader(out))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		text, ok := strings.CutPrefix(lines.Text(), childMark)
		var k soaked
		if ok && json.Unmarshal([]byte(text), &k) == nil {
			done = append(done, k)
		}
	}
	return done, out, err
}

func (s *summary) add(more ...soaked) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seeds = append(s.seeds, more...)
}

func (s *summary) progress(t *testing.T) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if time.Since(s.said) < progressEvery {
		return
	}
	s.said = time.Now()
	failed := 0
	for _, k := range s.seeds {
		failed += min(1, len(k.Refuted))
	}
	fmt.Printf("%d of %d seeds, %d failed, %.2f a second; all below %d are done\n", len(s.seeds), s.count, failed,
		float64(len(s.seeds))/time.Since(s.began).Seconds(), s.next())
}

// next is the first seed that did not run yet.
func (s *summary) next() uint64 {
	ran := make(map[uint64]bool, len(s.seeds))
	for _, k := range s.seeds {
		ran[k.Seed] = true
	}
	next := s.first
	for ran[next] {
		next++
	}
	return next
}

// print writes the summary, and fails the test for each seed that failed.
func (s *summary) print(t *testing.T) {
	refuted, known, open, idle := map[string]int{}, map[string]int{}, map[string]int{}, map[string]int{}
	var virtual time.Duration
	ops, faults, idling := 0, 0, 0
	var slowest soaked
	slices.SortFunc(s.seeds, func(a, b soaked) int { return int(int64(a.Seed) - int64(b.Seed)) })
	for _, k := range s.seeds {
		virtual, ops, faults, idling = virtual+k.Virtual, ops+k.Ops, faults+k.Faults, idling+len(k.Idle)
		if k.Took > slowest.Took {
			slowest = k
		}
		for names, sums := range map[*[]string]map[string]int{&k.Refuted: refuted, &k.Expected: known, &k.Open: open, &k.Idle: idle} {
			for _, name := range *names {
				sums[name]++
			}
		}
		if len(k.Refuted) > 0 {
			t.Errorf("seed %d: %v: %s\n\trepeat it: %s", k.Seed, k.Refuted, k.Why, repeatSeed(Schedule{Seed: k.Seed, Nodes: flagged[int]("nodes")}))
		}
	}
	took := time.Since(s.began)
	fmt.Printf("seeds %d to %d: %d runs, %s virtual, %d operations, %d faults of which %d did not bite; %s, %.2f runs a second\n",
		s.first, s.first+s.count-1, len(s.seeds), virtual.Round(time.Second), ops, faults, idling, took.Round(time.Second), float64(len(s.seeds))/took.Seconds())
	for _, row := range []struct {
		what string
		sums map[string]int
	}{{"refuted", refuted}, {"refuted as expected", known}, {"inconclusive", open}, {"did not bite", idle}} {
		for _, name := range slices.Sorted(maps.Keys(row.sums)) {
			fmt.Printf("  %-20s %-12s %d\n", row.what, name, row.sums[name])
		}
	}
	fmt.Printf("the slowest: seed %d, %s\n", slowest.Seed, slowest.Took.Round(time.Millisecond))
	fmt.Printf("the next seeds: make soak SEED=%d N=%d\n", s.next(), s.count)
}

// tail returns the beginning of a panic, or the end of the output.
func tail(out []byte) string {
	const most = 3000
	if i := bytes.Index(out, []byte("panic: ")); i >= 0 {
		out = out[i:]
		return string(out[:min(len(out), most)])
	}
	return string(out[max(0, len(out)-most):])
}
