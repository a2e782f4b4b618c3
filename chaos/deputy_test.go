package chaos

import (
	"slices"
	"testing"
	"time"
)

// deputyRule is a limit that deputies decide by: 10 at once, one in 10 s.
func deputyRule() Limit {
	return Limit{Name: "l", Algorithm: "token_bucket", Rate: 0.1, Burst: 10, Fallback: "share", Roster: 5, Takeover: "copy"}
}

// checkOf is an answered check of account a, that took so long.
func checkOf(at, took time.Duration, node, home, verdict, reason string) Op {
	o := Op{
		Invoked: at, Returned: at + took, Node: node, Kind: Check, Account: "a", Limits: []string{"l"}, Cost: 1, Outcome: OK,
		Reply: Reply{Verdict: verdict, Reason: reason, Home: home, Epoch: 1},
	}
	if verdict == "DENY" {
		o.Reply.Limits = []LimitReply{{Name: "l", Limit: 10, Refused: true}}
	}
	return o
}

// TestRefusalIsJustifiedByWhatTheHomeMayHaveHeard has a home, a day after it began, admit six and refuse one more: of ten, four
// are to be explained.
func TestRefusalIsJustifiedByWhatTheHomeMayHaveHeard(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	quick := 3 * time.Millisecond
	lost := checkOf(day, quick, "n2", "", "", "")
	lost.Outcome, lost.Returned, lost.Reply = Unknown, -1, Reply{}
	slow := checkOf(day, 300*time.Millisecond, "n2", "n1", "ALLOW", "OK")
	copied := checkOf(day, 300*time.Millisecond, "n2", "n3", "ALLOW", "FALLBACK_DEPUTY")
	shared := checkOf(day, 300*time.Millisecond, "n2", "n2", "ALLOW", "FALLBACK_SHARE")
	refused := checkOf(day, 300*time.Millisecond, "n2", "n3", "DENY", "FALLBACK_DEPUTY")
	cut := Fault{Kind: "cut", Nodes: []string{"n3"}, From: day - time.Second, Until: day + time.Hour}
	for _, row := range []struct {
		name   string
		also   []Op
		fault  Fault
		before time.Duration // how long before the refusal all that was
		want   Status
	}{
		{"nothing more was asked", nil, Fault{}, 0, Refuted},
		{"four more were admitted", slices.Repeat([]Op{checkOf(day, quick, "n2", "n1", "ALLOW", "OK")}, 4), Fault{}, 0, Held},
		{"a deputy admitted one: it may have been asked of the home twice, and told", []Op{copied}, Fault{}, 0, Refuted},
		{"a deputy admitted one, and one was asked in vain", []Op{copied, slow}, Fault{}, 0, Held},
		{"a deputy refused two", []Op{refused, refused}, Fault{}, 0, Held},
		{"two were decided by a share", []Op{shared, shared}, Fault{}, 0, Held},
		{"one is unknown, and one was decided by a share", []Op{lost, shared}, Fault{}, 0, Held},
		{"two were answered late by the home", []Op{slow, slow}, Fault{}, 0, Held},
		{"a deputy admitted two, long before", []Op{copied, copied}, Fault{}, 30 * time.Minute, Refuted},
		{"a deputy that was cut off until now admitted two", []Op{copied, copied}, cut, 30 * time.Minute, Held},
	} {
		h := &History{Ops: []Op{checkOf(time.Second, quick, "n2", "n1", "ALLOW", "OK")}}
		h.Ops = append(h.Ops, row.also...)
		at := day + row.before + time.Second
		for range 6 {
			h.Ops = append(h.Ops, checkOf(at, quick, "n2", "n1", "ALLOW", "OK"))
		}
		h.Ops = append(h.Ops, checkOf(at+time.Second, quick, "n2", "n1", "DENY", "RATE_LIMITED"))
		if row.fault.Kind != "" {
			h.Faults = []Fault{row.fault}
		}
		rule := deputyRule()
		if got := Goodput(h, []Limit{rule}); got.Status != row.want {
			t.Errorf("%s: %s, want %s: %s", row.name, got.Status, row.want, got.Why)
		}
	}
}

// TestEachFootingHasABoundOfItsOwn has one process admit at once, by its share, by half, and by its copy.
func TestEachFootingHasABoundOfItsOwn(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name, reason string
		home         bool // it answered as home under that epoch
		units        int
		want         Status
	}{
		{"a share of five", "FALLBACK_SHARE", false, 2, Held},
		{"more than a share", "FALLBACK_SHARE", false, 3, Refuted},
		{"half, of a home without a lease", "FALLBACK_DEPUTY", true, 5, Held},
		{"more than half", "FALLBACK_DEPUTY", true, 6, Refuted},
		{"all, of a deputy", "FALLBACK_DEPUTY", false, 10, Held},
		{"more than all", "FALLBACK_DEPUTY", false, 11, Refuted},
	} {
		h := &History{}
		if row.home {
			h.Ops = append(h.Ops, checkOf(time.Second, time.Millisecond, "n1", "n1", "ALLOW", "OK"))
		}
		for range row.units {
			h.Ops = append(h.Ops, checkOf(time.Minute, time.Millisecond, "n1", "n1", "ALLOW", row.reason))
		}
		if got := Fallbacks(h, []Limit{deputyRule()}); got.Status != row.want {
			t.Errorf("%s: %s, want %s: %g of %g, %s", row.name, got.Status, row.want, got.Observed, got.Bound, got.Why)
		}
	}
}

// TestWhatIsLeftIsWithinTheLimit judges what answers of each kind say of their limit.
func TestWhatIsLeftIsWithinTheLimit(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		reason, verdict string
		left            LimitReply
		want            Status
	}{
		{"FALLBACK_DEPUTY", "ALLOW", LimitReply{Name: "l", Limit: 10, Remaining: 10}, Held},
		{"FALLBACK_DEPUTY", "ALLOW", LimitReply{Name: "l", Limit: 10, Remaining: 11}, Refuted},
		{"FALLBACK_DEPUTY", "ALLOW", LimitReply{Name: "l", Limit: 10, Capacity: 20, Remaining: 11}, Held},
		{"FALLBACK_DEPUTY", "DENY", LimitReply{Name: "l", Limit: 10, Remaining: 1, Refused: true}, Refuted},
		{"FALLBACK_SHARE", "DENY", LimitReply{Name: "l", Limit: 2, Refused: true}, Held},
		{"OK", "ALLOW", LimitReply{Name: "l", Limit: 10, Remaining: -1}, Refuted},
	} {
		o := checkOf(time.Second, time.Millisecond, "n1", "n2", row.verdict, row.reason)
		o.Reply.Limits = []LimitReply{row.left}
		if got := HonestReplies(&History{Ops: []Op{o}}, []Limit{deputyRule()}); got.Status != row.want {
			t.Errorf("%s %s %+v: %s, want %s: %s", row.reason, row.verdict, row.left, got.Status, row.want, got.Why)
		}
	}
}
