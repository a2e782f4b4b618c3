package policy

import (
	"fmt"
	"slices"
	"strings"

	"github.com/agnivade/levenshtein"
)

// MistakesMax is how many mistakes of a document are reported; the rest is only said to be there.
const MistakesMax = 20

// nearestMax bounds how many known names a misspelt one is compared with, because requests can ask for it.
const nearestMax = 128

// Mistake is one thing wrong with a policy document: where, what was found and what was expected. Line and Column
// count from 1; YAML that does not parse at all has column 1.
type Mistake struct {
	File         string
	Line, Column int
	Message      string
}

// Error returns file:line:column: message.
func (m Mistake) Error() string {
	return fmt.Sprintf("%s:%d:%d: %s", m.File, m.Line, m.Column, m.Message)
}

// Mistakes are all that is wrong with a document, in the order of the text. They are an ErrInvalid.
type Mistakes []Mistake

// Error returns one mistake a line.
func (m Mistakes) Error() string {
	lines := make([]string, len(m))
	for i := range m {
		lines[i] = m[i].Error()
	}
	return strings.Join(lines, "\n")
}

// Is makes errors.Is(m, ErrInvalid) true.
func (m Mistakes) Is(target error) bool { return target == ErrInvalid }

// sorted returns the mistakes in the order of the text, cut at MistakesMax.
func (m Mistakes) sorted() Mistakes {
	slices.SortStableFunc(m, func(a, b Mistake) int {
		if a.Line != b.Line {
			return a.Line - b.Line
		}
		return a.Column - b.Column
	})
	if len(m) > MistakesMax {
		last := m[MistakesMax-1]
		last.Message = fmt.Sprintf("found %d more mistakes from here on, expected at most %d to show", len(m)-MistakesMax+1, MistakesMax)
		m = append(m[:MistakesMax-1:MistakesMax-1], last)
	}
	return m
}

// didYouMean returns a clause that names the known name nearest to name, or nothing when none is near.
func didYouMean(name string, known []string) string {
	if len(name) > AttributeNameMax {
		return ""
	}
	best, away := nearest(name, known)
	if best == "" || away > 1+len(name)/3 {
		return ""
	}
	return fmt.Sprintf("; did you mean `%s`?", best)
}

// nearest returns the known name nearest to name, the first of several, and how many letters it is away. Of more than
// nearestMax known names it looks at the first.
func nearest(name string, known []string) (best string, away int) {
	for _, k := range known[:min(len(known), nearestMax)] {
		if d := len(k) - len(name); best != "" && (d >= away || -d >= away) {
			continue
		}
		if d := levenshtein.ComputeDistance(name, k); best == "" || d < away {
			best, away = k, d
		}
	}
	return best, away
}
