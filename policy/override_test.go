package policy

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/weir-cluster/weir/limiter"
)

const overridable = `
version: 1
domains:
  d:
    account: [user]
    limits:
      - {name: rpm, key: [user], algorithm: token_bucket, rate: 6/min, burst: 2}
      - {name: rate, key: [user, model], algorithm: token_bucket, rate: 6/min}
      - {name: window, key: [user], algorithm: fixed_window, limit: 3, window: 1h}
  pair:
    account: [org, user]
`

// overridden is a book under the policy overridable, and the log it gets commands from.
func newOverridable(t testing.TB) (*Book, bookProposer) {
	t.Helper()
	b := NewBook(nil)
	p := bookProposer{b, logTime()}
	if _, err := b.Put(t.Context(), p, "f", []byte(overridable), NoVersion, ""); err != nil {
		t.Fatal(err)
	}
	return b, p
}

func TestTermsChangeOnlyWhatTheyName(t *testing.T) {
	t.Parallel()
	bucket := limiter.Limit{Count: 60, Period: time.Minute, Burst: 20}
	even := limiter.Limit{Count: 60, Period: time.Minute, Burst: 60}
	window := limiter.Limit{Algorithm: limiter.FixedWindow, Count: 10, Period: time.Hour}
	month := limiter.Limit{Algorithm: limiter.CalendarWindow, Count: 10}
	for _, c := range []struct {
		on    limiter.Limit
		terms Terms
		want  limiter.Limit
		wrong string
	}{
		{bucket, Terms{Rate: "600/min"}, limiter.Limit{Count: 600, Period: time.Minute, Burst: 20}, ""},
		{even, Terms{Rate: "600/min"}, limiter.Limit{Count: 600, Period: time.Minute, Burst: 600}, ""},
		{even, Terms{Rate: "1/s", Burst: 7}, limiter.Limit{Count: 1, Period: time.Second, Burst: 7}, ""},
		{bucket, Terms{Burst: 7}, limiter.Limit{Count: 60, Period: time.Minute, Burst: 7}, ""},
		{window, Terms{Limit: 7}, limiter.Limit{Algorithm: limiter.FixedWindow, Count: 7, Period: time.Hour}, ""},
		{window, Terms{Limit: 7, Window: "1d"}, limiter.Limit{Algorithm: limiter.FixedWindow, Count: 7, Period: day}, ""},
		{bucket, Terms{}, bucket, "changes nothing"},
		{bucket, Terms{Rate: "many"}, bucket, "not a rate"},
		{bucket, Terms{Limit: 7}, bucket, "token_bucket has no limit"},
		{bucket, Terms{Burst: -1}, bucket, "outside 1 to"},
		{bucket, Terms{Rate: "1/d", Burst: countMax}, bucket, "146 years"},
		{window, Terms{Rate: "1/s"}, window, "fixed_window has no rate"},
		{window, Terms{Window: "soon"}, window, "not a duration"},
		{window, Terms{Limit: countMax + 1}, window, "outside 1 to"},
		{month, Terms{Window: "1h"}, month, "cannot be overridden"},
	} {
		got, err := c.terms.on(c.on)
		if c.wrong == "" && (err != nil || got != c.want) || c.wrong != "" && (err == nil || !strings.Contains(err.Error(), c.wrong)) {
			t.Errorf("%+v on %+v: %+v, %v", c.terms, c.on, got, err)
		}
	}
}

