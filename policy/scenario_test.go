package policy

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/weir-cluster/weir/ledger"
)

// TestScenarios runs testdata/*.txt: a policy, a line ----, steps at times, a line ----, what each step answers.
func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) < 8 {
		t.Fatalf("%d scenarios, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			parts := strings.Split(string(text), "\n----\n")
			if len(parts) != 3 {
				t.Fatalf("%d parts, expected policy, steps, answers", len(parts))
			}
			s := &story{rig: newRig(t, parts[0])}
			want := lines(parts[2])
			var got []string
			for _, step := range lines(parts[1]) {
				line := s.step(t, step)
				for n, id := range s.reservations {
					line = strings.ReplaceAll(line, id, fmt.Sprint("#", n+1))
				}
				got = append(got, line)
			}
			for i := range max(len(got), len(want)) {
				if i >= len(got) || i >= len(want) || got[i] != want[i] {
					t.Fatalf("step %d differs; all answers:\n%s", i+1, strings.Join(got, "\n"))
				}
			}
		})
	}
}

func lines(text string) (all []string) {
	for line := range strings.SplitSeq(text, "\n") {
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			all = append(all, line)
		}
	}
	return all
}

// story is a rig and the reservations made in it, numbered from 1.
type story struct {
	*rig
	reservations []string
	grants       int
}

// step runs `TIME VERB WORD...`; a=b is an attribute, a:n an amount, other words are modes.
func (s *story) step(t *testing.T, line string) string {
	t.Helper()
	words := strings.Fields(line)
	after, err := time.ParseDuration(words[0])
	if err != nil || len(words) < 3 {
		t.Fatalf("step %q: %v", line, err)
	}
	s.now = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).Add(after)
	verb, subject, words := words[1], words[2], words[2:]
	switch verb {
	case "open":
		o := ledger.OpenAccount{Key: line, Account: subject, UseCredits: len(words) < 2 || words[1] != "unwilling"}
		if len(words) == 3 && words[1] == "overdraft" {
			o.Overdraft, _ = ledger.ParseCredits(words[2])
		}
		_, err := s.ledger.Open(t.Context(), o)
		return answer("opened", err)
	case "grant":
		s.grants++
		kind, _ := ledger.ParseKind(words[1])
		amount, _ := ledger.ParseCredits(words[2])
		_, err := s.ledger.Grant(t.Context(), ledger.Grant{Key: fmt.Sprint("g", s.grants), Account: subject, Kind: kind, Amount: amount})
		return answer("granted g"+strconv.Itoa(s.grants), err)
	case "balance":
		return s.balance(t, subject).String()
	case "settle":
		return s.settle(t, subject, words[1:])
	case "fallback":
		nodes, _ := strconv.Atoi(subject)
		d, err := s.f.Check(t.Context(), request(words[1:]), nodes)
		return answer(told(d), err)
	}
	r := request(words)
	d, err := s.w.Check(t.Context(), r)
	if d.Reservation != "" {
		s.reservations = append(s.reservations, d.Reservation)
	}
	return answer(told(d), err)
}

func (s *story) settle(t *testing.T, number string, words []string) string {
	t.Helper()
	n, err := strconv.Atoi(number)
	if err != nil || n > len(s.reservations) {
		t.Fatalf("no reservation %s", number)
	}
	settlement := Settlement{Reservation: s.reservations[n-1]}
	for _, w := range words {
		if extend, ok := strings.CutPrefix(w, "extend:"); ok {
			settlement.Extend, _ = time.ParseDuration(extend)
		} else if w == "final" {
			settlement.Final = true
		} else {
			settlement.Actual = append(settlement.Actual, request([]string{w}).Cost...)
		}
	}
	a, err := s.w.Settle(t.Context(), settlement)
	line := "charged" + sources(a.Sources)
	if a.Forgiven > 0 {
		line += " forgiven " + a.Forgiven.String()
	}
	if a.Final {
		line += " ended"
	} else {
		line += " open for " + a.Expires.String()
	}
	return answer(line, err)
}

func request(words []string) (r Request) {
	r.Domain = "llm"
	for _, w := range words {
		if name, value, ok := strings.Cut(w, "="); ok && name == "key" {
			r.IdempotencyKey = value
		} else if ok {
			r.Attributes = append(r.Attributes, Attribute{name, value})
		} else if name, amount, ok := strings.Cut(w, ":"); ok {
			n, _ := strconv.ParseInt(amount, 10, 64)
			r.Cost = append(r.Cost, Cost{name, n})
		} else {
			r.Mode, _ = ParseMode(strings.ToUpper(w))
		}
	}
	return r
}

func answer(line string, err error) string {
	if err != nil {
		return "error: " + err.Error()
	}
	return line
}

// told writes a decision as one line: verdict, reason, who refused, sources, remedy, wait, message, what is left.
func told(d Decision) string {
	line := d.Verdict.String() + " " + d.Reason.String() + sources(d.Sources)
	if d.Verdict == Deny {
		line += " " + strconv.Itoa(d.Status())
		if d.Refusing != "" {
			line += " by " + d.Refusing
		}
		line += " remedy " + d.Remedy.String()
		if d.RetryAfter > 0 {
			line += " retry " + d.RetryAfter.String()
		}
		line += ` "` + d.Message + `"`
	}
	for _, l := range d.Limits {
		line += fmt.Sprintf(" [%s %d]", l.Name, l.Remaining)
	}
	return line
}

func sources(all []Draw) (text string) {
	for _, s := range all {
		text += fmt.Sprintf(" %s %s:%d", s.Source, s.Meter, s.Amount)
		if s.Source != FromLimit {
			text += fmt.Sprintf(" (%s of %s)", s.Credits, s.Grant)
		}
	}
	return text
}
