package policy

import (
	"strings"

	"go.yaml.in/yaml/v3"
)

// scalar reads a scalar of one line.
func (s *scanner) scalar(flow bool) *yaml.Node {
	n := s.node(yaml.ScalarNode, "!!str", 0)
	switch c := s.next(); {
	case c == '"':
		n.Style = yaml.DoubleQuotedStyle
		n.Value = s.quoted(`"\`)
	case c == '\'':
		n.Style = yaml.SingleQuotedStyle
		n.Value = s.quoted("'")
	case c == '!':
		n.Style, n.Tag = yaml.TaggedStyle, s.negated()
	case beginsPlain(c):
		n.Value = s.plain(flow)
		n.Tag = plainTag(n.Value)
	default:
		s.fail()
	}
	return n
}

// quoted returns what is between two quotes, without which the special characters have to be: the first is the quote.
func (s *scanner) quoted(special string) string {
	rest := s.text[s.at+1:]
	end := strings.IndexAny(rest, special+"\n")
	if end < 0 || rest[end] != special[0] || special == "'" && strings.HasPrefix(rest[end+1:], "'") {
		s.fail()
		return ""
	}
	s.at += 1 + end + 1
	return rest[:end]
}

// negated returns what the language reads as a negated value and YAML as a tag on nothing, such as !large or !gpt-*.
func (s *scanner) negated() string {
	rest := s.text[s.at:]
	end := 1
	for end < len(rest) && (named(strings.ToLower(rest[end:end+1])) || rest[end] == '*' || rest[end] == '.') {
		end++
	}
	if s.at += end; end == 1 || !s.gap(s.at) {
		s.fail()
	}
	return rest[:end]
}

// beginsPlain reports whether a plain scalar can begin with c; there are rarer ways.
func beginsPlain(c byte) bool {
	switch {
	case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c >= 0x80:
		return true
	}
	return strings.IndexByte("_./$+()^~;=", c) >= 0
}

// plain returns the plain scalar that begins here.
func (s *scanner) plain(flow bool) string {
	begin, end := s.at, s.at
	over := false
	for i := begin; i < len(s.text); i++ {
		switch c := s.text[i]; c {
		case ' ':
			continue
		case '\n':
			over = true
		case ':':
			over = s.gap(i + 1)
		case '#':
			over = s.text[i-1] == ' '
		case ',', '?', '[', ']', '{', '}':
			over = flow
		}
		if over {
			break
		}
		end = i + 1
	}
	s.at = end
	return s.text[begin:end]
}

// plainTag returns the tag that YAML gives a plain scalar. What cannot be anything but text is told here; numbers, dates and
// the words that stand for something are left to yaml/v3, which makes garbage of trying.
func plainTag(value string) string {
	c := value[0]
	number := c >= '0' && c <= '9' || c == '+' || c == '.'
	if !number && c != '~' && !strings.EqualFold(value, "true") && !strings.EqualFold(value, "false") && !strings.EqualFold(value, "null") {
		return "!!str"
	}
	digits := c != '0'
	for i := 0; number && i < len(value); i++ {
		switch c := value[i]; {
		case c == '/', c == '*', c == ',', c == '(', c == '@', c == '#', c == '%':
			return "!!str" // no number and no date has one
		case c < '0' || c > '9':
			digits = false
		}
	}
	if number && digits && len(value) < len("1000000000000000000") {
		return "!!int"
	}
	n := yaml.Node{Kind: yaml.ScalarNode, Value: value}
	return n.ShortTag()
}
