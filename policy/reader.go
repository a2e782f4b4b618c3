package policy

import (
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

const (
	// TextMax is the longest policy document, in bytes.
	TextMax = 1 << 20
	// depthMax is how deep a document may nest; the language needs eight.
	depthMax     = 32
	mistakesKept = 1000
)

// reader takes a YAML tree apart strictly and notes every mistake with its place instead of stopping at the first.
type reader struct {
	file     string
	mistakes Mistakes
	scanner  scanner // of the text, unless it was odd

	// What the rules of a list have in turns, and what they keep.
	row        map[string]*yaml.Node
	rowPairs   []pair
	match      []condition
	want       []pattern
	names      []string
	conditions slab[condition]
	patterns   slab[pattern]
	bytes      slab[byte]
	zones      map[string]*time.Location
}

func (r *reader) wrongAt(line, column int, format string, args ...any) {
	if len(r.mistakes) < mistakesKept {
		r.mistakes = append(r.mistakes, Mistake{r.file, max(line, 1), max(column, 1), fmt.Sprintf(format, args...)})
	}
}

func (r *reader) wrong(n *yaml.Node, found, expected string) {
	r.wrongAt(n.Line, n.Column, "found %s, expected %s", found, expected)
}

// load returns the root of the only document in text, nil after a mistake.
func (r *reader) load(text string) *yaml.Node {
	if len(text) > TextMax {
		r.wrongAt(1, 1, "found a document of %d bytes, expected at most %d", len(text), TextMax)
		return nil
	}
	if !utf8.ValidString(text) {
		r.wrongAt(1, 1, "found bytes that are not UTF-8, expected UTF-8 text")
		return nil
	}
	if root := r.scanner.scan(text); root != nil {
		return root
	}
	d := yaml.NewDecoder(strings.NewReader(text))
	var document, next yaml.Node
	if err := d.Decode(&document); errors.Is(err, io.EOF) {
		r.wrongAt(1, 1, "found an empty document, expected `version` and `domains`")
		return nil
	} else if err != nil {
		r.syntax(err)
		return nil
	}
	if err := d.Decode(&next); err == nil {
		r.wrong(&next, "a second document", "one document")
	} else if !errors.Is(err, io.EOF) {
		r.syntax(err)
	}
	if len(document.Content) != 1 || !r.plain(document.Content[0], 0) {
		return nil
	}
	return document.Content[0]
}

// syntax notes an error of the YAML parser, which tells the line in its text and no column.
func (r *reader) syntax(err error) {
	message, line := strings.TrimPrefix(err.Error(), "yaml: "), 1
	if rest, ok := strings.CutPrefix(message, "line "); ok {
		if number, text, ok := strings.Cut(rest, ": "); ok {
			if n, err := strconv.Atoi(number); err == nil {
				line, message = n, text
			}
		}
	}
	if strings.Contains(message, "expected whitespace or line break") {
		message += ": a value that begins with ! needs quotes" // YAML reads it as a tag
	}
	r.wrongAt(line, 1, "found text that is not YAML (%s), expected one YAML document", message)
}

// plain reports whether the tree has nothing that makes one part of a document stand for another: what an operator
// reads is then what holds, and a short text cannot unfold into a huge one.
func (r *reader) plain(n *yaml.Node, depth int) bool {
	switch {
	case depth > depthMax:
		r.wrong(n, "more nesting", fmt.Sprintf("at most %d levels", depthMax))
		return false
	case n.Kind == yaml.AliasNode:
		r.wrong(n, "the alias `*"+short(n.Value)+"`", "the value itself (aliases are not part of the language)")
		return false
	case n.Anchor != "":
		r.wrong(n, "the anchor `&"+short(n.Anchor)+"`", "a plain value (anchors are not part of the language)")
		return false
	case n.Kind == yaml.ScalarNode && n.Tag == "!!merge":
		r.wrong(n, "a merge key", "the fields themselves (merge keys are not part of the language)")
		return false
	}
	ok := true
	for _, c := range n.Content {
		ok = r.plain(c, depth+1) && ok
	}
	return ok
}

// pair is a key of a mapping and its value.
type pair struct{ key, value *yaml.Node }

// pairs returns the pairs of a mapping in the order of the text, without those whose key came before.
func (r *reader) pairs(n *yaml.Node, expected string) []pair {
	if n.Kind != yaml.MappingNode {
		r.wrong(n, describe(n), expected)
		return nil
	}
	return r.pairsInto(make([]pair, 0, len(n.Content)/2), n)
}

func (r *reader) pairsInto(all []pair, n *yaml.Node) []pair {
	first := firstLines(n)
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		if k.Kind != yaml.ScalarNode {
			r.wrong(k, describe(k)+" as a name", "a word")
			continue
		}
		if line, dup := first(all, k); dup {
			r.wrong(k, fmt.Sprintf("`%s` again", short(k.Value)), fmt.Sprintf("it once (first on line %d)", line))
			continue
		}
		all = append(all, pair{k, v})
	}
	return all
}

// firstLines returns a function that tells the line of a key that is among the pairs already.
func firstLines(n *yaml.Node) func(all []pair, key *yaml.Node) (line int, dup bool) {
	const few = 32 // as many are compared faster than hashed
	if len(n.Content) <= few {
		return func(all []pair, key *yaml.Node) (int, bool) {
			for _, p := range all {
				if p.key.Value == key.Value {
					return p.key.Line, true
				}
			}
			return 0, false
		}
	}
	lines := make(map[string]int, len(n.Content)/2)
	return func(_ []pair, key *yaml.Node) (int, bool) {
		line, dup := lines[key.Value]
		if !dup {
			lines[key.Value] = key.Line
		}
		return line, dup
	}
}