func TestWhatCannotBeOverriddenIsSaid(t *testing.T) {
	t.Parallel()
	b, p := newOverridable(t)
	faster := Terms{Rate: "60/min"}
	for _, c := range []struct {
		o    Override
		want string
	}{
		{Override{Domain: "d", Account: "alice", Limit: "rmp", Terms: faster}, "did you mean `rpm`?"},
		{Override{Domain: "f", Account: "alice", Limit: "rpm", Terms: faster}, "did you mean `d`?"},
		{Override{Domain: "d", Account: "alice", Limit: "window", Terms: faster}, "fixed_window has no rate"},
		{Override{Domain: "d", Account: "alice b", Limit: "rpm", Terms: faster}, "such as alice=20b"},
		{Override{Domain: "d", Account: "", Limit: "rpm", Terms: faster}, "no account id"},
		{Override{Domain: "d", Account: "a=2", Limit: "rpm", Terms: faster}, "no account id"},
		{Override{Domain: "d", Account: "a=zz", Limit: "rpm", Terms: faster}, "no account id"},
		{Override{Domain: "d", Account: "a~b", Limit: "rpm", Terms: faster}, "the values of [user]"},
		{Override{Domain: "pair", Account: "acme", Limit: "rpm", Terms: faster}, "such as org~user"},
		{Override{Domain: "d", Account: "alice", Limit: "rpm", Terms: faster, Until: logTime()}, "ends before now"},
		{Override{Domain: "d", Account: "alice", Limit: "rpm", Terms: faster, Until: logTime().AddDate(300, 0, 0)}, "outside 1970 to 2200"},
	} {
		if _, err := b.SetOverride(t.Context(), p, c.o); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v", c.o, err)
		}
	}
	if _, err := b.UnsetOverride(t.Context(), p, "d", "alice", "rmp"); !errors.Is(err, ErrInvalid) {
		t.Errorf("unset of a misspelt limit: %v", err)
	}
	if _, err := b.Reset(t.Context(), p, "d", "alice", "rmp"); !errors.Is(err, ErrInvalid) {
		t.Errorf("reset of a misspelt limit: %v", err)
	}
	if _, err := b.Block(t.Context(), p, Block{Domain: "d", Account: "alice", Why: strings.Repeat("x", 257)}); !errors.Is(err, ErrInvalid) {
		t.Errorf("a long why: %v", err)
	}
	if _, err := NewBook(nil).Unblock(t.Context(), p, "d", "alice"); !errors.Is(err, ErrUnavailable) {
		t.Errorf("without a policy: %v", err)
	}
	if revision, _ := b.Revision(); revision != 1 {
		t.Errorf("revision %d after refusals", revision)
	}
}

func TestOverridesAndBlocksEndByTheClockOfTheHome(t *testing.T) {
	t.Parallel()
	b, p := newOverridable(t)
	end := logTime().Add(time.Hour)
	_, err1 := b.SetOverride(t.Context(), p, Override{Domain: "d", Account: "alice", Limit: "rpm", Terms: Terms{Rate: "1/s"}, Until: end})
	_, err2 := b.Block(t.Context(), p, Block{Domain: "d", Account: "alice", Why: "spam", Until: end})
	revision, err3 := b.Block(t.Context(), p, Block{Domain: "d", Account: "bob"})
	if err := errors.Join(err1, err2, err3); err != nil || revision != 4 {
		t.Fatal(revision, err)
	}
	for _, c := range []struct {
		at time.Time
		in bool
	}{{logTime(), true}, {end.Add(-1), true}, {end, false}, {end.Add(day), false}} {
		s := b.Current().special("d", "alice")
		bound, over := s.bound("rpm", c.at)
		if why, blocked := s.blocked(c.at); over != c.in || blocked != c.in || over && bound.Count != 1 || blocked && why != "spam" {
			t.Errorf("at %v: overridden %v %+v, blocked %v %q", c.at, over, bound, blocked, why)
		}
		if got := b.Beside("d", "alice", c.at); (len(got.Overrides) == 1) != c.in || (len(got.Blocks) == 1) != c.in {
			t.Errorf("at %v: listed %+v", c.at, got)
		}
		if _, blocked := b.Current().special("d", "bob").blocked(c.at); !blocked {
			t.Errorf("at %v: a block without an end ended", c.at)
		}
	}
	if s := b.Current().special("pair", "alice"); s != nil {
		t.Errorf("another domain's account: %+v", s)
	}
	p.at = end
	if _, err := b.Block(t.Context(), p, Block{Domain: "d", Account: "carol"}); err != nil {
		t.Fatal(err)
	}
	if known := b.agreed(); len(known.blocks) != 2 || len(known.overrides) != 1 {
		t.Errorf("blocks that ended stay: %+v", known)
	}
}

func TestUnsettingAndUnblockingGoBackToThePolicy(t *testing.T) {
	t.Parallel()
	b, p := newOverridable(t)
	set := func(rate string) uint64 {
		t.Helper()
		revision, err := b.SetOverride(t.Context(), p, Override{Domain: "d", Account: "alice", Limit: "rpm", Terms: Terms{Rate: rate}})
		if err != nil {
			t.Fatal(err)
		}
		return revision
	}
	if a, b := set("1/s"), set("1/s"); a != 2 || b != 2 {
		t.Errorf("the same again: revisions %d, %d", a, b)
	}
	if revision := set("2/s"); revision != 3 {
		t.Errorf("another in its place: revision %d", revision)
	}
	for i, want := range []uint64{4, 4} {
		if revision, err := b.UnsetOverride(t.Context(), p, "d", "alice", "rpm"); err != nil || revision != want {
			t.Errorf("unset %d: %d, %v", i, revision, err)
		}
		if _, over := b.Current().special("d", "alice").bound("rpm", logTime()); over {
			t.Error("it is still overridden")
		}
	}
	if _, err := b.Block(t.Context(), p, Block{Domain: "d", Account: "alice"}); err != nil {
		t.Fatal(err)
	}
	if revision, err := b.Unblock(t.Context(), p, "d", "alice"); err != nil || revision != 6 {
		t.Errorf("unblock: %d, %v", revision, err)
	}
	if s := b.Current().special("d", "alice"); s != nil {
		t.Errorf("something is left: %+v", s)
	}
}

