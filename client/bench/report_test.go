package bench

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"
)

func whole() Report {
	r := newReport("v1", "everything", time.Date(2026, 11, 23, 10, 0, 0, 5, time.UTC))
	late := Quantiles{Count: 3, P50: 1, P99: 2, P999: 3, Max: 4}
	r.Steps = []Step{{
		Name: "50 %", On: "weir", Loop: Open, Callers: 4, Rate: 100, Seconds: 5, Decisions: 500, PerSecond: 100, Spread: 0.1, TailSpread: 0.2,
		Latency: Quantiles{Count: 500, P50: 100, P99: 200, P999: 300, Max: 400}, Late: &late, Cost: &Cost{1.5, 10, 2000, 40e6, 2.5},
		Verdicts: map[string]int64{"ALLOW": 499}, Reasons: map[string]int64{"OK": 499}, Fallbacks: 1, Errors: map[string]int64{"Unavailable": 1},
		AtFloor: &Against{0.8, 1.2, 1.4},
	}}
	r.Figures = []Figure{atLeast("unary", "x", 0.8, []float64{0.7, 0.9, 0.8}, "note")}
	r.Audit = &Audit{50, 100, 3, 900, 250, 250, 248, 0, 0, 1, 2}
	r.Partial = "it was interrupted"
	return r
}

func TestReportReadsBackAsItWasWritten(t *testing.T) {
	t.Parallel()
	want := whole()
	text, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	got, err := ParseReport(text)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v; got  %+v\nwant %+v", err, got, want)
	}
	for _, name := range []string{`"format":1`, `"decisions_per_second":100`, `"p999_us":300`, `"cpu_seconds_per_million":1.5`, `"held":true`, `"over":0`, `"at_floor"`} {
		if !strings.Contains(string(text), name) {
			t.Errorf("the JSON has no %s:\n%s", name, text)
		}
	}
	if _, err := ParseReport([]byte(`{"format":2}`)); err == nil || !strings.Contains(err.Error(), "format 2") {
		t.Errorf("a format of the future: %v", err)
	}
	if _, err := ParseReport([]byte(`nothing`)); err == nil {
		t.Error("what is no JSON is read")
	}
}

func TestFiguresHoldAtTheirBar(t *testing.T) {
	t.Parallel()
	rows := []struct {
		f    Figure
		held bool
	}{
		{atLeast("a", "x", 0.8, []float64{0.1, 0.8, 0.9}, ""), true},
		{atLeast("a", "x", 0.8, []float64{0.7, 0.79, 0.9}, ""), false},
		{atMost("a", "x", 2, []float64{2}, ""), true},
		{atMost("a", "x", 2, []float64{2.1}, ""), false},
		{atMost("a", "x", 2, nil, "not measured"), false},
	}
	for _, r := range rows {
		if r.f.Held != r.held {
			t.Errorf("%+v: want held %t", r.f, r.held)
		}
	}
}

func TestMediansAndSpreads(t *testing.T) {
	t.Parallel()
	rows := []struct {
		values         []float64
		median, spread float64
	}{
		{nil, 0, 0},
		{[]float64{4}, 4, 0},
		{[]float64{3, 1}, 2, 0.25},
		{[]float64{5, 1, 2, 3, 4}, 3, 1. / 3},
		{[]float64{0, 0}, 0, 0},
	}
	for _, r := range rows {
		if m, s := median(r.values), spread(r.values); m != r.median || s != r.spread {
			t.Errorf("%v: median %v, spread %v, want %v, %v", r.values, m, s, r.median, r.spread)
		}
	}
	if got := fmt.Sprint(ratios([]float64{1, 2, 3}, []float64{2, 0, 1})); got != "[0.5 3]" {
		t.Errorf("ratios %s", got)
	}
}

func TestCompareTellsAChangeFromNoise(t *testing.T) {
	t.Parallel()
	rows := []struct {
		name     string
		old, now []float64
		least    bool
		want     string
	}{
		{"more of what should be more", []float64{1}, []float64{1.2}, true, "better"},
		{"less of what should be more", []float64{1}, []float64{0.8}, true, "worse"},
		{"more of what should be less", []float64{1}, []float64{1.2}, false, "worse"},
		{"less of what should be less", []float64{1}, []float64{0.8}, false, "better"},
		{"within the old one's rounds", []float64{0.5, 1, 1.5}, []float64{0.8}, true, "noise"},
		{"within the new one's rounds", []float64{1}, []float64{0.4, 0.8, 1.2}, true, "noise"},
		{"the same", []float64{1}, []float64{1}, true, "noise"},
	}
	for _, r := range rows {
		figure := func(values []float64) Report {
			if r.least {
				return Report{Figures: []Figure{atLeast("f", "x", 1, values, "")}}
			}
			return Report{Figures: []Figure{atMost("f", "x", 1, values, "")}}
		}
		all := Compare(figure(r.old), figure(r.now))
		if len(all) != 1 || all[0].Verdict != r.want {
			t.Errorf("%s: %+v, want %s", r.name, all, r.want)
		}
	}
}

