package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/weir-cluster/weir/client/bench"
)

// short are flags that make a step as short as it may be: these tests look at what is measured, not how much.
func short(flags ...string) []string {
	return append([]string{"bench", "-o", "json", "--duration", "200ms", "--warmup", "100ms", "--rounds", "1", "--keys", "20", "--callers", "2"}, flags...)
}

// reported reads a report, of which every field must be known.
func reported(t *testing.T, text []byte) bench.Report {
	t.Helper()
	var r bench.Report
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&r); err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	if again, err := bench.ParseReport(text); err != nil || !reflect.DeepEqual(again, r) {
		t.Errorf("read as a saved report: %v, %+v", err, again)
	}
	if r.Machine.CPUs < 1 || r.Version == "" || r.What == "" || time.Since(r.At) > clusterTimeMax {
		t.Errorf("the report does not say of what it is: %+v", r)
	}
	return r
}

// wantLoaded checks that a step decided something, that everything was allowed, and that its numbers agree.
func wantLoaded(t *testing.T, s bench.Step) {
	t.Helper()
	allowed := s.Verdicts["ALLOW"]
	if s.Decisions < 1 || s.PerSecond <= 0 || allowed < s.Decisions || len(s.Verdicts) != 1 {
		t.Errorf("%s on %s: %d decisions, %v", s.Name, s.On, s.Decisions, s.Verdicts)
	}
	if q := s.Latency; q.Count < 1 || q.P50 <= 0 || q.P50 > q.P99 || q.P99 > q.P999 || q.P999 > q.Max {
		t.Errorf("%s on %s: latency %+v", s.Name, s.On, q)
	}
	if (s.Late != nil) != (s.Loop == bench.Open) || (s.Rate > 0) != (s.Loop == bench.Open) {
		t.Errorf("%s on %s: late %v, rate %v of a loop that is %s", s.Name, s.On, s.Late, s.Rate, s.Loop)
	}
	if c := s.Cost; c == nil || c.Mallocs <= 0 || c.AllocBytes <= 0 || c.ResidentBytes < 1<<20 {
		t.Errorf("%s on %s: cost %+v", s.Name, s.On, c)
	}
}

func TestBenchMeasuresNodesBesideTheirFloor(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("starts processes")
	}
	saved := filepath.Join(t.TempDir(), "r.json")
	o := weir(t, short("--nodes", "2", "--save", saved)...)
	o.want(t, exitOK, "starting 2 nodes", "90 %")
	r := reported(t, []byte(o.out))
	text, err := os.ReadFile(saved)
	if err != nil || !reflect.DeepEqual(reported(t, text), r) {
		t.Errorf("saved is not what was printed: %v\n%s", err, text)
	}
	var names []string
	for _, s := range r.Steps {
		wantLoaded(t, s)
		names = append(names, s.On+" "+s.Name)
		if (s.AtFloor != nil) != (s.On == "weir") {
			t.Errorf("%s on %s: at floor %v", s.Name, s.On, s.AtFloor)
		}
	}
	if got, want := strings.Join(names, ", "), "weir maximum, floor maximum, weir 25 %, floor 25 %, weir 50 %, floor 50 %, weir 75 %, floor 75 %, weir 90 %, floor 90 %"; got != want {
		t.Errorf("steps %s\nwant  %s", got, want)
	}
	if a := r.Audit; a == nil || a.Admitted < 1 || a.Asked <= a.Admitted || a.Most < a.Admitted || a.Over != 0 {
		t.Errorf("audit %+v", a)
	}
	weir(t, "bench", "compare", saved, saved, "--fail-over", "0").want(t, exitOK, "weir maximum throughput", "floor 90 % p99", "noise")
}

