package chaos

import (
	"slices"
	"testing"
	"time"
)

// TestPlantedLimiterBugsAreFound plants one bug in each of 40 random histories with moving homes, shares, repeated keys and
// 3 % unknown outcomes: each must be found, by the checker whose it is.
func TestPlantedLimiterBugsAreFound(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ plant, finds string }{
		{"admits too much", "M1"},
		{"starts full", "M1"},
		{"denies", "M2"},
		{"two homes", "M3"},
		{"two homes, one epoch", "M3"},
		{"epoch back", "M4"},
		{"epochs differ", "M4"},
		{"less than nothing", "M5"},
		{"refuses what is left", "M5"},
		{"decided twice", "M5"},
		{"share is all", "M6"},
		{"not declared", "M6"},
	} {
		t.Run(row.plant, func(t *testing.T) {
			t.Parallel()
			for seed := range uint64(runs) {
				m := newMill(seed, row.plant)
				if m.planted == 0 {
					t.Fatalf("seed %d: nothing was planted", seed)
				}
				results := Judge(m.history, millRules())
				if !slices.Contains(refuted(results), row.finds) {
					t.Errorf("seed %d: %s was not refuted, but %v", seed, row.finds, refuted(results))
				}
			}
		})
	}
}

// TestCleanLimitersRaiseNoAlarm judges histories in which nothing went wrong.
func TestCleanLimitersRaiseNoAlarm(t *testing.T) {
	t.Parallel()
	for seed := range uint64(2 * runs) {
		m := newMill(seed, "")
		for _, r := range Judge(m.history, millRules()) {
			switch {
			case r.Status == Refuted:
				t.Errorf("seed %d: %s: %s\n%s", seed, r.Invariant, r.Why, tellAll(r.Excerpt))
			case r.Status == Inconclusive && slices.Contains([]string{"M1", "M2", "M3", "M4", "M5", "M6"}, r.Invariant):
				t.Errorf("seed %d: %s is inconclusive: %s", seed, r.Invariant, r.Why)
			}
		}
	}
}

// TestExcerptOfOverAdmissionIsEnoughByItself judges the excerpt alone: it must still be refuted, and not without any of it.
func TestExcerptOfOverAdmissionIsEnoughByItself(t *testing.T) {
	t.Parallel()
	for seed := range uint64(runs) {
		h := newMill(seed, "admits too much").history
		found := OverAdmission(h, millRules())
		if found.Status != Refuted || float64(len(found.Excerpt)) > found.Bound*3+2 {
			t.Fatalf("seed %d: %s with %d operations of a bound of %g", seed, found.Status, len(found.Excerpt), found.Bound)
		}
		alone := &History{Ops: found.Excerpt, Events: h.Events}
		if again := OverAdmission(alone, millRules()); again.Status != Refuted {
			t.Errorf("seed %d: the excerpt of %d alone is %s: %g of %g", seed, len(found.Excerpt), again.Status, again.Observed, again.Bound)
		}
		alone.Ops = found.Excerpt[1:]
		if again := OverAdmission(alone, millRules()); again.Status == Refuted {
			t.Errorf("seed %d: the excerpt is refuted without its first operation too", seed)
		}
	}
}

// TestAWaitThatIsTooShortIsDishonest has one caller who waits as told and is refused again.
func TestAWaitThatIsTooShortIsDishonest(t *testing.T) {
	t.Parallel()
	rules := millRules()
	deny := func(at, wait time.Duration) Op {
		return Op{Invoked: at, Returned: at + time.Millisecond, Kind: Check, Account: "a", Limits: []string{"bucket"}, Cost: 1, Outcome: OK, Reply: Reply{
			Verdict: "DENY", Reason: "RATE_LIMITED", Home: "n1", Epoch: 1, PolicyVersion: 1, RetryAfter: wait,
			Limits: []LimitReply{{Name: "bucket", Limit: 10, Refused: true}},
		}}
	}
	allow := deny(10*time.Second, 0)
	allow.Reply.Verdict, allow.Reply.Reason, allow.Reply.Limits[0].Refused = "ALLOW", "OK", false
	open := allow
	open.Outcome, open.Returned, open.Reply = Unknown, -1, Reply{}
	later := deny(12*time.Second, time.Second)
	for _, row := range []struct {
		name string
		ops  []Op
		want Status
	}{
		{"waited and refused", []Op{deny(10*time.Second, time.Second), later}, Refuted},
		{"waited and admitted", []Op{deny(8*time.Second, time.Second), allow}, Held},
		{"came back early", []Op{deny(11*time.Second+500*time.Millisecond, time.Second), later}, Held},
		{"another one was faster", []Op{deny(9*time.Second, time.Second), allow, later}, Held},
		{"another one may have been faster", []Op{deny(9*time.Second, time.Second), open, later}, Held},
		{"the policy changed", []Op{deny(9*time.Second, time.Second), {Invoked: 10 * time.Second, Returned: 11 * time.Second, Kind: Policy, Outcome: OK}, later}, Held},
	} {
		if got := HonestReplies(&History{Ops: row.ops}, rules); got.Status != row.want {
			t.Errorf("%s: %s, want %s: %s", row.name, got.Status, row.want, got.Why)
		}
	}
}

// TestBoundGoesByWhatHomesCanHaveHeld judges bursts of two homes and of two tenures.
func TestBoundGoesByWhatHomesCanHaveHeld(t *testing.T) {
	t.Parallel()
	var ops []Op
	admit := func(at time.Duration, n int, limit, home string, epoch uint64) {
		for range n {
			ops = append(ops, Op{
				Invoked: at, Returned: at + time.Millisecond, Kind: Check, Account: "a", Limits: []string{limit}, Cost: 1, Outcome: OK,
				Reply: Reply{Verdict: "ALLOW", Reason: "OK", Home: home, Epoch: epoch},
			})
		}
	}
	for _, row := range []struct {
		name string
		run  func()
		want Status
	}{
		{"one home, one bucket", func() { admit(time.Second, 10, "bucket", "n1", 1) }, Held},
		{"one home, more than a bucket", func() { admit(time.Second, 11, "bucket", "n1", 1) }, Refuted},
		{"a new home starts with nothing", func() {
			admit(9*time.Second, 10, "bucket", "n1", 1)
			admit(10*time.Second, 10, "bucket", "n2", 2)
		}, Refuted},
		{"two homes at once, each with a bucket of its own", func() {
			admit(time.Second, 1, "bucket", "n1", 1)
			admit(2*time.Second, 1, "bucket", "n2", 2)
			admit(20*time.Second, 10, "bucket", "n1", 1)
			admit(20*time.Second+2*time.Millisecond, 10, "bucket", "n2", 2)
		}, Refuted},
		{"a window at one home through two epochs", func() {
			admit(time.Second, 12, "log", "n1", 1)
			admit(2*time.Second, 12, "log", "n1", 2)
		}, Refuted},
		{"another may have been home between", func() {
			admit(time.Second, 12, "log", "n1", 1)
			admit(2*time.Second, 12, "log", "n1", 3)
		}, Held},
	} {
		ops = nil
		row.run()
		if got := OverAdmission(&History{Ops: ops}, millRules()); got.Status != row.want {
			t.Errorf("%s: %s, want %s: %s", row.name, got.Status, row.want, got.Why)
		}
	}
}
