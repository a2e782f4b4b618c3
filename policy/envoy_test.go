package policy

import (
	"strings"
	"testing"
	"time"
)

// descriptor makes entries of key=value words.
func descriptor(words ...string) []Attribute {
	entries := make([]Attribute, len(words))
	for i, w := range words {
		entries[i].Name, entries[i].Value, _ = strings.Cut(w, "=")
	}
	return entries
}

func TestEnvoyRulesMatchAsTheReferenceMatches(t *testing.T) {
	t.Parallel()
	tr := tree(t, `descriptors:
  - {key: user, rate_limit: {name: any, unit: day, requests_per_unit: 1}}
  - {key: user, value: vip, rate_limit: {name: vip, unit: day, requests_per_unit: 1}}
  - {key: user, value: vip*, rate_limit: {name: vips, unit: day, requests_per_unit: 1}}
  - {key: user, value: v*, rate_limit: {name: vs, unit: day, requests_per_unit: 1}}
  - {key: user, value: vz*, rate_limit: {name: hidden, unit: day, requests_per_unit: 1}}
  - {key: path, value: /a, descriptors: [{key: ip, rate_limit: {name: deep, unit: day, requests_per_unit: 1}}]}
  - {key: path, descriptors: [{key: org, rate_limit: {name: shadowed, unit: day, requests_per_unit: 1}}]}
  - {key: both, rate_limit: {name: upper, unit: day, requests_per_unit: 1}, descriptors: [{key: both, rate_limit: {name: lower, unit: day, requests_per_unit: 1}}]}
  - {key: number, value: 7, rate_limit: {name: seven, unit: day, requests_per_unit: 1}}
  - {key: all, value: '*', rate_limit: {name: star, unit: day, requests_per_unit: 1}}
`)
	for _, c := range []struct{ entries, want string }{
		{"user=vip", "vip"},      // exact first
		{"user=vipp", "vips"},    // then prefixes in the order of the file
		{"user=vz1", "vs"},       // the first that fits, not the longest
		{"user=bob", "any"},      // then the key alone
		{"user=vip*", "vips"},    // the wildcard's own text
		{"path=/a", ""},          // a descriptor without a rate_limit
		{"path=/a ip=1", "deep"}, //
		{"path=/a org=x", ""},    // no way back to the worse match
		{"path=/b org=x", "shadowed"},
		{"user=vip ip=1", ""}, // deeper than the tree
		{"ip=1", ""},
		{"both=1", "upper"},
		{"both=1 both=2", "lower"}, // a key may come twice
		{"number=7", "seven"},
		{"all=", "star"},
	} {
		got := ""
		if rule := tr.Rule(descriptor(strings.Fields(c.entries)...)); rule != nil {
			got = rule.Name
		}
		if got != c.want {
			t.Errorf("%s: rule %q, want %q", c.entries, got, c.want)
		}
	}
}

func TestEachEnvoyBucketIsAnAccount(t *testing.T) {
	t.Parallel()
	tr := tree(t, `descriptors:
  - {key: user, value: bot*, share_threshold: true, rate_limit: {unit: day, requests_per_unit: 1}}
  - {key: path, value: /a*, share_threshold: true, descriptors: [{key: user, rate_limit: {unit: day, requests_per_unit: 1}}]}
`)
	long := strings.Repeat("x", 300)
	for _, c := range []struct {
		entries []Attribute
		want    string
	}{
		{descriptor("user=bob"), "user~bob"},
		{descriptor("user=bot-1"), "user~bot=2A"},
		{descriptor("user=bot-2"), "user~bot=2A"},
		{descriptor("path=/a/b", "user=bot-1"), "path~=2Fa=2A~user~bot-1"},
		{descriptor("path=/b", "user=bot-1"), "path~=2Fb~user~bot-1"},
		{descriptor("user="), "user~"},
		{descriptor("a=b~c"), "a~b=7Ec"},
		{descriptor("a=b", "c="), "a~b~c~"},
	} {
		a, err := tr.account(c.entries)
		if err != nil || a.ID != c.want || a.Payer != c.want || a.Domain != "edge" {
			t.Errorf("%v: account %+v, %v; want %s", c.entries, a, err, c.want)
		}
	}
	a, _ := tr.account([]Attribute{{"k", long + "a"}})
	b, _ := tr.account([]Attribute{{"k", long + "b"}})
	if a.ID == b.ID || len(a.ID) != 256 {
		t.Errorf("long accounts: %s, %s", a.ID, b.ID)
	}
	for _, entries := range [][]Attribute{nil, make([]Attribute, AttributesMax+1), {{"k", strings.Repeat("x", entryBytesMax)}}, {{"k", "\xff"}}} {
		if _, err := tr.account(entries); err == nil {
			t.Errorf("%d entries were accepted", len(entries))
		}
	}
}