func TestAnOverrideOutlivesItsLimit(t *testing.T) {
	t.Parallel()
	b, p := newOverridable(t)
	over := Override{Domain: "d", Account: "alice", Limit: "rpm", Terms: Terms{Rate: "60/min"}}
	if _, err := b.SetOverride(t.Context(), p, over); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		text string
		idle string
	}{
		{strings.Replace(overridable, "name: rpm", "name: rpn", 1), "domain `d` has no limit `rpm`; did you mean `rpn`?"},
		{strings.Replace(overridable, "  d:", "  e:", 1), "domain `d` has no limit `rpm`"},
		{strings.Replace(overridable, "algorithm: token_bucket, rate: 6/min, burst: 2", "algorithm: fixed_window, limit: 6, window: 1h", 1), "fixed_window has no rate"},
		{overridable, ""},
	} {
		if _, err := b.Put(t.Context(), p, "f", []byte(c.text), AnyVersion, ""); err != nil {
			t.Fatal(err)
		}
		listed := b.Beside("", "", logTime()).Overrides
		if len(listed) != 1 || !strings.HasPrefix(listed[0].Idle, c.idle) || (listed[0].Idle == "") != (c.idle == "") {
			t.Errorf("want %q, listed %+v", c.idle, listed)
		}
		if _, is := b.Current().special("d", "alice").bound("rpm", logTime()); is != (c.idle == "") {
			t.Errorf("%q: in force %v", c.idle, is)
		}
	}
	if _, err := b.Put(t.Context(), p, "f", []byte(strings.Replace(overridable, "name: rpm", "name: x", 1)), AnyVersion, ""); err != nil {
		t.Fatal(err)
	}
	if _, err := b.UnsetOverride(t.Context(), p, "d", "alice", "rpm"); err != nil || len(b.Beside("", "", logTime()).Overrides) != 0 {
		t.Errorf("an idle override cannot be unset: %v", err)
	}
}

