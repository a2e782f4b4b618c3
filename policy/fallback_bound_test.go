package policy

import (
	"strings"
	"testing"
	"time"

	"github.com/weir-cluster/weir/limiter"
)

// newCrowded is a home whose store has room for some buckets, and its store of shares for some others, in a cluster of three.
func newCrowded(t *testing.T, document string, room, shares int64) *rig {
	t.Helper()
	g := newRig(t, document)
	g.limits = limiter.NewStore(limiter.Config{BucketsMax: room})
	g.w.c.Limits, g.w.c.Shares, g.w.c.Nodes = g.limits, limiter.NewStore(limiter.Config{BucketsMax: shares}), func() int { return 3 }
	g.f.c.Limits = g.w.c.Shares
	return g
}

// tells checks what one decision after the other begins with.
func (g *rig) tells(t *testing.T, r Request, wants ...string) {
	t.Helper()
	for i, want := range wants {
		if got := told(g.check(t, r)); !strings.HasPrefix(got, want) {
			t.Errorf("%v, check %d: %s, want %s", r.Attributes, i+1, got, want)
		}
	}
}

const sixAnHour = "algorithm: fixed_window, limit: 6, window: 1h"

func TestAtTheBoundANewKeyHasThisNodesShare(t *testing.T) {
	t.Parallel()
	g := newCrowded(t, aroundLimit("{name: a, key: [user], "+sixAnHour+"}"), 1, 1)
	bob, carol := request([]string{"user=bob"}), request([]string{"user=carol"})
	g.tells(t, alice("requests:6"), "ALLOW OK")
	look := bob
	look.Mode = Peek
	for range 3 {
		g.tells(t, look, "ALLOW FALLBACK_SHARE LIMIT requests:1 [a 1]")
	}
	g.tells(t, bob, "ALLOW FALLBACK_SHARE LIMIT requests:1 [a 1]", "ALLOW FALLBACK_SHARE LIMIT requests:1 [a 0]",
		`DENY FALLBACK_SHARE 429 by a remedy wait retry 1h0m0s "This node holds as many buckets as it may, and this node's share of limit a is used up; try again in 1h."`)
	g.tells(t, look, "DENY FALLBACK_SHARE")
	g.tells(t, carol, "DENY FALLBACK_CLOSED 503") // no room for a share either
	g.tells(t, alice(), "DENY RATE_LIMITED")
	if d, err := g.f.Check(t.Context(), bob, 3); err != nil || d.Verdict != Deny || d.Reason != FallbackShare {
		t.Errorf("there is a second share where a home cannot be reached: %+v, %v", d, err)
	}
	g.now = g.now.Add(time.Hour) // alice's bucket is dead, and makes room when it is found, some pages a check
	var d Decision
	for i := 0; i < 20 && d.Reason != OK; i++ {
		d = g.check(t, bob)
	}
	if got := told(d); got != "ALLOW OK LIMIT requests:1 [a 5]" {
		t.Errorf("with room again: %s", got)
	}
}

func TestAtTheBoundALimitWithItsBucketIsAskedAsEver(t *testing.T) {
	t.Parallel()
	g := newCrowded(t, aroundLimit("{name: a, key: [user], "+sixAnHour+"}, {name: b, key: [user, model], "+sixAnHour+"}"), 1, 10)
	large := alice("model=large")
	g.tells(t, alice("requests:3"), "ALLOW OK")
	g.tells(t, large, "ALLOW FALLBACK_SHARE LIMIT requests:1 [a 2] [b 1]", "ALLOW FALLBACK_SHARE LIMIT requests:1 [a 1] [b 0]",
		"DENY FALLBACK_SHARE 429 by b", "DENY FALLBACK_SHARE 429 by b")
	g.tells(t, alice(), "ALLOW OK LIMIT requests:1 [a 0]") // refused shares took nothing of a
	g.tells(t, alice("model=small"), "DENY RATE_LIMITED 429 by a")
	if n := g.w.c.Shares.Len(); n != 1 {
		t.Errorf("%d shares, want that of model=large alone: what a refuses takes no share of b", n)
	}
}

