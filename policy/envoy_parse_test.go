package policy

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
)

// tree compiles a configuration as the domain edge.
func tree(t testing.TB, configuration string) *EnvoyTree {
	t.Helper()
	text, err := ImportEnvoy(map[string][]byte{"edge.yaml": []byte("domain: edge\n" + configuration)})
	if err != nil {
		t.Fatal(err)
	}
	p, err := Parse("policy.yaml", text)
	if err != nil {
		t.Fatal(err)
	}
	d, err := p.Domain("edge")
	if err != nil || d.Envoy() == nil {
		t.Fatalf("domain edge: %v", err)
	}
	return d.Envoy()
}

func TestEnvoyFilesThatTheReferenceRefusesAreRefused(t *testing.T) {
	t.Parallel()
	descriptor := func(fields string) string { return "domain: d\ndescriptors:\n  - {key: k, " + fields + "}\n" }
	limit := func(fields string) string { return descriptor("rate_limit: {" + fields + "}") }
	for _, c := range []struct{ text, want string }{
		{"", "d.yaml:1:1: config file cannot have empty domain"},
		{"descriptors: []", "d.yaml:1:1: config file cannot have empty domain"},
		{"domain: ''", "d.yaml:1:1: config file cannot have empty domain"},
		{"domain: ~", "d.yaml:1:1: config file cannot have empty domain"},
		{"- a", "d.yaml:1:1: error loading config file: found a list"},
		{"domain: [", "d.yaml:1:1: found text that is not YAML"},
		{"domain: d\n---\ndomain: e", "d.yaml:2:1: found a second document"},
		{"domain: d\nratelimit: 3", "d.yaml:2:1: config error, unknown key 'ratelimit'; did you mean `rate_limit`?"},
		{"domain: d\n7: 3", "d.yaml:2:1: config error, key is not of type string: `7`"},
		{"domain: d\n? [a]\n: 3", "d.yaml:2:3: config error, key is not of type string: a list"},
		{"domain: d\ndomain: d", "d.yaml:2:1: found `domain` again"},
		{"domain: d\ndescriptors: [a]", "d.yaml:2:15: config error, yaml file contains list of type other than map: `a`"},
		{"domain: d\ndescriptors: {key: k}", "d.yaml:2:14: error loading config file: found a mapping, expected a list of descriptors"},
		{"domain: d\ndescriptors: [{value: v}]", "d.yaml:2:15: descriptor has empty key"},
		{"domain: d\ndescriptors: [{key: ''}]", "d.yaml:2:15: descriptor has empty key"},
		{"domain: d\ndescriptors: [{key: a}, {key: a}]", "d.yaml:2:25: duplicate descriptor composite key 'd.a'"},
		{"domain: d\ndescriptors: [{key: a_b}, {key: a, value: b}]", "d.yaml:2:27: duplicate descriptor composite key 'd.a_b'"},
		{"domain: d\ndescriptors: [{key: k, value: v, descriptors: [{key: a}, {key: a}]}]", "composite key 'd.k_v.a'"},
		{descriptor("value: 1.5"), "d.yaml:3:21: error checking config: found `1.5`"},
		{descriptor("value: {a: b}"), "config error, unknown key 'a'"},
		{descriptor("value: {key: b}"), "d.yaml:3:21: error loading config file: found a mapping, expected text for value"},
		{descriptor("shadow_mode: 'true'"), "d.yaml:3:27: error loading config file: found `true`, expected true or false for shadow_mode"},
		{descriptor("share_threshold: true"), "d.yaml:3:31: share_threshold can only be used with wildcard values (ending with '*'), found key 'k' and value ''"},
		{descriptor("value: v, share_threshold: true"), "share_threshold can only be used with wildcard values"},
		{descriptor("metadata: 3"), "d.yaml:3:24: found `3`, expected a mapping"},
		{descriptor("metadata: {a: 1, a: 2}"), "d.yaml:3:31: found `a` again"},
		{descriptor("rate_limit: 3"), "d.yaml:3:26: error loading config file: found `3`"},
		{limit("requests_per_unit: 3"), "d.yaml:3:26: invalid rate limit unit ''"},
		{limit("unit: fortnight, requests_per_unit: 3"), "d.yaml:3:33: invalid rate limit unit 'fortnight'"},
		{limit("unit: unknown, requests_per_unit: 3"), "invalid rate limit unit 'unknown'"},
		{limit("unit: minutes, requests_per_unit: 3"), "invalid rate limit unit 'minutes'; did you mean `minute`?"},
		{limit("unit: minute, unlimited: true"), "d.yaml:3:33: should not specify rate limit unit when unlimited"},
		{limit("unit: day, requests_per_unit: -1"), "d.yaml:3:57: error loading config file: found `-1`, expected a whole number from 0 to 4294967295"},
		{limit("unit: day, requests_per_unit: 4294967296"), "found `4294967296`, expected a whole number"},
		{limit("unit: day, requests_per_unit: '3'"), "found `3`, expected a whole number"},
		{limit("unit: day, name: a, replaces: [{name: a}]"), "d.yaml:3:58: replaces should not contain name of same descriptor"},
		{limit("unit: day, replaces: [{name: ''}]"), "should not have an empty replaces entry"},
		{limit("unit: day, replaces: [a]"), "config error, yaml file contains list of type other than map"},
		{limit("unit: day, unit_multiplier: 2"), "config error, unknown key 'unit_multiplier'"},
	} {
		_, err := ImportEnvoy(map[string][]byte{"d.yaml": []byte(c.text)})
		if !errors.Is(err, ErrInvalid) || !strings.Contains(fmt.Sprint(err), c.want) {
			t.Errorf("%q:\n got %v\nwant %s", c.text, err, c.want)
		}
	}
}