// The steps as an operator takes them: a cluster that is there, the policy applied, one way in after the other.
func TestBenchOfARunningClusterGoesEveryWayIn(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 2)
	addr := c.nodes[0].http
	weir(t, short("--addr", addr)...).want(t, exitFailed, "weir bench policy")
	c.weir(t, 1, "policy", "apply", file(t, "bench.yaml", weir(t, "bench", "policy").out)).want(t, exitOK)
	rows := []string{
		"--via unary", "--via unary --route any", "--via unary --route single", "--via unary --route away --spread zipf",
		"--via batch --batch 10", "--via batch --batch 10 --route any", "--via stream --batch 10 --spread hot", "--via stream --batch 10 --route away",
		"--via stream", "--via stream --route any", "--via client", "--via client --route any", "--via rls", "--via rls --route single",
	}
	for _, flags := range rows {
		o := weir(t, short(append(strings.Fields(flags), "--loop", "closed", "--addr", addr)...)...)
		o.want(t, exitOK)
		r := reported(t, []byte(o.out))
		if len(r.Steps) != 1 || r.Steps[0].On != "weir" || r.Steps[0].AtFloor != nil || r.Audit == nil || r.Audit.Over != 0 {
			t.Fatalf("%s: %+v", flags, r)
		}
		wantLoaded(t, r.Steps[0])
		if len(r.Steps[0].Errors) > 0 {
			t.Errorf("%s: errors %v", flags, r.Steps[0].Errors)
		}
	}
	c.weir(t, 0, "check", "bench", "user=u0", "--mode", "peek").want(t, exitOK, "user-rate")
}

func TestInterruptedBenchPrintsWhatThereWas(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("starts processes")
	}
	ctx, ctrlC := context.WithCancel(t.Context())
	defer ctrlC()
	var out bytes.Buffer
	err := &watcher{words: "75 %: ", found: ctrlC}
	code := run(ctx, short("--nodes", "1"), &out, err)
	outcome{code, out.String(), err.String()}.want(t, exitFailed, "interrupted")
	r := reported(t, out.Bytes())
	if r.Partial == "" || len(r.Steps) != 6 || r.Audit == nil {
		t.Errorf("interrupted at 75 %%: %+v", r)
	}
}

// watcher calls found once the words have been written.
type watcher struct {
	bytes.Buffer
	words string
	found func()
}

func (w *watcher) Write(text []byte) (int, error) {
	n, err := w.Buffer.Write(text)
	if strings.Contains(w.String(), w.words) {
		w.found()
	}
	return n, err
}

func TestFiguresAreAllMeasured(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("starts processes")
	}
	b, end, err := newBed()
	if err != nil {
		t.Fatal(err)
	}
	defer end()
	ctx, cancel := context.WithTimeout(t.Context(), clusterTimeMax)
	defer cancel()
	r, err := bench.Figures(ctx, bench.FiguresConfig{Rounds: 1, Round: 100 * time.Millisecond, Idle: 100 * time.Millisecond}, b)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Figures) != 13 || r.Audit == nil || r.Audit.Over != 0 || r.Partial != "" {
		t.Errorf("%d figures, audit %+v, partial %q", len(r.Figures), r.Audit, r.Partial)
	}
	for _, f := range r.Figures {
		quick := strings.Contains(f.Name, "CPU against") // processors are counted in 10 ms: too coarse for so short a time
		if !quick && len(f.Rounds) == 0 || strings.Contains(f.Note, "not measured") || (f.Least == 0) == (f.Most == 0) || f.Held != (f.Least > 0 && f.Got >= f.Least || f.Most > 0 && f.Got <= f.Most && len(f.Rounds) > 0) {
			t.Errorf("%+v", f)
		}
	}
	for _, s := range r.Steps {
		if s.Verdicts["ALLOW"] < 1 || len(s.Verdicts) != 1 {
			t.Errorf("%s on %s: %v", s.Name, s.On, s.Verdicts)
		}
	}
	var text bytes.Buffer
	reportText(&text, r)
	for _, words := range []string{"FIGURE", "≥ 600000/s", "≤ 1.50 x", "owner-routed", "Exact limit, 50/s"} {
		if !strings.Contains(text.String(), words) {
			t.Errorf("the table has no %q:\n%s", words, &text)
		}
	}
}

