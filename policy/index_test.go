package policy

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// TestIndexFindsWhatTheWalkOverAllRulesFinds compares with the naive walk, over rules of every kind of condition.
func TestIndexFindsWhatTheWalkOverAllRulesFinds(t *testing.T) {
	t.Parallel()
	names := rapid.SampledFrom([]string{"user", "model", "org"})
	values := rapid.StringMatching(`[ab]{0,3}`)
	rapid.Check(t, func(t *rapid.T) {
		rules := make([][]condition, rapid.IntRange(0, 30).Draw(t, "rules"))
		for i := range rules {
			for range rapid.IntRange(0, 2).Draw(t, "conditions") {
				c := condition{attribute: names.Draw(t, "asks"), not: rapid.Bool().Draw(t, "not")}
				for range rapid.IntRange(1, 3).Draw(t, "patterns") {
					c.want = append(c.want, pattern{values.Draw(t, "want"), rapid.Bool().Draw(t, "prefix")})
				}
				rules[i] = append(rules[i], c)
			}
		}
		x := newIndex(len(rules), func(i int) []condition { return rules[i] })
		var attributes []Attribute
		for _, n := range []string{"user", "model", "org"} {
			if rapid.Bool().Draw(t, "has") {
				attributes = append(attributes, Attribute{n, values.Draw(t, "value")})
			}
		}
		found := x.candidates(nil, attributes)
		if !slices.IsSorted(found) || len(slices.Compact(slices.Clone(found))) != len(found) {
			t.Fatalf("candidates %v are not ascending, each once", found)
		}
		for i := range rules {
			if unmet(rules[i], attributes) == nil && !slices.Contains(found, int32(i)) {
				t.Fatalf("rule %d %v matches %v and is not among %v", i, rules[i], attributes, found)
			}
		}
	})
}

func TestIndexWalksOnlyWhatHangsOnTheRequest(t *testing.T) {
	t.Parallel()
	equal := func(attribute, value string) condition {
		return condition{attribute: attribute, want: []pattern{{text: value}}}
	}
	rules := [][]condition{{equal("tier", "free"), {attribute: "org", want: []pattern{{"x", false}}, not: true}}}
	for i := range 1000 {
		rules = append(rules, []condition{equal("tier", "free"), equal("user", fmt.Sprint("u", i))})
	}
	rules = append(rules, []condition{{attribute: "model", want: []pattern{{"gpt-", true}, {"o", true}}}}, nil)
	x := newIndex(len(rules), func(i int) []condition { return rules[i] })
	for _, c := range []struct {
		attributes []Attribute
		want       []int32
	}{
		{nil, []int32{1002}},
		{[]Attribute{{"tier", "free"}, {"user", "u7"}}, []int32{0, 8, 1002}},
		{[]Attribute{{"tier", "free"}, {"user", "nobody"}, {"model", "gpt-5"}}, []int32{0, 1001, 1002}},
		{[]Attribute{{"model", "gp"}}, []int32{1002}},
	} {
		if got := x.candidates(nil, c.attributes); !slices.Equal(got, c.want) {
			t.Errorf("%v: %v, want %v", c.attributes, got, c.want)
		}
	}
}
