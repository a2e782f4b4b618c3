package policy

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// differs says where the scanner's tree is not the one of yaml/v3, empty when they are the same.
func (s *scanner) differs(n, want *yaml.Node) string {
	list, later := s.lists[n]
	if n.Kind != want.Kind || n.Tag != want.Tag || n.Value != want.Value || n.Style != want.Style ||
		n.Line != want.Line || n.Column != want.Column || len(n.Content)+list.count != len(want.Content) {
		return fmt.Sprintf("%d:%d: %+v is %+v", want.Line, want.Column, want, n)
	}
	i, found := 0, ""
	compare := func(e *yaml.Node) bool {
		found = s.differs(e, want.Content[i])
		i++
		return found == ""
	}
	for _, e := range n.Content {
		if !compare(e) {
			return found
		}
	}
	if later {
		s.each(list, list.count, compare)
	}
	return found
}

// byLibrary returns the tree of a text's only document as yaml/v3 reads it, nil when the text is no policy.
func byLibrary(text string) *yaml.Node {
	var document, next yaml.Node
	d := yaml.NewDecoder(strings.NewReader(text))
	if d.Decode(&document) != nil || !errors.Is(d.Decode(&next), io.EOF) || !(&reader{}).plain(document.Content[0], 0) {
		return nil
	}
	return document.Content[0]
}

// scansAsLibrary reports whether the text is scanned, and fails the test when it is and the tree is another.
func scansAsLibrary(t *testing.T, text string) bool {
	t.Helper()
	var s scanner
	root := s.scan(text)
	if root == nil {
		return false
	}
	want := byLibrary(text)
	if want == nil {
		t.Fatalf("%q is scanned, and the library has no tree of it", text)
	}
	if d := s.differs(root, want); d != "" {
		t.Fatalf("%q: %s", text, d)
	}
	return true
}

// simpleTexts are in the part of YAML that the scanner reads.
func simpleTexts(t testing.TB) []string {
	t.Helper()
	all := []string{
		"a: 1", "---\na: b\n", "# c\n\n  a: b # c\n  # d\n\n", "a:\n- b\n- c\nd: e\n", "a:\n  - b: c\n    d: e\n  -   - f\n      - g\n  -\n    h: i\n",
		"a: [b, 'c d', \"e: f\", {g: h, \"i\":j}, [], {}, ]\nk: {}\n", "a: {\n  b: c, # d\n  e:\n    f,\n}\n", "a:\n  b:\n    c: d\n  e: f\ng: h\n",
		"domains:\n  x:\n    limits:\n    - {name: a}\n    - name: b # c\n      key: [d]\n\n    - e\n    order: [f]\n    prices:\n      - per: {g: 1}\n  y: {limits: [h]}\n",
		"a: 60/min\nb: 12\nc: 012\nd: 1.5\ne: 2026-01-02\nf: true\ng: ~\nh: null\ni: yes\nj: .inf\nk: 0x1f\nl: 1_000\nm: +1\nn: 99999999999999999999\no: 5*\np: 12:30:45\n",
		"ä: b # é\nc: {ö: [ü, x]}\nd: \"€\"\n", "a: b#c\nd: e:f\ng: h ? i\nj: k, l] m}\n", "a: !b\nc: !D-e_1.* # f\ng: [!h , !i ]\n", "a : b\n'c' : d\n\"e\": f\n",
		string(Demo()), tenThousandRules()[:4000],
	}
	text, err := os.ReadFile("testdata/envoy/gateway.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return append(all, string(text))
}

func TestScannerMakesTheTreeOfTheLibrary(t *testing.T) {
	t.Parallel()
	for _, text := range simpleTexts(t) {
		if !scansAsLibrary(t, text) {
			t.Errorf("%q is odd", text)
		}
	}
}

// TestScannerLeavesWhatIsRareToTheLibrary has texts that YAML allows and those that it does not.
func TestScannerLeavesWhatIsRareToTheLibrary(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"", "a", "[a]", "- a\n", "a:\n", "a: b\n---\nc: d\n", "a: b\n...\n", "%YAML 1.1\n---\na: b\n", "a: &b c\n", "a: *b\n", "a: !b c\n", "a: !b\n  c\n", "a: !b\n- c\n", "!a : b\n", "a: !!str\n", "a: !\n", "a: [!b]\n", "a: !<b>\n", "a: !b!c\n", "a: |\n  b\n", "a: >\n  b\n",
		"a: b\n  c\n", "a: \"b\n  c\"\n", "a: \"b\\n\"\n", "a: 'b''c'\n", "a:\tb\n", "a: b\r\n", "a: [b\n", "a: {b}\n", "a: {b: }\n", "a: [b: c]\n", "a: [b,, c]\n", "a: [,]\n",
		"a: [b]c\n", "a: 'b'c\n", "a: [b]#c\n", "a: b: c\n", "a: - b\n", "a: b\n c: d\n", "  a: b\nc: d\n", "a:\n  b: c\n d: e\n", "a:\n  - b\n  c: d\n", "a:\n  - b\n - c\n",
		"? a\n: b\n", "<<: {a: b}\n", "{a: b}: c\n", "a: {[b]: c}\n", "a: {b\n: c}\n", "a: @b\n", "a: `b`\n", "a: -1\n", "a: \u0085b\n", "a: \u2028b\n", "\ufeffa: b\n", "a: \x7f\n", "a: \xff\n",
		strings.Repeat("a", 2000) + ": b\n", "a: " + strings.Repeat("[", 40) + strings.Repeat("]", 40) + "\n",
	} {
		if scansAsLibrary(t, text) {
			t.Errorf("%q is not odd", text)
		}
	}
}

