package policy

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// TestScenarios runs testdata/*.txt: a policy, a line ----, steps at times, a line ----, what each step answers.
func TestScenarios(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) < 16 {
		t.Fatalf("%d scenarios, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if err := RunScenario(file, text); err != nil {
				t.Error(err)
			}
		})
	}
}

const shortScenario = `version: 1
domains:
  llm:
    account: [user]
    limits: [{name: rpm, key: [user], algorithm: fixed_window, limit: 1, window: 1m}]
----
0s check user=alice
# a remark, and an empty line

1s check user=alice
----
ALLOW OK LIMIT requests:1 [rpm 0]
DENY RATE_LIMITED 429 by rpm remedy wait retry 59s "Limit rpm allows 1 requests per minute; try again in 59s." [rpm 0]
`

func TestScenarioShowsWhatDiffersWithItsLine(t *testing.T) {
	t.Parallel()
	if err := RunScenario("s.txt", []byte(shortScenario)); err != nil {
		t.Fatal(err)
	}
	wrong := strings.Replace(shortScenario, "retry 59s", "retry 58s", 1)
	err := RunScenario("s.txt", []byte(wrong))
	want := "the policy decides otherwise in 1 of 2 answers (- expected, + decided):\n" +
		"s.txt:13: 1s check user=alice\n" +
		`  - DENY RATE_LIMITED 429 by rpm remedy wait retry 58s "Limit rpm allows 1 requests per minute; try again in 59s." [rpm 0]` + "\n" +
		`  + DENY RATE_LIMITED 429 by rpm remedy wait retry 59s "Limit rpm allows 1 requests per minute; try again in 59s." [rpm 0]`
	if !errors.Is(err, ErrScenario) || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
	for _, c := range []struct{ name, text, want string }{
		{"an answer too many", shortScenario + "ALLOW OK\n", "s.txt:14: \n  - ALLOW OK"},
		{"an answer too few", shortScenario[:strings.Index(shortScenario, "DENY")], "s.txt:10: 1s check user=alice\n  + DENY"},
	} {
		if err := RunScenario("s.txt", []byte(c.text)); !errors.Is(err, ErrScenario) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func TestScenarioThatIsNoneSaysWhere(t *testing.T) {
	t.Parallel()
	with := func(step string) string { return strings.Replace(shortScenario, "1s check user=alice", step, 1) }
	many := strings.Repeat("0s balance x\n", scenarioSteps+1)
	for _, c := range []struct{ text, want string }{
		{"", "s.txt:1:1: found 0 lines ----, expected 2"},
		{"version: 1\n----\n0s check a=b\n----\n", "s.txt:1:1: found no `domains`"},
		{strings.Replace(shortScenario, "limit: 1", "limit: one", 1), "s.txt:5:71: found `one`, expected a whole number"},
		{with("1s"), "s.txt:10:1: found `1s`, expected a time, a verb and more"},
		{with("soon check user=alice"), "s.txt:10:1: found `soon`, expected a time"},
		{with("1s chek user=alice"), "s.txt:10:1: found `chek`, expected one of balance, block, check"},
		{with("1s check alice"), "s.txt:10:1: found `alice`, expected name=value"},
		{with("1s check tokens:x"), "s.txt:10:1: found `tokens:x`, expected a meter and an amount"},
		{with("1s settle 1"), "s.txt:10:1: found `1`, expected the number of a reservation"},
		{with("1s fallback x user=alice"), "s.txt:10:1: found `x`, expected how many nodes"},
		{with("1s open alice rich"), "s.txt:10:1: found `rich`, expected unwilling"},
		{with("1s grant alice gift 5"), "s.txt:10:1: invalid"},
		{with("1s grant alice"), "s.txt:10:1: found too few or too many words"},
		{with("1s override alice rpm rat=5"), "s.txt:10:1: found `rat=5`, expected rate=R"},
		{with("1s unset alice"), "s.txt:10:1: found too few or too many words"},
		{strings.Replace(shortScenario, "1s check user=alice\n", many, 1), "s.txt:1:1: found 10002 steps, expected 1 to 10000"},
		{shortScenario + strings.Repeat(" ", scenarioTextMax), "bytes, at most"},
	} {
		err := RunScenario("s.txt", []byte(c.text))
		if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%.40q: got %v, want %s", c.text, err, c.want)
		}
	}
}

// request makes a request of a test from the words of a scenario.
func request(words []string) Request {
	r, err := (&story{domain: "llm"}).request(words)
	if err != nil {
		panic(fmt.Sprintf("%s: %v", strconv.Quote(strings.Join(words, " ")), err))
	}
	return r
}

func FuzzScenario(f *testing.F) {
	f.Add([]byte(shortScenario))
	f.Add([]byte("----\n----\n"))
	for _, name := range []string{"reserve", "waterfall", "overrides"} {
		text, _ := os.ReadFile("testdata/" + name + ".txt")
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if err := RunScenario("f", text); err != nil && !errors.Is(err, ErrInvalid) && !errors.Is(err, ErrScenario) {
			t.Fatalf("%T %v", err, err)
		}
	})
}
