package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/cespare/xxhash/v2"

	"github.com/weir-cluster/weir/ring"
)

// routingVectors are the published ones.
type routingVectors struct {
	Partitions []hashed   `json:"partitions"`
	Accounts   []named    `json:"accounts"`
	Refused    [][]string `json:"refused"`
}

type hashed struct {
	Domain    string `json:"domain"`
	Account   string `json:"account"`
	Hash      string `json:"hash"`
	Partition uint16 `json:"partition"`
}

// named is an account id, and none where there is no account.
type named struct {
	Values  []string `json:"values"`
	Account string   `json:"account"`
}

func ofRing(domain, account string) hashed {
	return hashed{domain, account, fmt.Sprintf("%016x", xxhash.Sum64String(domain+"\x00"+account)), ring.Partition(domain, account)}
}

func readVectors(t *testing.T) (v routingVectors) {
	t.Helper()
	text, err := os.ReadFile("../../ring/testdata/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

// The tables of docs/clients.md are what ring computes, and a part of the published file.
func TestClientsPageHasTheRingsVectors(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/clients.md")
	if err != nil {
		t.Fatal(err)
	}
	published := readVectors(t)
	places := regexp.MustCompile("(?m)^\\| `(.*?)` \\| `(.*?)` \\| `([0-9a-f]{16})` \\| (\\d+) \\|$").FindAllStringSubmatch(string(page), -1)
	for _, row := range places {
		want := ofRing(row[1], row[2])
		if fmt.Sprint(want.Hash, want.Partition) != fmt.Sprint(row[3], row[4]) {
			t.Errorf("the page has %s, want %+v", row[0], want)
		}
		if !slices.Contains(published.Partitions, want) {
			t.Errorf("%+v is on the page and not in the published file", want)
		}
	}
	names := regexp.MustCompile("(?m)^\\| `(\\[.*\\])` \\| (none|`.*`) \\|$").FindAllStringSubmatch(string(page), -1)
	for _, row := range names {
		var values []string
		if err := json.Unmarshal([]byte(row[1]), &values); err != nil {
			t.Errorf("the page has %s: %v", row[0], err)
		}
		id, _ := ring.AccountID(values)
		if id != strings.TrimPrefix(strings.Trim(row[2], "`"), "none") {
			t.Errorf("the page has %s, want the id %q", row[0], id)
		}
		same := func(v []string) bool { return slices.Equal(v, values) }
		if !slices.ContainsFunc(published.Refused, same) && !slices.ContainsFunc(published.Accounts, func(n named) bool { return same(n.Values) }) {
			t.Errorf("%q is on the page and not in the published file", values)
		}
	}
	if rows := bytes.Count(page, []byte("\n| `")); len(places) < 5 || len(names) < 5 || rows != len(places)+len(names)+3 { // and three fallbacks
		t.Errorf("%d partitions and %d ids read of %d rows", len(places), len(names), rows)
	}
}

// routingInPython answers vectors on standard input with what routing.py makes of them.
const routingInPython = `
import json, sys, routing
def named(values):
    try:
        return routing.account_id(values)
    except ValueError:
        return ""
v = json.load(sys.stdin)
json.dump({
    "partitions": [{"domain": d, "account": a, "hash": "%016x" % routing.xxhash64(f"{d}\0{a}".encode()), "partition": routing.partition(d, a)}
                   for d, a in ((p["domain"], p["account"]) for p in v["partitions"])],
    "accounts": [{"values": a["values"], "account": named(a["values"])} for a in v["accounts"]],
}, sys.stdout)`

// The Python rule agrees with ring on every published vector, on each length of what is hashed, and on values at random.
func TestPythonRoutesAsTheRingDoes(t *testing.T) {
	t.Parallel()
	python := pythonWith(t, "json")
	v := readVectors(t)
	for _, values := range v.Refused {
		v.Accounts = append(v.Accounts, named{Values: values})
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	for size := range ring.AccountBytesMax + 1 {
		v.Partitions = append(v.Partitions, ofRing(letters(r, 1+size%5, 'a', 'z'), letters(r, size, '-', '~')))
		values := []string{letters(r, size%70, ' ', 'ÿ')}
		if size%3 == 0 {
			values = append(values, letters(r, r.IntN(60), 0, '~'))
		}
		id, _ := ring.AccountID(values) // none is what must be found
		v.Accounts = append(v.Accounts, named{values, id})
	}
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	cmd := python.command(t.Context(), "-c", routingInPython)
	cmd.Stdin = bytes.NewReader(text)
	out, err := cmd.Output()
	var got routingVectors
	if err != nil || json.Unmarshal(out, &got) != nil || len(got.Partitions) != len(v.Partitions) || len(got.Accounts) != len(v.Accounts) {
		t.Fatalf("%v: %s", err, out)
	}
	for i, want := range v.Partitions {
		if got.Partitions[i] != want {
			t.Errorf("Python has %+v, want %+v", got.Partitions[i], want)
		}
	}
	for i, want := range v.Accounts {
		if got.Accounts[i].Account != want.Account {
			t.Errorf("Python has the id %q of %q, want %q", got.Accounts[i].Account, want.Values, want.Account)
		}
	}
}

// letters returns n of the letters from first to last.
func letters(r *rand.Rand, n int, first, last rune) string {
	text := make([]rune, n)
	for i := range text {
		text[i] = first + r.Int32N(last-first+1)
	}
	return string(text)
}

// waysInPython prints whom routing.py would ask under views of four members: alice's partition is 1406.
const waysInPython = `
from types import SimpleNamespace as O
import routing
def view(home, deputy, dead="", hash="xxhash64", epoch=5, policy=5):
    return O(hash=hash, partitions=4096, homes=[9] * 1406 + [home] + [9] * 2689, deputies=[9] * 1406 + [deputy] + [9] * 2689,
             members=[O(name=n, alive=n not in dead) for n in "abcd"], domains=[O(name="demo", account=["user"])],
             epoch=epoch, policy_version=policy)
def way(*how, domain="demo", user="alice", **more):
    print("".join(m.name for m in routing.way(view(*how, **more), domain, {"user": user})), end=" ")
way(2, 1)
way(2, 1, "c")
way(2, 1, "bc")
way(2, 65535)
way(65535, 3)
way(2, 1, "abcd")
way(2, 1, hash="other")
way(2, 1, domain="other")
way(2, 1, user="")
way(2, 1, user="bob")
for epoch, policy in (5, 5), (5, 6), (6, 1), (5, 4), (4, 9):
    print(routing.newer(view(0, 0, epoch=epoch, policy=policy), view(0, 0)), end=" ")
print(routing.newer(view(0, 0), None))`

func TestPythonAsksTheHomeThenTheDeputyThenOthers(t *testing.T) {
	t.Parallel()
	out, err := pythonWith(t, "types").command(t.Context(), "-c", waysInPython).CombinedOutput()
	const want = "cbad bad ad cabd dabc  abcd abcd abcd abcd True True True False False True"
	if got := strings.TrimSpace(string(out)); err != nil || got != want {
		t.Errorf("%v: %s, want %s", err, got, want)
	}
}