const envoyDocument = `
version: 1
domains:
  edge:
    envoy:
      descriptors:
        - {key: user, rate_limit: {unit: minute, requests_per_unit: 3}}
        - {key: free, rate_limit: {unlimited: true}}
        - {key: shy, shadow_mode: true, rate_limit: {name: shy-limit, unit: minute, requests_per_unit: 1}}
  ours:
    account: [user]
    limits:
      - {name: keeps, match: {kind: keeps}, key: [user], algorithm: fixed_window, limit: 2, window: 1m, on_deny: keep}
      - {name: open, match: {kind: open}, key: [user], algorithm: fixed_window, limit: 2, window: 1m}
`

// hits is a request for n units, as the Envoy door makes it.
func hits(domain string, n int64, entries ...string) Request {
	r := Request{Domain: domain, Attributes: descriptor(entries...), Cost: []Cost{{"requests", n}}, Charge: true}
	if n == 0 {
		r.Mode = Peek
	}
	return r
}

func TestAnEnvoyLimitCountsWhatItRefuses(t *testing.T) {
	t.Parallel()
	g := newRig(t, envoyDocument)
	for i, c := range []struct {
		hits, remaining int64
		verdict         Verdict
	}{{1, 2, Allow}, {1, 1, Allow}, {1, 0, Allow}, {0, 0, Allow}, {1, 0, Deny}, {0, 0, Deny}} {
		d := g.check(t, hits("edge", c.hits, "user=a"))
		if d.Verdict != c.verdict || len(d.Limits) != 1 || d.Limits[0].Remaining != c.remaining {
			t.Errorf("step %d: %v, %+v", i, d.Verdict, d.Limits)
		}
	}
	g.now = g.now.Add(time.Minute)
	if d := g.check(t, hits("edge", 3, "user=a")); d.Verdict != Allow || d.Limits[0].Name != "user" || d.PolicyVersion != 7 {
		t.Errorf("in the next window: %+v", d)
	}
}

func TestAnEnvoyRefundIsNeverMoreThanWasTaken(t *testing.T) {
	t.Parallel()
	g := newRig(t, envoyDocument)
	refund := func(n int64) Decision {
		r := hits("edge", n, "user=a")
		r.Refund = true
		return g.check(t, r)
	}
	g.check(t, hits("edge", 5, "user=a"))
	if d := refund(4); d.Verdict != Allow || d.Limits[0].Remaining != 2 || d.Sources != nil {
		t.Errorf("5 taken, 4 given back: %+v", d)
	}
	if d := refund(1000); d.Limits[0].Remaining != 3 {
		t.Errorf("more than was taken: %+v", d)
	}
	if d := g.check(t, hits("edge", 4, "user=a")); d.Verdict != Deny {
		t.Errorf("a refund gave more than the limit: %+v", d)
	}
}

