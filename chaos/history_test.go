package chaos

import (
	"bytes"
	"reflect"
	"strings"
	"testing"
	"time"
)

// TestHistoryIsReadAsItWasWritten writes a whole history and reads it back.
func TestHistoryIsReadAsItWasWritten(t *testing.T) {
	t.Parallel()
	h := newBank(3, 300, "").history
	h.Ops = append(h.Ops, newMill(3, "").history.Ops...)
	h.Faults = []Fault{{ID: "f1", Kind: "clock", Nodes: []string{"n1"}, From: 1, Until: -1, Proof: "readings", After: 2, Jump: time.Second}}
	h.Overdrafts = []Overdraft{{"a", 5}}
	h.Ops[0].Intended = 1
	var text bytes.Buffer
	if err := h.Write(&text); err != nil {
		t.Fatal(err)
	}
	again, err := ReadHistory(&text)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(h, again) {
		t.Errorf("%d, %d, %d, %d of a history became %d, %d, %d, %d", len(h.Ops), len(h.Events), len(h.Faults), len(h.Overdrafts),
			len(again.Ops), len(again.Events), len(again.Faults), len(again.Overdrafts))
	}
	if _, err := ReadHistory(strings.NewReader("{\"o\":{}}\nnonsense")); err == nil {
		t.Error("nonsense was read")
	}
}

// TestReportTellsVerdictTableAndExcerpt writes the report of a refuted run.
func TestReportTellsVerdictTableAndExcerpt(t *testing.T) {
	t.Parallel()
	results := Judge(newBank(3, 600, "double debit").history, nil)
	var text strings.Builder
	if err := WriteReport(&text, results); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"verdict: refuted", "L3   exactly once", "L6   durable", "asks n", "debit of", "M1   over-admission"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("the report lacks %q:\n%s", want, text.String())
		}
	}
	for _, r := range results {
		if titles[r.Invariant] == "" {
			t.Errorf("%s has no title", r.Invariant)
		}
	}
	if len(results) != len(titles) {
		t.Errorf("%d results, %d titles", len(results), len(titles))
	}
}

// TestVerdictIsNeverBetterThanTheWorst sums up results.
func TestVerdictIsNeverBetterThanTheWorst(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		of   []Status
		want Status
	}{
		{nil, Inconclusive},
		{[]Status{Held, Held}, Held},
		{[]Status{Held, Inconclusive}, Inconclusive},
		{[]Status{Inconclusive, Refuted, Held}, Refuted},
	} {
		var all []Result
		for _, s := range row.of {
			all = append(all, Result{Status: s})
		}
		if got := Verdict(all); got != row.want {
			t.Errorf("%v: %s, want %s", row.of, got, row.want)
		}
	}
}