func TestCompareLooksAtWhatBothHave(t *testing.T) {
	t.Parallel()
	old, now := whole(), whole()
	old.Figures = append(old.Figures, atLeast("gone", "x", 1, []float64{1}, ""))
	now.Steps = append(now.Steps, Step{Name: "50 %", On: "floor", Loop: Open})
	now.Steps[0].Latency.P99 = 300
	now.Figures[0].Got = 0.4
	all := Compare(old, now)
	var names []string
	for _, c := range all {
		names = append(names, fmt.Sprintf("%s %+.0f%% %s", c.Name, c.Percent, c.Verdict))
	}
	if got, want := strings.Join(names, "; "), "unary -50% worse; weir 50 % p50 +0% noise; weir 50 % p99 +50% worse"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if n := len(WorseBy(all, 49)); n != 2 {
		t.Errorf("%d are worse by more than 49 %%, want 2", n)
	}
	if n := len(WorseBy(all, 50)); n != 0 {
		t.Errorf("%d are worse by more than 50 %%, want none", n)
	}
}

// What the floor does is the machine's doing: a change of it is told, and nobody is to blame.
func TestTheFloorGetsNeitherBetterNorWorse(t *testing.T) {
	t.Parallel()
	report := func(rate float64) Report {
		return Report{Steps: []Step{{Name: "maximum", On: "weir", Loop: Closed, PerSecond: rate}, {Name: "maximum", On: "floor", Loop: Closed, PerSecond: rate}}}
	}
	for _, now := range []float64{50, 200} {
		all := Compare(report(100), report(now))
		if len(all) != 4 || all[0].Verdict == ByMachine || all[2].Verdict != ByMachine || all[2].Percent == 0 || all[3].Verdict != Noise {
			t.Errorf("%+v", all)
		}
		if n := len(WorseBy(all, 0)); n > 1 {
			t.Errorf("%d are worse", n)
		}
	}
}

func TestUsageIsReadFromMetrics(t *testing.T) {
	t.Parallel()
	text := `# HELP process_cpu_seconds_total
# TYPE process_cpu_seconds_total counter
process_cpu_seconds_total 12.5
process_resident_memory_bytes 3.5e+07
go_memstats_mallocs_total 1000
go_memstats_alloc_bytes_total 64000
weir_decisions_total{limit="process_cpu_seconds_total 1",verdict="ALLOW"} 7
`
	u, err := readUsage(strings.NewReader(text))
	if err != nil || u != (usage{12.5, 1000, 64000, 3.5e7, 3.5e7}) {
		t.Errorf("%+v, %v", u, err)
	}
	c := u.since(usage{cpu: 11.5, mallocs: 500, allocBytes: 4000, resident: 1}).cost(100)
	if c != (Cost{10000, 5, 600, 35e6, 0}) {
		t.Errorf("cost %+v", c)
	}
	if _, err := readUsage(strings.NewReader("go_goroutines 3\n")); err == nil {
		t.Error("metrics without processor time are taken for none used")
	}
}

func TestConfigRefusesWhatCannotBeMeasured(t *testing.T) {
	t.Parallel()
	if err := DefaultConfig().Validate(); err != nil {
		t.Error(err)
	}
	if err := DefaultFigures().Validate(); err != nil {
		t.Error(err)
	}
	rows := []struct {
		change func(*Config)
		want   string
	}{
		{func(c *Config) { c.Nodes = 0 }, "nodes 0: 1 to 9"},
		{func(c *Config) { c.Via = "pigeon" }, `via "pigeon"`},
		{func(c *Config) { c.Route = "auto" }, `route "auto"`},
		{func(c *Config) { c.Spread = "" }, `spread ""`},
		{func(c *Config) { c.Loop = "ring" }, `loop "ring"`},
		{func(c *Config) { c.Loop, c.Rate = Closed, 5 }, "only an open loop"},
		{func(c *Config) { c.Rate = -1 }, "rate -1"},
		{func(c *Config) { c.Callers = callersMax + 1 }, "callers 4097: 0 to 4096"},
		{func(c *Config) { c.Keys = 0 }, "keys 0"},
		{func(c *Config) { c.Via, c.Batch = ViaBatch, 1001 }, "batch 1001: 1 to 1000"},
		{func(c *Config) { c.Batch = 2 }, "via unary sends single checks"},
		{func(c *Config) { c.Via = ViaRLS }, "an Envoy tree has no accounts"},
		{func(c *Config) { c.Via, c.Route = ViaClient, Away }, "via client goes home or to any"},
		{func(c *Config) { c.Duration = time.Hour }, "duration 1h0m0s: 100ms to 10m0s"},
		{func(c *Config) { c.Warmup = -1 }, "warmup"},
		{func(c *Config) { c.Rounds = 0 }, "rounds 0: 1 to 100"},
	}
	for _, r := range rows {
		c := DefaultConfig()
		r.change(&c)
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), r.want) {
			t.Errorf("error %v, want %q", err, r.want)
		}
	}
}
