package policy

import (
	"fmt"
	"testing"
)

// A request remembers its account for the policy that found it, and for no other.
func TestWhatIsLocatedIsOfItsPolicy(t *testing.T) {
	const text = "version: 1\ndomains:\n  d:\n    account: [%[1]s]\n    limits:\n      - {name: l, key: [%[1]s], algorithm: token_bucket, meter: requests, rate: 1/s, burst: 1}\n"
	of := func(attribute string) *Policy {
		p, err := Parse("p.yaml", fmt.Appendf(nil, text, attribute))
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	users, orgs := of("user"), of("org")
	r := Request{Domain: "d", Attributes: []Attribute{{"user", "anna"}, {"org", "acme"}}}
	for i, row := range []struct {
		policy *Policy
		want   string
	}{{users, "anna"}, {users, "anna"}, {users.WithVersion(7), "anna"}, {orgs, "acme"}, {users, "anna"}} {
		got, err := row.policy.Locate(&r)
		if want, _ := row.policy.Account(r); err != nil || got != want || got.ID != row.want {
			t.Errorf("%d: %+v, %v, want %+v", i, got, err, want)
		}
	}
	r = Request{Domain: "d"}
	if _, err := users.Locate(&r); err == nil || r.located.domain != nil {
		t.Errorf("no user: %v, remembers %v", err, r.located)
	}
}