// TestParseDoesNotDependOnWhoReads parses documents as they are and with a tail that only the library reads.
func TestParseDoesNotDependOnWhoReads(t *testing.T) {
	t.Parallel()
	texts := append(simpleTexts(t), aroundLimit("{name: a, key: [org], algorithm: token_bucket, rate: 0/s}"), around("limits:\n      - {name: a}\n      - {name: a}\n"),
		around("limits:\n"+strings.Repeat("      - 5\n", limitsMax+1)), around("prices:\n"+strings.Repeat("    - {per: {requests: 1}}\n", pricesMax+1)))
	for _, text := range texts {
		p, err := Parse("f", []byte(text))
		q, again := Parse("f", []byte(text+"\n...\n"))
		if fmt.Sprint(err) != fmt.Sprint(again) {
			t.Errorf("%.300q:\n got %v\nwant %v", text, err, again)
		}
		if err == nil && again == nil && len(Diff(q, p)) > 0 {
			t.Errorf("%.300q: %v", text, Diff(q, p))
		}
	}
}

// TestParseMakesLittleGarbage bounds what the collector has to do after an apply, beside the node's decisions.
func TestParseMakesLittleGarbage(t *testing.T) {
	text := manyRules("60/min")
	allocs := testing.AllocsPerRun(1, func() {
		if _, err := Parse("f", text); err != nil {
			t.Fatal(err)
		}
	})
	if allocs > 2*limitsMax {
		t.Errorf("%v allocations for %d rules", allocs, limitsMax)
	}
}

func FuzzScan(f *testing.F) {
	for _, text := range simpleTexts(f) {
		f.Add(text)
	}
	for _, name := range []string{"match", "domains", "overrides"} {
		text, _ := os.ReadFile("testdata/" + name + ".txt")
		f.Add(string(text))
	}
	f.Fuzz(func(t *testing.T, text string) { scansAsLibrary(t, text) })
}

// FuzzScanWords makes texts of the words of YAML, which meet more of its corners than changed bytes do.
func FuzzScanWords(f *testing.F) {
	words := []string{
		"a", "b: c", "domains:", "limits:", "x:", "\n", "\n", "\n  ", "\n    ", "\n      ", " ", "- ", "-", "[", "]", "{", "}", ", ", ",", ": ", ":", "#", " # d", "'e'", "\"f\"", "'", "\"",
		"1", "60/min", "true", "~", "é", "?", "? ", "!g", "&h", "*h", "|", ">", "---\n", "...\n", "\t", "\\", ".", "$", "(i)", "<<", "@",
	}
	for _, text := range simpleTexts(f) {
		var seed []byte
		for text != "" {
			i := slices.IndexFunc(words, func(w string) bool { return strings.HasPrefix(text, w) })
			if i < 0 {
				text = text[1:]
				continue
			}
			seed, text = append(seed, byte(i)), text[len(words[i]):]
		}
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, seed []byte) {
		var text strings.Builder
		for _, b := range seed {
			text.WriteString(words[int(b)%len(words)])
		}
		scansAsLibrary(t, text.String())
	})
}