func TestAnOverrideSharesTheCounterOfItsWindow(t *testing.T) {
	t.Parallel()
	g := newRig(t, envoyDocument)
	with := func(count uint32, window time.Duration, entries ...string) Decision {
		r := hits("edge", 1, entries...)
		r.Override = &LimitOverride{count, window}
		return g.check(t, r)
	}
	g.check(t, hits("edge", 3, "user=a"))
	if d := with(5, time.Minute, "user=a"); d.Verdict != Allow || d.Limits[0].Remaining != 1 || d.Limits[0].Limit != 5 {
		t.Errorf("3 of 5 were taken: %+v", d)
	}
	if d := with(1, time.Hour, "user=a"); d.Verdict != Allow {
		t.Errorf("another window has another counter: %+v", d)
	}
	if d := with(0, time.Minute, "nobody=a"); d.Verdict != Deny || d.Refusing != "override" {
		t.Errorf("a ban where there is no rule: %+v", d)
	}
	with(1, time.Minute, "shy=a")
	if d := with(1, time.Minute, "shy=a"); d.Verdict != Deny {
		t.Errorf("an override is no shadow: %+v", d)
	}
	for _, r := range []Request{
		{Domain: "ours", Attributes: descriptor("user=a"), Override: &LimitOverride{1, time.Minute}},
		{Domain: "edge", Attributes: descriptor("user=a"), Override: &LimitOverride{1, time.Millisecond}},
		{Domain: "edge", Attributes: descriptor("user=a"), Override: &LimitOverride{1, 3661 * day}},
	} {
		if err := g.policy.Validate(r); err == nil {
			t.Errorf("%+v was accepted", *r.Override)
		}
	}
}

func TestShadowAndUnlimitedEnvoyRulesRefuseNothing(t *testing.T) {
	t.Parallel()
	g := newRig(t, envoyDocument)
	for range 3 {
		if d := g.check(t, hits("edge", 1, "free=a")); d.Verdict != Allow || len(d.Limits) != 0 {
			t.Errorf("unlimited: %+v", d)
		}
	}
	g.check(t, hits("edge", 1, "shy=a"))
	if d := g.check(t, hits("edge", 1, "shy=a")); d.Verdict != Allow || !d.Limits[0].Refused || d.Limits[0].Name != "shy-limit" {
		t.Errorf("shadow: %+v", d)
	}
}

func TestADoorThatChargesLeavesLimitsThatKeep(t *testing.T) {
	t.Parallel()
	g := newRig(t, envoyDocument)
	for kind, want := range map[string]Verdict{"keeps": Allow, "open": Deny} {
		g.check(t, hits("ours", 3, "user=a", "kind="+kind))
		if d := g.check(t, hits("ours", 2, "user=a", "kind="+kind)); d.Verdict != want {
			t.Errorf("%s, after a refused 3 of 2: %+v", kind, d)
		}
	}
}

func TestAnEnvoyShareRefundsWhatItTook(t *testing.T) {
	t.Parallel()
	g := newRig(t, envoyDocument)
	ask := func(r Request) Decision {
		t.Helper()
		d, err := g.f.Check(t.Context(), r, 3)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	back := hits("edge", 2, "user=a")
	back.Refund = true
	for i, c := range []struct {
		r    Request
		want Verdict
	}{{hits("edge", 1, "user=a"), Allow}, {hits("edge", 1, "user=a"), Deny}, {back, Allow}, {hits("edge", 1, "user=a"), Allow}} {
		if d := ask(c.r); d.Verdict != c.want || d.Reason != FallbackShare {
			t.Errorf("step %d: %+v", i, d)
		}
	}
}

func TestTheSameKeyWithARefundIsAConflict(t *testing.T) {
	t.Parallel()
	a, b, c := hits("edge", 1, "user=a"), hits("edge", 1, "user=a"), hits("edge", 1, "user=a")
	b.Refund, c.Override = true, &LimitOverride{1, time.Minute}
	if fingerprint(&a) == fingerprint(&b) || fingerprint(&a) == fingerprint(&c) {
		t.Error("different requests have one fingerprint")
	}
}
