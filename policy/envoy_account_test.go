package policy

import (
	"errors"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

const envoyAccounts = `
version: 1
domains:
  e:
    envoy:
      descriptors:
        - {key: user, rate_limit: {unit: minute, requests_per_unit: 3}}
        - {key: user, value: bot*, share_threshold: true, rate_limit: {unit: minute, requests_per_unit: 3}}
        - {key: plan, value: free, rate_limit: {unit: minute, requests_per_unit: 3}}
        - {key: plan, value: gold, rate_limit: {unlimited: true}}
        - {key: both, rate_limit: {unit: minute, requests_per_unit: 3}, descriptors: [{key: low, rate_limit: {unit: minute, requests_per_unit: 3}}]}
        - {key: dead, descriptors: [{key: end}]}
        - key: path
          value: /a
          descriptors:
            - {key: ip, rate_limit: {unit: minute, requests_per_unit: 3}}
  none: {envoy: {}}
`

func TestAccountsThatNoEnvoyRuleMatchesAreRefusedWithTheNearest(t *testing.T) {
	t.Parallel()
	b := NewBook(nil)
	p := bookProposer{b, logTime()}
	if _, err := b.Put(t.Context(), p, "f", []byte(envoyAccounts), NoVersion, ""); err != nil {
		t.Fatal(err)
	}
	for account, says := range map[string]string{
		"user~alice":     "",
		"user~":          "",
		"user~bot=2A":    "",
		"plan~gold":      "", // nobody is counted, but a block holds
		"path~=2Fa~ip~1": "",
		"user~" + strings.Repeat("x", hashedAt-5) + "~~" + strings.Repeat("0f", 16): "",
		strings.Repeat("x", hashedAt-2) + "=2~~" + strings.Repeat("0f", 16):         "", // cut in the middle of =2F
		"user~bot-1":      "a rule counts all that match it as one, whose account is `user~bot=2A`",
		"usr~alice":       "such as `user~alice`",
		"user":            "is no account id of domain `e`, which is an Envoy tree: expected the keys and values of a descriptor joined by ~, bytes outside A-Z a-z 0-9 . _ @ - as =XX, such as `user~VALUE`",
		"alice":           "such as `plan~free`",
		"user~alice~ip~1": "such as `user~alice`",
		"plan~fre":        "such as `plan~free`",
		"path~=2Fa":       "such as `path~=2Fa~ip~VALUE`",
		"path~=2Fb~ip~1":  "such as `path~=2Fa~ip~1`",
		"path~=2Fb":       "such as `path~=2Fa~ip~VALUE`",
		"dead~x~end~y":    "such as `",
		"user~a b":        "as =XX, such as `user~a=20b`",
		"user~=2Ea":       "is no account id",
		"":                "is no account id",
		"both~a~lw~1":     "such as `both~a~low~1`",
		strings.Repeat("/", hashedAt) + "~~" + strings.Repeat("0f", 16): "is no account id",
		"user~" + strings.Repeat("x", 252):                              "is no account id",
		strings.Repeat("x", 257):                                        "is no account id",
	} {
		at := Override{Domain: "e", Account: account}
		_, blocked := b.Block(t.Context(), p, Block{Domain: at.Domain, Account: account})
		_, reset := b.Reset(t.Context(), p, at.Domain, account, "")
		for what, err := range map[string]error{"block": blocked, "reset": reset} {
			if says == "" && err != nil || says != "" && (!errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), says)) {
				t.Errorf("%s %s: %v, want %q", what, account, err, says)
			}
		}
		if _, err := b.Current().AttributesOf("e", account); !strings.Contains(account, "~~") && (says == "") != (err == nil) || err != nil && !errors.Is(err, ErrInvalid) {
			t.Errorf("attributes of %s: %v", account, err)
		}
	}
	if _, err := b.Block(t.Context(), p, Block{Domain: "none", Account: "user~a"}); err == nil || strings.Contains(err.Error(), "such as `") {
		t.Errorf("in a tree without rules: %v", err)
	}
	if _, err := b.Unblock(t.Context(), p, "e", "usr~alice"); err != nil {
		t.Errorf("what an earlier policy let be blocked can be unblocked: %v", err)
	}
}

// Whatever a descriptor is that a rule matches: its account is understood again, as entries of the same bucket.
func TestTheAccountOfADescriptorLeadsBackToItsBucket(t *testing.T) {
	t.Parallel()
	p, err := Parse("p", []byte(envoyAccounts))
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		value := func() string {
			return rapid.SampledFrom([]string{"bot", "bo", "", "/a", "free", "*"}).Draw(t, "known") + rapid.StringN(0, 8, 30).Draw(t, "own")
		}
		entries := []Attribute{{rapid.SampledFrom([]string{"user", "plan", "path"}).Draw(t, "key"), value()}}
		if entries[0].Name == "path" {
			entries = append(entries, Attribute{"ip", value()})
		}
		r := Request{Domain: "e", Attributes: entries}
		a, err := p.Account(r)
		if err != nil {
			t.Skip(err)
		}
		r.Attributes, err = p.AttributesOf("e", a.ID)
		d, _ := p.Domain("e")
		if matched := d.Envoy().Rule(entries) != nil; matched != (err == nil) {
			t.Fatalf("%v has a rule: %v; %v", entries, matched, err)
		}
		if err != nil {
			return
		}
		if back, err := p.Account(r); err != nil || back != a || d.Envoy().Rule(r.Attributes) != d.Envoy().Rule(entries) {
			t.Errorf("%v became %v: %+v, want %+v; %v", entries, r.Attributes, back, a, err)
		}
	})
}
