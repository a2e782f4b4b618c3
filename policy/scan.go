package policy

import (
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

const (
	scanDepthMax = depthMax - 2 // what nests deeper is for yaml/v3 to refuse
	scanKeyMax   = 256          // bytes of a key; YAML itself allows 1024
)

// scanner reads the part of YAML that nearly every policy is written in: block and flow collections, plain and quoted
// scalars of one line without escapes, comments. Of such a text it makes the very tree that yaml/v3 makes, but in a tenth
// of the time and with hardly any garbage, which a collector would have to clear away beside the node's decisions.
// Anything else, and whatever might be a mistake, is odd: yaml/v3 has to read that text.
type scanner struct {
	text  string
	at    int  // the offset of what comes next
	line  int  // its line, from 1
	begin int  // the offset at which that line begins
	ascii bool // a byte is a column
	odd   bool
	depth int
	nodes []*yaml.Node // of the tree first, of which used are; the others are free
	used  int
	lists map[*yaml.Node]rules
}

// rules is a list of rules in the text. It is only counted at first: its nodes would be most of the tree, so each rule
// is read once more when its turn comes, into the nodes of the one before.
type rules struct {
	at, line, begin int // of the first
	column          int
	count           int
}

// level is where in a policy a node is, as far as it leads to lists of rules.
type level uint8

const (
	elsewhere level = iota
	documentLevel
	domainsLevel
	domainLevel
	rulesLevel
)

// below returns the level of what a mapping has under key.
func (l level) below(key string) level {
	switch {
	case l == documentLevel && key == "domains":
		return domainsLevel
	case l == domainsLevel:
		return domainLevel
	case l == domainLevel && (key == "limits" || key == "prices"):
		return rulesLevel
	}
	return elsewhere
}

// scan returns the tree of a text, in which lists of rules are empty: they are in lists. It is nil for a text that is odd.
func (s *scanner) scan(text string) *yaml.Node {
	ascii, simple := simpleText(text)
	if !simple {
		return nil
	}
	*s = scanner{text: text, line: 1, ascii: ascii, lists: map[*yaml.Node]rules{}}
	if rest, marked := strings.CutPrefix(text, "---\n"); marked {
		s.at, s.begin, s.line = len(text)-len(rest), len(text)-len(rest), 2
	}
	s.blank()
	root := s.block(-1, documentLevel)
	if s.odd || s.at < len(text) || root.Kind != yaml.MappingNode {
		return nil
	}
	return root
}

// simpleText reports whether the text has no character but line feeds that YAML gives a meaning of its own outside of
// its syntax (other breaks, tabs, marks) or does not allow, and whether all are ASCII.
func simpleText(text string) (ascii, simple bool) {
	ascii = true
	for i := 0; i < len(text); i++ {
		if c := text[i]; c >= ' ' && c < 0x7f || c == '\n' {
			continue
		} else if c < utf8.RuneSelf {
			return ascii, false
		}
		ascii = false
		c, size := utf8.DecodeRuneInString(text[i:])
		if c < 0xa0 || c == '\u2028' || c == '\u2029' || c == '\ufeff' || c == 0xfffe || c == 0xffff || size == 1 {
			return ascii, false
		}
		i += size - 1
	}
	return ascii, true
}

// fail ends the scan: what comes next is odd.
func (s *scanner) fail() { s.odd, s.at = true, len(s.text) }

// next returns the byte that comes next, 0 at the end.
func (s *scanner) next() byte {
	if s.at < len(s.text) {
		return s.text[s.at]
	}
	return 0
}

// gap reports whether the offset is that of a space, or the line ends there.
func (s *scanner) gap(at int) bool {
	return at >= len(s.text) || s.text[at] == ' ' || s.text[at] == '\n'
}

// column returns how far from the left the next byte is, -1 at the end.
func (s *scanner) column() int {
	if s.at == len(s.text) {
		return -1
	}
	return s.at - s.begin
}

// blank skips what means nothing: spaces, line feeds and comments.
func (s *scanner) blank() {
	for s.at < len(s.text) {
		switch s.text[s.at] {
		case ' ':
			s.at++
		case '\n':
			s.at++
			s.line, s.begin = s.line+1, s.at
		case '#':
			if s.at > s.begin && s.text[s.at-1] != ' ' {
				s.fail()
			} else if n := strings.IndexByte(s.text[s.at:], '\n'); n >= 0 {
				s.at += n
			} else {
				s.at = len(s.text)
			}
		default:
			if rest := s.text[s.at:]; s.at == s.begin && (strings.HasPrefix(rest, "---") || strings.HasPrefix(rest, "...")) {
				s.fail() // the mark of another document
			}
			return
		}
	}
}

// lineEnd skips to the next line that means something; nothing else may be left on this one.
func (s *scanner) lineEnd() {
	line := s.line
	if s.blank(); s.line == line && s.at < len(s.text) {
		s.fail()
	}
}

// node returns a node that begins here.
func (s *scanner) node(kind yaml.Kind, tag string, style yaml.Style) *yaml.Node {
	if s.used == len(s.nodes) {
		s.nodes = append(s.nodes, new(yaml.Node))
	}
	n := s.nodes[s.used]
	s.used++
	column := s.at - s.begin
	if !s.ascii {
		column = utf8.RuneCountInString(s.text[s.begin:s.at])
	}
	*n = yaml.Node{Kind: kind, Tag: tag, Style: style, Content: n.Content[:0], Line: s.line, Column: column + 1}
	return n
}

// dash reports whether an element of a block sequence comes next.
func (s *scanner) dash() bool { return s.next() == '-' && s.gap(s.at+1) }

// colon skips the colon after a key and reports whether there was one.
func (s *scanner) colon(key *yaml.Node, flow bool) bool {
	for s.next() == ' ' {
		s.at++
	}
	if s.next() != ':' || !flow && !s.gap(s.at+1) || key.Style == yaml.TaggedStyle || len(key.Value) > scanKeyMax {
		return false
	}
	s.at++
	return true
}

// block reads a node that stands right of column left, to the next line that is no part of it. Where that line is no part
// of what surrounds it either, nothing reads it, and the scan does not come to the end of the text.
func (s *scanner) block(left int, l level) *yaml.Node {
	column := s.column()
	if s.depth++; column <= left || s.depth > scanDepthMax {
		s.fail()
	}
	defer func() { s.depth-- }()
	if s.dash() {
		return s.sequence(column, l)
	}
	n := s.value(false)
	if n.Kind == yaml.ScalarNode && s.colon(n, false) {
		return s.mapping(column, n, l)
	}
	s.lineEnd()
	return n
}

// mapping reads a block mapping whose first key is read.
func (s *scanner) mapping(column int, key *yaml.Node, l level) *yaml.Node {
	n := s.node(yaml.MappingNode, "!!map", 0)
	n.Line, n.Column = key.Line, key.Column
	for {
		n.Content = append(n.Content, key, s.under(column, l.below(key.Value)))
		if s.column() != column {
			break
		}
		if key = s.scalar(false); !s.colon(key, false) {
			s.fail()
			break
		}
	}
	return n
}

// under reads what a block mapping at a column has behind a colon.
func (s *scanner) under(column int, l level) *yaml.Node {
	line := s.line
	s.blank()
	switch {
	case s.line == line:
		n := s.value(false)
		s.lineEnd()
		return n
	case s.column() == column && s.dash():
		return s.sequence(column, l)
	}
	return s.block(column, l)
}

// sequence reads a block sequence.
func (s *scanner) sequence(column int, l level) *yaml.Node {
	n := s.node(yaml.SequenceNode, "!!seq", 0)
	list := rules{at: s.at, line: s.line, begin: s.begin, column: column}
	for free := s.used; s.column() == column && s.dash(); list.count++ {
		if e := s.element(column); l != rulesLevel {
			n.Content = append(n.Content, e)
		} else {
			s.used = free
			makeWay(list.count)
		}
	}
	if l == rulesLevel {
		s.lists[n] = list
	}
	return n
}

func (s *scanner) element(column int) *yaml.Node {
	s.at++
	s.blank()
	return s.block(column, elsewhere)
}

// each reads the rules of a list once more, up to most, and calls f with the node of each, which is gone after.
func (s *scanner) each(list rules, most int, f func(*yaml.Node) bool) {
	s.at, s.line, s.begin = list.at, list.line, list.begin
	for i, free := 0, s.used; i < min(list.count, most); i++ {
		if s.used = free; !f(s.element(list.column)) {
			return
		}
		makeWay(i)
	}
}

// value reads a scalar or a flow collection.
func (s *scanner) value(flow bool) *yaml.Node {
	switch s.next() {
	case '[':
		return s.collection(yaml.SequenceNode, "!!seq", ']')
	case '{':
		return s.collection(yaml.MappingNode, "!!map", '}')
	}
	return s.scalar(flow)
}

// collection reads a flow sequence or a flow mapping.
func (s *scanner) collection(kind yaml.Kind, tag string, end byte) *yaml.Node {
	n := s.node(kind, tag, yaml.FlowStyle)
	if s.depth++; s.depth > scanDepthMax {
		s.fail()
		return n
	}
	for s.at++; ; s.at++ {
		if s.blank(); s.next() == end {
			break
		}
		if kind == yaml.MappingNode {
			key := s.scalar(true)
			if n.Content = append(n.Content, key); !s.colon(key, true) {
				s.fail()
			}
			s.blank()
		}
		n.Content = append(n.Content, s.value(true))
		if s.blank(); s.next() != ',' {
			break
		}
	}
	if s.next() != end {
		s.fail()
		return n
	}
	s.at++
	s.depth--
	return n
}