func TestAtTheBoundALimitThatIsClosedOrOpenOrAShadowIsNoShare(t *testing.T) {
	t.Parallel()
	for more, want := range map[string]string{
		"fallback: closed": `DENY FALLBACK_CLOSED 503 by b remedy wait "This node holds`,
		"fallback: open":   "ALLOW FALLBACK_SHARE LIMIT requests:1 [a 1]",
		"shadow: true":     "ALLOW FALLBACK_SHARE LIMIT requests:1 [a 1]",
	} {
		g := newCrowded(t, aroundLimit("{name: a, key: [user], "+sixAnHour+"}, {name: b, key: [user, model], "+sixAnHour+", "+more+"}"), 1, 10)
		g.tells(t, alice("requests:6"), "ALLOW OK")
		g.tells(t, request([]string{"user=bob", "model=large"}), want)
		shadow := newCrowded(t, aroundLimit("{name: b, key: [user], "+sixAnHour+", "+more+"}"), 1, 10)
		shadow.check(t, alice())
		if d := shadow.check(t, request([]string{"user=bob"})); (d.Verdict == Deny) != (more == "fallback: closed") || more == "shadow: true" && d.Reason != OK {
			t.Errorf("%s alone: %s", more, told(d))
		}
	}
}

func TestAtTheBoundNobodysCreditIsTouchedAndNothingIsReserved(t *testing.T) {
	t.Parallel()
	g := newCrowded(t, spillPolicy, 2, 10)
	g.open(t, "bob", 0, 0, 1_000_000)
	g.check(t, alice())
	bob := request([]string{"user=bob", "reserve"})
	d := g.check(t, bob) // the share of a burst of 2 is none
	if d.Verdict != Deny || d.Reason != FallbackShare || d.Refusing != "rpm" {
		t.Errorf("%+v", d)
	}
	if b := g.balance(t, "bob"); b != 1_000_000 {
		t.Errorf("credit paid for what a share refused: balance %s", b)
	}
	g.w.c.Nodes = func() int { return 1 }
	if d := g.check(t, bob); d.Verdict != Allow || d.Reason != FallbackShare || d.Reservation != "" {
		t.Errorf("%+v", d)
	}
	if n := g.w.c.Records.claimed + g.w.c.Records.reserved; n != 0 {
		t.Errorf("%d reservations are held", n)
	}
}

func TestAtTheBoundALimitThatSpillsGivesAllOrNothing(t *testing.T) {
	t.Parallel()
	g := newCrowded(t, around("limits: [{name: t, key: [user], meter: tokens, spill: true, "+sixAnHour+"}, {name: b, key: [user, model], "+sixAnHour+"}]\n    "+
		"prices: [{per: {tokens: 0.01}}]"), 1, 10)
	g.open(t, "alice", 0, 0, 1_000_000)
	g.tells(t, alice("tokens:1", "requests:0"), "ALLOW OK")
	g.tells(t, alice("model=large", "tokens:9"), "DENY RATE_LIMITED 429 by t")
	g.tells(t, alice("tokens:5", "requests:0"), "ALLOW OK LIMIT tokens:5 [t 0]")
}

func TestAtTheBoundAnEnvoyBucketIsShared(t *testing.T) {
	t.Parallel()
	g := newCrowded(t, envoyDocument, 1, 10)
	g.check(t, hits("edge", 1, "user=a"))
	for i, want := range []string{"ALLOW FALLBACK_SHARE", "DENY FALLBACK_SHARE", "DENY FALLBACK_SHARE"} {
		if got := told(g.check(t, hits("edge", 1, "user=b"))); !strings.HasPrefix(got, want) {
			t.Errorf("hit %d of a share of 3/3: %s, want %s", i+1, got, want)
		}
	}
}

func TestExplainSaysWhatHasNoRoom(t *testing.T) {
	t.Parallel()
	g := newCrowded(t, aroundLimit("{name: a, key: [user], "+sixAnHour+"}"), 1, 10)
	g.check(t, alice())
	r := request([]string{"user=bob"})
	r.Explain = true
	want := Step{"limit a", "fallback share", "the node has no room for its bucket"}
	if d := g.check(t, r); len(d.Explain) == 0 || d.Explain[0] != want {
		t.Errorf("%v, want %v first", d.Explain, want)
	}
}