// fields returns the values of a mapping with a closed set of names.
func (r *reader) fields(n *yaml.Node, what string, known ...string) map[string]*yaml.Node {
	return r.fieldsInto(make(map[string]*yaml.Node, len(known)), n, what, known)
}

// rowFields is fields for an element of a list of rules: the map is good until the next.
func (r *reader) rowFields(n *yaml.Node, what string, known ...string) map[string]*yaml.Node {
	if r.row == nil {
		r.row = make(map[string]*yaml.Node, len(known))
	}
	clear(r.row)
	return r.fieldsInto(r.row, n, what, known)
}

func (r *reader) fieldsInto(f map[string]*yaml.Node, n *yaml.Node, what string, known []string) map[string]*yaml.Node {
	if n.Kind != yaml.MappingNode {
		r.wrong(n, describe(n), what+" with "+strings.Join(known, ", "))
		return f
	}
	r.rowPairs = r.pairsInto(r.rowPairs[:0], n)
	for _, p := range r.rowPairs {
		if !slices.Contains(known, p.key.Value) {
			r.wrong(p.key, fmt.Sprintf("the unknown field `%s`", short(p.key.Value)),
				fmt.Sprintf("one of %s%s", strings.Join(known, ", "), didYouMean(p.key.Value, known)))
			continue
		}
		f[p.key.Value] = p.value
	}
	return f
}

// list returns the elements of a sequence of at most most.
func (r *reader) list(n *yaml.Node, what string, most int) []*yaml.Node {
	if n.Kind != yaml.SequenceNode {
		r.wrong(n, describe(n), what)
		return nil
	}
	if len(n.Content) > most {
		r.wrong(n, fmt.Sprintf("a list of %d", len(n.Content)), fmt.Sprintf("%s, at most %d", what, most))
		return n.Content[:most]
	}
	return n.Content
}

// rules returns how many elements a sequence of at most most has, and each in turn, which is gone when the next comes.
func (r *reader) rules(n *yaml.Node, what string, most int) (int, iter.Seq[*yaml.Node]) {
	later, ok := r.scanner.lists[n]
	if !ok {
		all := r.list(n, what, most)
		return len(all), slices.Values(all)
	}
	if later.count > most {
		r.wrong(n, fmt.Sprintf("a list of %d", later.count), fmt.Sprintf("%s, at most %d", what, most))
	}
	return min(later.count, most), func(yield func(*yaml.Node) bool) { r.scanner.each(later, most, yield) }
}

// written reports whether a node is a scalar that is not empty.
func written(n *yaml.Node) bool {
	return n.Kind == yaml.ScalarNode && n.Tag != "!!null" && n.Value != ""
}

// text returns the characters of a scalar that is not empty, as they stand.
func (r *reader) text(n *yaml.Node, expected string) (string, bool) {
	if !written(n) {
		r.wrong(n, describe(n), expected)
		return "", false
	}
	return n.Value, true
}

// choice returns a scalar that is one of words.
func (r *reader) choice(n *yaml.Node, words ...string) string {
	if written(n) && slices.Contains(words, n.Value) {
		return n.Value
	}
	expected := "one of " + strings.Join(words, ", ")
	if w, ok := r.text(n, expected); ok {
		r.wrong(n, describe(n), expected+didYouMean(w, words))
	}
	return ""
}

// whole returns a whole number within [least, most]; least after a mistake.
func (r *reader) whole(n *yaml.Node, least, most int64) int64 {
	if n.Kind == yaml.ScalarNode && n.Tag == "!!int" {
		v, err := strconv.ParseInt(strings.ReplaceAll(n.Value, "_", ""), 10, 64)
		if err == nil && v >= least && v <= most {
			return v
		}
	}
	r.wrong(n, describe(n), fmt.Sprintf("a whole number from %d to %d", least, most))
	return least
}

func (r *reader) truth(n *yaml.Node) bool {
	if n.Kind != yaml.ScalarNode || n.Tag != "!!bool" || (n.Value != "true" && n.Value != "false") {
		r.wrong(n, describe(n), "true or false")
		return false
	}
	return n.Value == "true"
}

// name returns a name of ours: lower case letters, digits, - and _.
func (r *reader) name(n *yaml.Node, what string) string {
	if written(n) && named(n.Value) {
		return n.Value
	}
	r.wrong(n, describe(n), fmt.Sprintf("the name of a %s: 1 to %d of a-z, 0-9, - and _", what, nameMax))
	return ""
}

func named(w string) bool {
	for i := range len(w) {
		if c := w[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' {
			return false
		}
	}
	return w != "" && len(w) <= nameMax
}

func describe(n *yaml.Node) string {
	switch {
	case n.Kind == yaml.MappingNode:
		return "a mapping"
	case n.Kind == yaml.SequenceNode:
		return "a list"
	case n.Tag == "!!null" || n.Value == "" && n.Style == 0:
		return "nothing"
	default:
		return "`" + short(n.Value) + "`"
	}
}

// short cuts what is quoted in a message.
func short(s string) string {
	const most = 48
	if len(s) <= most {
		return strings.ToValidUTF8(s, "?")
	}
	return strings.ToValidUTF8(s[:most], "") + "..."
}