// Decisions under overrides, blocks and resets, through a whole waterfall.
func TestDecisionsGoByWhatIsBesideThePolicy(t *testing.T) {
	t.Parallel()
	b, p := newOverridable(t)
	g := newRig(t, overridable)
	admitted := func(user, model string) (n int) {
		t.Helper()
		for range 20 {
			g.policy = b.Current()
			if d := g.check(t, Request{Domain: "d", Attributes: []Attribute{{"user", user}, {"model", model}}}); d.Verdict == Allow {
				n++
			}
		}
		return n
	}
	do := func(_ uint64, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	expect := func(what string, got, want int) {
		t.Helper()
		if got != want {
			t.Errorf("%s: %d admitted, want %d", what, got, want)
		}
	}
	expect("by the policy", admitted("alice", "x"), 2)
	expect("by the policy", admitted("bob", "x"), 2)
	do(b.SetOverride(t.Context(), p, Override{Domain: "d", Account: "alice", Limit: "rpm", Terms: Terms{Burst: 9}}))
	expect("the burst of one is more, but the window is not", admitted("alice", "x"), 1)
	expect("another account", admitted("bob", "x"), 0)
	do(b.Reset(t.Context(), p, "d", "alice", "window"))
	expect("the window begins afresh", admitted("alice", "x"), 3)
	do(b.Block(t.Context(), p, Block{Domain: "d", Account: "bob"}))
	do(b.Reset(t.Context(), p, "d", "bob", ""))
	expect("blocked", admitted("bob", "x"), 0)
	do(b.Unblock(t.Context(), p, "d", "bob"))
	expect("all limits afresh, in the buckets of every model", admitted("bob", "x"), 2)
	do(b.Reset(t.Context(), p, "d", "bob", "rpm"))
	expect("one limit afresh, the window had one left", admitted("bob", "y"), 1)
	do(b.Reset(t.Context(), p, "d", "bob", ""))
	expect("all afresh again", admitted("bob", "y"), 2)
}

func TestAResetIsRememberedAsLongAsWhatItLeavesBehindMayOwe(t *testing.T) {
	t.Parallel()
	b, p := newOverridable(t)
	if _, err := b.SetOverride(t.Context(), p, Override{Domain: "d", Account: "slow", Limit: "rpm", Terms: Terms{Rate: "1/h"}}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		account, limit string
		want           time.Duration
	}{{"alice", "rpm", 2 * time.Minute}, {"alice", "window", 2 * time.Hour}, {"alice", "", 2 * time.Hour}, {"slow", "rpm", 3 * time.Hour}} {
		known := b.agreed()
		if got := known.debts(b.Current(), place{"d", c.account, c.limit}); got != c.want {
			t.Errorf("%s of %s: %v, want %v", c.limit, c.account, got, c.want)
		}
	}
}

func TestRulesOfAnEnvoyTreeAreOverriddenByName(t *testing.T) {
	t.Parallel()
	b := NewBook(nil)
	p := bookProposer{b, logTime()}
	const tree = `
version: 1
domains:
  e:
    envoy:
      descriptors:
        - {key: user, rate_limit: {name: per-user, unit: minute, requests_per_unit: 3}}
        - {key: user, value: root, rate_limit: {unlimited: true}}
        - {key: path, value: /a, rate_limit: {name: twice, unit: minute, requests_per_unit: 3}}
        - {key: path, value: /b, rate_limit: {name: twice, unit: minute, requests_per_unit: 4}}
`
	if _, err := b.Put(t.Context(), p, "f", []byte(tree), NoVersion, ""); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ account, limit, wrong string }{
		{"user~alice=20b", "per-user", ""},
		{"user~", "per-user", ""},
		{"user~alice b", "per-user", "no account id"},
		{"user~alice=2E", "per-user", "no account id"}, // a dot stands for itself
		{"", "per-user", "no account id"},
		{"path~=2Fa", "twice", ""}, // the account tells which of the two
		{"path~=2Fa", "per-user", "the rule for account `path~=2Fa` of domain `e` is `twice`, not `per-user`"},
		{"path~=2Fc", "twice", "such as `path~=2Fa`"},
		{strings.Repeat("x", hashedAt) + "~~" + strings.Repeat("0f", 16), "twice", "several limits `twice` that differ"},
		{"user~alice", "per-usr", "did you mean `per-user`?"},
	} {
		_, err := b.SetOverride(t.Context(), p, Override{Domain: "e", Account: c.account, Limit: c.limit, Terms: Terms{Limit: 5}})
		if c.wrong == "" && err != nil || c.wrong != "" && (err == nil || !strings.Contains(err.Error(), c.wrong)) {
			t.Errorf("%+v: %v", c, err)
		}
	}
	bound, is := b.Current().special("e", "user~alice=20b").bound("per-user", logTime())
	if !is || bound.Count != 5 || bound.Period != time.Minute {
		t.Errorf("%+v, %v", bound, is)
	}
	if bound, is := b.Current().special("e", "path~=2Fa").bound("twice", logTime()); !is || bound.Count != 5 {
		t.Errorf("%+v, %v", bound, is)
	}
	if _, err := b.Reset(t.Context(), p, "e", "path~=2Fb", ""); err != nil {
		t.Error(err)
	}
	if _, err := b.Put(t.Context(), p, "f", []byte(strings.Replace(tree, "value: /a", "value: /c", 1)), AnyVersion, ""); err != nil {
		t.Fatal(err)
	}
	for _, o := range b.Beside("e", "", logTime()).Overrides {
		if want := "such as `path~=2Fb`"; strings.Contains(o.Account, "path") != strings.Contains(o.Idle, want) {
			t.Errorf("without a rule for path=/a: %+v", o)
		}
	}
}

// full is a book at a bound, made at once.
func full(t testing.TB, fill func(a *agreed, p place)) bookProposer {
	t.Helper()
	b, p := newOverridable(t)
	a := b.agreed()
	a.revision = 2
	a.overrides, a.blocks, a.resets = map[place]override{}, map[place]block{}, map[place]reset{}
	for i := range 10_000 {
		fill(&a, place{"d", fmt.Sprint("user-", i), ""})
	}
	if err := b.Restore(strings.NewReader(snapshotMagic + string(a.encode(0)))); err != nil {
		t.Fatal(err)
	}
	b.compile()
	return p
}

