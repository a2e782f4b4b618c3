package policy

import (
	"strconv"
	"strings"
	"testing"
)

// limitsOf is a document with n limits that every request matches.
func limitsOf(n int) string {
	text := "version: 1\ndomains:\n  llm:\n    account: [user]\n    limits:\n"
	for i := range n {
		text += "      - {name: l" + strconv.Itoa(i) + ", key: [user], algorithm: token_bucket, rate: 500000000/s, burst: 1000000000}\n"
	}
	return text
}

// thousandUsers are requests of a thousand accounts.
func thousandUsers() []Request {
	all := make([]Request, 1000)
	for i := range all {
		all[i] = Request{Domain: "llm", Attributes: []Attribute{{"user", "user-" + strconv.Itoa(i)}, {"model", "large"}}}
	}
	return all
}

// BenchmarkCheck is the figure "waterfall with 3 matching limits, 1k keys, in process".
func BenchmarkCheck(b *testing.B) {
	for _, limits := range []int{1, 3} {
		g := newRig(b, limitsOf(limits))
		requests := thousandUsers()
		b.Run(strconv.Itoa(limits)+"-limits", func(b *testing.B) {
			var d Decision
			i := 0
			b.ReportAllocs()
			for b.Loop() {
				i++
				if decided, err := g.w.Try(&requests[i%len(requests)], &d); !decided || err != nil || d.Verdict != Allow {
					b.Fatal(d, decided, err)
				}
			}
		})
	}
}

func TestAllowedCheckDoesNotAllocate(t *testing.T) {
	g := newRig(t, limitsOf(3))
	requests := thousandUsers()
	var d Decision
	p := newPlan() // not of the pool, which the collector empties
	i := 0
	check := func() {
		i++
		p.reset()
		if decided, err := g.w.try(p, &requests[i%len(requests)], &d); !decided || err != nil || d.Verdict != Allow || len(d.Limits) != 3 {
			t.Fatal(d, decided, err)
		}
	}
	for range 2 * len(requests) { // the buckets are there, and the pages have grown
		check()
	}
	if allocs := testing.AllocsPerRun(2000, check); allocs > 0 {
		t.Errorf("%v allocations a check", allocs)
	}
}

// tenThousandRules is a document with 10,000 limits, each for one user of an organisation: all match on the tier, one on the user.
func tenThousandRules() string {
	var b strings.Builder
	b.WriteString("version: 1\ndomains:\n  llm:\n    account: [user]\n    limits:\n")
	for i := range 10_000 {
		u := strconv.Itoa(i)
		b.WriteString("    - {name: l" + u + ", match: {tier: free, user: u" + u + "}, key: [user], algorithm: token_bucket, rate: 9/h}\n")
	}
	return b.String()
}

// BenchmarkMatchManyRules is the figure "match against 10,000 rules".
func BenchmarkMatchManyRules(b *testing.B) {
	p, err := Parse("f", []byte(tenThousandRules()))
	if err != nil {
		b.Fatal(err)
	}
	d := p.domains["llm"]
	requests := make([][]Attribute, 1000)
	for i := range requests {
		requests[i] = []Attribute{{"user", "u" + strconv.Itoa(i*10)}, {"tier", "free"}, {"model", "large"}}
	}
	match := func(b *testing.B, candidates func([]int32, []Attribute) []int32) {
		var found []int32
		i, matched := 0, 0
		b.ReportAllocs()
		for b.Loop() {
			i++
			attributes := requests[i%len(requests)]
			found = candidates(found[:0], attributes)
			for _, j := range found {
				if unmet(d.limits[j].match, attributes) == nil {
					matched++
				}
			}
		}
		if matched != i {
			b.Fatalf("%d of %d requests matched", matched, i)
		}
	}
	b.Run("index", func(b *testing.B) { match(b, d.limitIndex.candidates) })
	b.Run("walk", func(b *testing.B) {
		match(b, func(found []int32, _ []Attribute) []int32 {
			for j := range d.limits {
				found = append(found, int32(j))
			}
			return found
		})
	})
}
