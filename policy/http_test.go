package policy

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// parts reads an HTTP request that is a map from header, or part, to value.
func parts(has map[string]string) func(HTTPAttribute) (string, error) {
	return func(a HTTPAttribute) (string, error) {
		if a.Part == HTTPHeader {
			return has[a.Header], nil
		}
		return has[a.Part.String()], nil
	}
}

func TestAnHTTPRequestNamesItsAccountByTheFirstAlternativeItHas(t *testing.T) {
	t.Parallel()
	const mapped = "http: {attributes: {user: [header X-User, header X-Api-Key, client_ip], route: path}}"
	for _, c := range []struct {
		settings string
		has      map[string]string
		want     string
	}{
		{mapped, map[string]string{"X-User": "u", "X-Api-Key": "k", "client_ip": "i", "path": "/"}, "[{user u} {route /}]"},
		{mapped, map[string]string{"X-Api-Key": "k", "client_ip": "i"}, "[{user k}]"},
		{mapped, map[string]string{"client_ip": "i", "path": "/p"}, "[{user i} {route /p}]"},
		{mapped, map[string]string{"path": "/p"}, "[{route /p} {user anonymous}]"},
		{mapped + "\n    payer: [org, user]", map[string]string{"X-User": "u"}, "[{user u} {org anonymous}]"},
		{"payer: [org]", map[string]string{"X-Org": "o", "X-User": "u"}, "[{user u} {org o}]"},
		{"unmatched: allow", map[string]string{"X-Model": "large"}, "[{user anonymous}]"},
	} {
		p, err := Parse("f", []byte(around(c.settings)))
		if err != nil {
			t.Fatal(err)
		}
		got, err := p.domains["llm"].FromHTTP(parts(c.has))
		if fmt.Sprint(got) != c.want || err != nil {
			t.Errorf("%s with %v: %v, %v, want %s", c.settings, c.has, got, err, c.want)
		}
	}
}

func TestAnAttributeIsNeverReadFromAnAnswersHeader(t *testing.T) {
	t.Parallel()
	p, err := Parse("f", []byte(aroundLimit("{name: a, match: {rl_status: x, Host: y}, key: [user], algorithm: token_bucket, rate: 1/s}")))
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(p.domains["llm"].HTTPAttributes()); got != "[{user X-User header} {Host X-Host header}]" {
		t.Error(got)
	}
}

func TestAnHTTPRequestHasNothingToAskAnEnvoyTree(t *testing.T) {
	t.Parallel()
	p, err := Parse("f", []byte("version: 1\ndomains: {edge: {envoy: {descriptors: [{key: k, rate_limit: {unit: day, requests_per_unit: 1}}]}}}"))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := p.domains["edge"].FromHTTP(parts(nil)); !errors.Is(err, ErrInvalid) {
		t.Errorf("%v, %v, want invalid", got, err)
	}
}

func TestAReadersErrorEndsTheReading(t *testing.T) {
	t.Parallel()
	p, err := Parse("f", []byte(around("unmatched: allow")))
	if err != nil {
		t.Fatal(err)
	}
	twice := errors.New("twice")
	if _, err := p.domains["llm"].FromHTTP(func(HTTPAttribute) (string, error) { return "u", twice }); !errors.Is(err, twice) {
		t.Errorf("%v, want %v", err, twice)
	}
}

func TestADiffTellsTheOrderOfAlternatives(t *testing.T) {
	t.Parallel()
	const was = "http: {attributes: {user: [header X-User, client_ip], route: path}}"
	if got := diffLines(t, around(was), around("http: {attributes: {route: path, user: [header X-User, client_ip]}}")); len(got) != 0 {
		t.Errorf("another order of attributes: %v", got)
	}
	got := diffLines(t, around(was), around("http: {attributes: {user: [client_ip, header X-User], route: path}}"))
	if len(got) != 1 || !strings.Contains(got[0], "user: client_ip or header X-User") {
		t.Errorf("another order of alternatives: %v", got)
	}
}