func TestAnEnvoyTreeInAPolicyNamesThePlaceOfAMistake(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ text, want string }{
		{"version: 1\ndomains:\n  edge:\n    envoy:\n      domain: other\n", "p.yaml:5:15: found `other`, expected the domain's own name `edge`"},
		{"version: 1\ndomains:\n  edge:\n    envoy: {descriptors: [{key: k, rate_limit: {unit: d}}]}\n", "p.yaml:4:55: invalid rate limit unit 'd'"},
		{"version: 1\ndomains:\n  edge:\n    account: [user]\n    envoy: {}\n", "p.yaml:4:14: found `account` beside `envoy`"},
		{"version: 1\ndomains:\n  edge: {envoy: 3}\n", "p.yaml:3:17: error loading config file: found `3`"},
		{"version: 1\ndomains:\n  'a/B c': {account: [user]}\n", "p.yaml:3:3: found `a/B c`, expected the name of a domain"},
	} {
		if _, err := Parse("p.yaml", []byte(c.text)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q:\n got %v\nwant %s", c.text, err, c.want)
		}
	}
}

func TestImportEnvoyKeepsTheTreeWhole(t *testing.T) {
	t.Parallel()
	files := map[string][]byte{}
	for _, name := range []string{"edge.yaml", "gateway.yaml"} {
		text, err := os.ReadFile("testdata/envoy/" + name)
		if err != nil {
			t.Fatal(err)
		}
		files[name] = text
	}
	text, err := ImportEnvoy(files)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"version: 1\n", "  edge:\n    envoy:\n", "  default/eg/http:\n", "# 100 a minute for each user", "x_owner: the platform team", "x_note: nobody",
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("the import lacks %q:\n%s", want, text)
		}
	}
	p, err := Parse("policy.yaml", text)
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(p.Domains(), " "); got != "default/eg/http edge" {
		t.Errorf("domains %s", got)
	}
	edge, _ := p.Domain("edge")
	rule := edge.Envoy().Rule([]Attribute{{"org", "acme"}})
	if rule == nil || rule.Name != "per-user" || rule.Count != 100 || rule.Unit != EnvoyMinute {
		t.Errorf("the rule behind an alias: %+v", rule)
	}
	rule = edge.Envoy().Rule([]Attribute{{"user", "bob"}})
	const metadata = `{"tier":"standard","weight":2,"tags":["a","b"],"on":true,"ratio":0.5,"none":null}`
	if rule == nil || !rule.Quota || string(rule.Metadata) != metadata {
		t.Errorf("metadata %s", rule.Metadata)
	}
}