func TestOverridesAndBlocksAreBounded(t *testing.T) {
	t.Parallel()
	p := full(t, func(a *agreed, p place) {
		a.blocks[p] = block{until: logTime().Add(time.Hour)}
		p.limit = "rpm"
		a.overrides[p] = override{Terms{Rate: "1/s"}, logTime().Add(time.Hour)}
	})
	over := func(account string) error {
		_, err := p.SetOverride(context.Background(), p, Override{Domain: "d", Account: account, Limit: "rpm", Terms: Terms{Rate: "2/s"}})
		return err
	}
	block := func(account string) error {
		_, err := p.Book.Block(context.Background(), p, Block{Domain: "d", Account: account})
		return err
	}
	for _, set := range []func(string) error{over, block} {
		if err := set("user-7"); err != nil {
			t.Errorf("one in place of another: %v", err)
		}
		if err := set("alice"); !errors.Is(err, ErrFull) {
			t.Errorf("one more: %v", err)
		}
	}
	p.at = logTime().Add(time.Hour)
	for _, set := range []func(string) error{over, block} {
		if err := set("alice"); err != nil {
			t.Errorf("one more when the others have ended: %v", err)
		}
	}
	if known := p.agreed(); len(known.overrides) != 2 || len(known.blocks) != 2 {
		t.Errorf("%d overrides and %d blocks are left, want those without an end", len(known.overrides), len(known.blocks))
	}
}

func TestTheBytesOfAPeersAnswerAreBounded(t *testing.T) {
	t.Parallel()
	p := full(t, func(a *agreed, p place) {
		if p.account += strings.Repeat("x", 220); len(a.blocks) < 8_000 {
			a.blocks[p] = block{why: strings.Repeat("y", 240)}
		}
	})
	if _, err := p.Book.Block(t.Context(), p, Block{Domain: "d", Account: "user-1"}); !errors.Is(err, ErrFull) {
		t.Errorf("%d bytes and one more: %v", len(p.State(0)), err)
	}
	for range 20 {
		_, version := p.Revision()
		p.Apply(p.at, put(fmt.Sprintf("%02d", version)+strings.Repeat("z", TextMax-2), AnyVersion))
	}
	if n := len(p.State(0)); n > 13<<20 {
		t.Errorf("a state has %d bytes, and a message between nodes at most 16 MiB", n)
	}
}

// A reset that is forgotten starts its account afresh again, so it is kept until its room is needed, and in any case
// while the buckets from before may owe something.
func TestResetsGiveWayOldestFirstOnceTheirDebtsAreOver(t *testing.T) {
	t.Parallel()
	number := uint64(0)
	p := full(t, func(a *agreed, p place) {
		number++
		a.revision = number
		a.resets[p] = reset{number: number, debts: logTime().Add(time.Duration(number) * time.Minute)}
	})
	add := func(account string) error {
		_, err := p.Reset(context.Background(), p, "d", account, "window")
		return err
	}
	generation := func(account string) uint64 { return p.Current().special("d", account).generation("window") }
	if err := add("alice"); !errors.Is(err, ErrFull) || generation("user-0") != 1 {
		t.Errorf("while all may owe something: %v", err)
	}
	p.at = logTime().Add(2 * time.Minute)
	if err := add("alice"); err != nil || generation("user-0") != 0 || generation("user-1") != 2 || generation("alice") != 10_001 {
		t.Errorf("%v: generations %d %d %d", err, generation("user-0"), generation("user-1"), generation("alice"))
	}
	if err := errors.Join(add("bob")); err != nil || generation("user-1") != 0 {
		t.Error(err)
	}
	if err := add("carol"); !errors.Is(err, ErrFull) {
		t.Errorf("the new ones gave way: %v", err)
	}
	if want := 2 * time.Hour; p.agreed().resets[place{"d", "bob", "window"}].debts != p.at.Add(want) {
		t.Errorf("a window of an hour may owe until %v", p.agreed().resets[place{"d", "bob", "window"}].debts)
	}
}

func TestSpecialsCostOrdinaryAccountsNothing(t *testing.T) {
	b, p := newOverridable(t)
	if _, err := b.Block(t.Context(), p, Block{Domain: "d", Account: "alice"}); err != nil {
		t.Fatal(err)
	}
	current, now := b.Current(), logTime()
	if n := testing.AllocsPerRun(100, func() {
		for _, account := range []string{"alice", "bob"} {
			s := current.special("d", account)
			s.blocked(now)
			s.bound("rpm", now)
			s.generation("rpm")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
