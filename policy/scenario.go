package policy

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/weir-cluster/weir/ledger"
	"github.com/weir-cluster/weir/limiter"
)

const (
	scenarioSteps      = 10_000
	scenarioTextMax    = 2 * TextMax
	scenarioDifferMax  = 20
	scenarioDelimiter  = "----"
	scenarioBeginsUnix = 1767225600 // 2026-01-01T00:00:00Z, a Thursday
)

// ErrScenario is wrapped by RunScenario when the policy decided otherwise than the scenario expects.
var ErrScenario = errors.New("the policy decides otherwise")

// RunScenario tries a policy on a story: a document, a line ----, steps at times, a line ----, and what each step is
// answered. docs/policy-tests.md has the format. The policy is decided by the code that nodes run, on buckets and a ledger
// in memory, under the story's clock; nothing outside is touched, and it ends: a story has at most 10,000 steps.
//
// Returns nil if every answer is as expected; an ErrScenario that shows, like a diff, the first twenty that are not; and
// for text that is no scenario, or a policy with mistakes, an ErrInvalid. name is what errors call the file.
func RunScenario(name string, text []byte) error {
	if len(text) > scenarioTextMax {
		return fmt.Errorf("%w scenario %s: %d bytes, at most %d are allowed", ErrInvalid, name, len(text), scenarioTextMax)
	}
	document, steps, answers, err := splitScenario(name, string(text))
	if err != nil {
		return err
	}
	s, err := newStory(name, document)
	if err != nil {
		return err
	}
	var got []string
	for _, step := range steps {
		answer, err := s.step(step.text)
		if err != nil {
			return Mistakes{{name, step.number, 1, err.Error()}}
		}
		got = append(got, s.numbered(answer))
	}
	return differ(name, steps, answers, got)
}

// scriptLine is a line of a scenario that says something.
type scriptLine struct {
	number int // in the file, from 1
	text   string
}

// splitScenario takes a scenario apart. Empty lines, and those that begin with #, say nothing.
func splitScenario(name, text string) (document string, steps, answers []scriptLine, err error) {
	part, number := 0, 0
	var b strings.Builder
	for line := range strings.Lines(text) {
		number++
		said := strings.TrimSpace(line)
		switch {
		case said == scenarioDelimiter && strings.HasPrefix(line, scenarioDelimiter):
			part++
		case part == 0:
			b.WriteString(line)
		case said == "" || said[0] == '#':
		case part == 1:
			steps = append(steps, scriptLine{number, said})
		default:
			answers = append(answers, scriptLine{number, said})
		}
	}
	const parts = "a policy, a line ----, steps, a line ----, answers"
	switch {
	case part != 2:
		err = Mistakes{{name, max(number, 1), 1, fmt.Sprintf("found %d lines ----, expected 2: %s", part, parts)}}
	case len(steps) == 0 || len(steps) > scenarioSteps:
		err = Mistakes{{name, 1, 1, fmt.Sprintf("found %d steps, expected 1 to %d", len(steps), scenarioSteps)}}
	}
	return b.String(), steps, answers, err
}

// differ returns what was answered otherwise than expected.
func differ(name string, steps, want []scriptLine, got []string) error {
	var b strings.Builder
	differing := 0
	for i := range max(len(want), len(got)) {
		if i < len(want) && i < len(got) && want[i].text == got[i] {
			continue
		}
		if differing++; differing > scenarioDifferMax {
			continue
		}
		step, line := scriptLine{}, 0
		if i < len(steps) {
			step = steps[i]
			line = step.number
		}
		if i < len(want) {
			line = want[i].number
		}
		fmt.Fprintf(&b, "\n%s:%d: %s", name, line, step.text)
		if i < len(want) {
			b.WriteString("\n  - " + want[i].text)
		}
		if i < len(got) {
			b.WriteString("\n  + " + got[i])
		}
	}
	if differing == 0 {
		return nil
	}
	if differing > scenarioDifferMax {
		fmt.Fprintf(&b, "\nand %d more", differing-scenarioDifferMax)
	}
	return fmt.Errorf("%w in %d of %d answers (- expected, + decided):%s", ErrScenario, differing, len(got), b.String())
}

// story is one home under a clock that its steps set.
type story struct {
	now       time.Time
	domain    string // that steps mean if they name none: the only one
	book      *Book
	agree     Proposer
	ledger    *ledger.Ledger
	waterfall *Waterfall
	fallback  *Fallback

	reservations []string // in the order made; in answers #1 is the first
	grants       int
}

// alone agrees with itself: it is a log that applies each command at once.
type alone func(command []byte) []byte

func (a alone) Propose(_ context.Context, command []byte) ([]byte, error) { return a(command), nil }

func newStory(name, document string) (*story, error) {
	s := &story{now: time.Unix(scenarioBeginsUnix, 0).UTC(), book: NewBook(nil)}
	clock := func() time.Time { return s.now }
	s.agree = alone(func(command []byte) []byte {
		defer s.book.compile()
		return s.book.Apply(s.now, command)
	})
	if _, err := s.book.Put(context.Background(), s.agree, name, []byte(document), NoVersion, ""); err != nil {
		return nil, err
	}
	if names := s.book.Current().Domains(); len(names) == 1 {
		s.domain = names[0]
	}
	machine, index := ledger.NewMachine(ledger.DefaultConfig()), uint64(0)
	s.ledger = ledger.New(alone(func(command []byte) []byte {
		index++
		reply, err := machine.Apply(ledger.Stamp{Term: 1, Index: index, Wall: s.now}, command)
		if err != nil {
			panic(err)
		}
		return reply
	}))
	hasher := func() limiter.Hasher { return limiter.Hasher{} }
	s.waterfall = NewWaterfall(WaterfallConfig{
		Policy: s.book.Current, Limits: limiter.NewStore(limiter.DefaultConfig()), Hasher: hasher, Purse: s.ledger, Now: clock,
	})
	s.fallback = NewFallback(FallbackConfig{
		Policy: s.book.Current, Limits: limiter.NewStore(limiter.DefaultConfig()), Hasher: hasher, Now: clock,
	})
	return s, nil
}

// numbered writes #n for the n-th reservation, as its id is another in each run.
func (s *story) numbered(answer string) string {
	for i, id := range s.reservations {
		answer = strings.ReplaceAll(answer, id, fmt.Sprintf("#%d", i+1))
	}
	return answer
}