func TestImportEnvoyWritesOutMergeKeys(t *testing.T) {
	t.Parallel()
	const text = `descriptors:
  - {key: a, rate_limit: &base {unit: hour, requests_per_unit: 7, name: base}}
  - {key: b, rate_limit: {<<: *base, name: own}}
  - {key: c, rate_limit: {<<: [*base, {unlimited: false}]}}
`
	tr := tree(t, text)
	for key, name := range map[string]string{"a": "base", "b": "own", "c": "base"} {
		if rule := tr.Rule([]Attribute{{key, ""}}); rule == nil || rule.Name != name || rule.Count != 7 || rule.Unit != EnvoyHour {
			t.Errorf("%s: %+v", key, rule)
		}
	}
}

func TestImportEnvoyBoundsWhatAliasesUnfoldTo(t *testing.T) {
	t.Parallel()
	bomb := "domain: d\nmetadata:\n  a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
	for i := 1; i < 9; i++ {
		bomb += fmt.Sprintf("  a%d: &a%d [%s*a%d]\n", i, i, strings.Repeat(fmt.Sprintf("*a%d, ", i-1), 9), i-1)
	}
	_, err := ImportEnvoy(map[string][]byte{"d.yaml": []byte(bomb)})
	if err == nil || !strings.Contains(err.Error(), "unfolds further") {
		t.Errorf("ten to the ninth: %v", err)
	}
	_, err = ImportEnvoy(map[string][]byte{"d.yaml": []byte("domain: d\nmetadata: &a {b: *a}\n")})
	if err == nil {
		t.Error("an alias of what it stands in was accepted")
	}
}

func TestImportEnvoyRefusesADomainTwice(t *testing.T) {
	t.Parallel()
	_, err := ImportEnvoy(map[string][]byte{"a.yaml": []byte("domain: d"), "b.yaml": []byte("domain: d")})
	if err == nil || err.Error() != "b.yaml:1:9: duplicate domain 'd' in config file (it is also in a.yaml)" {
		t.Error(err)
	}
	if _, err := ImportEnvoy(nil); !errors.Is(err, ErrInvalid) {
		t.Error(err)
	}
}

func FuzzImportEnvoy(f *testing.F) {
	for _, name := range []string{"edge.yaml", "gateway.yaml"} {
		text, err := os.ReadFile("testdata/envoy/" + name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Add([]byte("domain: d\ndescriptors: [{key: k, value: 'v*', share_threshold: on, rate_limit: {unlimited: true}}]"))
	f.Add([]byte("domain: &a d\nmetadata: {<<: *a}"))
	f.Fuzz(func(t *testing.T, text []byte) {
		out, err := ImportEnvoy(map[string][]byte{"f.yaml": text})
		if err != nil {
			if !errors.Is(err, ErrInvalid) {
				t.Fatalf("an error of ours: %v", err)
			}
			return
		}
		p, err := Parse("policy.yaml", out)
		if err != nil {
			t.Fatalf("the import does not parse: %v\n%s", err, out)
		}
		d, _ := p.Domain(p.Domains()[0])
		d.Envoy().Rule([]Attribute{{"k", "v"}, {"k", "v"}})
		if _, err := p.Account(Request{Domain: d.Name(), Attributes: []Attribute{{"k", "v"}}}); err != nil {
			t.Fatalf("no account: %v", err)
		}
	})
}