func TestBenchCallsThatCannotBe(t *testing.T) {
	t.Parallel()
	rows := []struct{ args, words string }{
		{"--loop closed --rate 5", "only an open loop has one"},
		{"--nodes 99", "nodes 99: 1 to 9"},
		{"--via rls --route home", "an Envoy tree has no accounts"},
		{"--duration 1h", "duration 1h0m0s"},
		{"--via pigeon", "--via"},
		{"--suite figures --addr 127.0.0.1:1", "without --addr"},
		{"--suite figures --rounds 1000", "rounds 1000"},
	}
	for _, r := range rows {
		weir(t, append([]string{"bench"}, strings.Fields(r.args)...)...).want(t, exitUsage, r.words)
	}
	weir(t, "bench", "--addr", "127.0.0.1:1").want(t, exitFailed, "127.0.0.1:1")
	weir(t, "bench", "-h").want(t, exitOK, "Usage: weir bench <command>", "bench run", "bench compare", "bench policy", "weir bench run -h", "Exit code")
	weir(t, "bench", "run", "-h").want(t, exitOK, "Usage: weir bench run", "--spread", "weir bench -h")
	weir(t, "bench", "compare", "/none/such.json", "/none/such.json").want(t, exitFailed, "read a saved report")
}

// WEIR_ADDR may be a cluster that people depend on: it is put under load only when --addr says so.
func TestBenchLoadsNoClusterThatIsOnlyInTheEnvironment(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes")
	}
	t.Setenv("WEIR_ADDR", "127.0.0.1:1")
	weir(t, short("--nodes", "1", "--loop", "closed")...).want(t, exitOK, "starting 1 node and")
}

func TestCompareTellsWhatGotWorse(t *testing.T) {
	t.Parallel()
	report := func(name, figures string) string { return file(t, name, `{"format":1,"figures":[`+figures+`]}`) }
	old := report("old.json", `{"name":"speed","unit":"x","least":0.8,"got":1},{"name":"wait","unit":"µs","most":9,"got":4,"spread":0.1}`)
	now := report("new.json", `{"name":"speed","unit":"x","least":0.8,"got":0.9},{"name":"wait","unit":"µs","most":9,"got":4.2,"spread":0.1}`)
	table := `WHAT   OLD      NEW      CHANGE   NOISE   VERDICT
speed  1.00 x   0.90 x   -10.0 %  0.0 %   worse
wait   4.00 µs  4.20 µs  +5.0 %   10.0 %  noise
`
	weir(t, "bench", "compare", old, now).wantOut(t, exitOK, table)
	weir(t, "bench", "compare", old, now, "--fail-over", "10").wantOut(t, exitOK, table)
	weir(t, "bench", "compare", old, now, "--fail-over", "9").wantOut(t, exitDenied, table)
	weir(t, "bench", "compare", now, old, "--fail-over", "0").want(t, exitOK, "better")
	var all []bench.Change
	if err := json.Unmarshal([]byte(weir(t, "bench", "compare", old, now, "-o", "json").out), &all); err != nil || len(all) != 2 || all[0].Verdict != bench.Worse {
		t.Errorf("as JSON: %+v, %v", all, err)
	}
	weir(t, "bench", "compare", old, report("none.json", "")).want(t, exitFailed, "nothing in common")
	weir(t, "bench", "compare", old, file(t, "f.json", `{"format":9}`)).want(t, exitFailed, "format 9")
}

func TestOverAdmissionIsAnExitCode(t *testing.T) {
	t.Parallel()
	r := bench.Report{Format: 1, Audit: &bench.Audit{Rate: 50, Burst: 100, Seconds: 2, Asked: 500, Admitted: 203, Most: 200, Least: 198, Over: 3, Fallback: 1}}
	if !r.OverAdmitted() {
		t.Error("three too many are not over-admission")
	}
	var text bytes.Buffer
	reportText(&text, r)
	if !strings.Contains(text.String(), "3 too many (at most 200 were right") || !strings.Contains(text.String(), "1 of them were decided without the home") {
		t.Error(text.String())
	}
}

func TestProgressIsALineAMessageWhereThereIsNoTerminal(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	p := newProgress(&out, func() time.Time { now = now.Add(2 * time.Second); return now })
	p.say("one")
	p.say("two")
	p.done()
	if got, want := out.String(), "   2s  one\n   4s  two\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	p.terminal = true
	out.Reset()
	p.say("three")
	p.done()
	if got, want := out.String(), "\r\x1b[K   6s  three\r\x1b[K"; got != want {
		t.Errorf("on a terminal: got %q, want %q", got, want)
	}
}
