package policy

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// around puts a limit, or another line of the domain, into the smallest document; it then stands on line 5.
func around(line string) string {
	return "version: 1\ndomains:\n  llm:\n    account: [user]\n    " + line + "\n"
}

func aroundLimit(limit string) string { return around("limits: [" + limit + "]") }

func TestParseSaysWhereAndWhatWasExpected(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ text, want string }{
		{"", "f:1:1: found an empty document, expected `version` and `domains`"},
		{"a: [", "f:1:1: found text that is not YAML (did not find expected node content), expected one YAML document"},
		{"version: 1\ndomains: {llm: {account: [user]}}\n---\nx: 1", "f:3:1: found a second document, expected one document"},
		{"version: 2\ndomains: {llm: {account: [user]}}", "f:1:10: found `2`, expected 1, the version of the language"},
		{"domains: {llm: {account: [user]}}", "f:1:1: found no `version`, expected version: 1"},
		{"version: 1\ndomains: {}", "f:2:10: found 0 domains, expected 1 to 1000"},
		{"version: 1\ndomains: {LLM: {account: [user]}}", "f:2:11: found `LLM`, expected the name of a domain: 1 to 64 of a-z, 0-9, - and _"},
		{"version: 1\ndomains: {llm: {}}", "f:2:16: found no `account`, expected the attributes that name the account, such as account: [user]"},
		{"version: 1\ndomains: {llm: 5}", "f:2:16: found `5`, expected a domain with account, payer, unmatched, headers, http, meters, limits, prices, order, envoy"},
		{around("limit: []"), "f:5:5: found the unknown field `limit`, expected one of account, payer, unmatched, headers, http, meters, limits, prices, order, envoy; did you mean `limits`?"},
		{around("account: [org]"), "f:5:5: found `account` again, expected it once (first on line 4)"},
		{around("unmatched: denied"), "f:5:16: found `denied`, expected one of allow, deny; did you mean `deny`?"},
		{around("headers: &x none"), "f:5:14: found the anchor `&x`, expected a plain value (anchors are not part of the language)"},
		{around("<<: {headers: none}"), "f:5:5: found a merge key, expected the fields themselves (merge keys are not part of the language)"},
		{around("meters: [tokens]"), "f:5:14: found `tokens` again, expected each meter once (requests, tokens, seconds are always there)"},
		{around("order: [promo, gift]"), "f:5:20: found `gift`, expected one of included, promo, credit, overdraft"},
		{around("http: {attributes: {user: X-User}}"), "f:5:31: found `X-User`, expected `header` and the name of an HTTP header, such as header X-User, or one of path, method, host, client_ip"},
		{around("prices: [{per: {requests: 0.0000000000001}}]"), "f:5:31: found `0.0000000000001`, expected a price in credits: a decimal above 0 and up to 1000000, with at most 12 digits after the point"},
		{around("prices: [{per: {token: 1}}]"), "f:5:21: found `token`, expected one of requests, tokens, seconds; did you mean `tokens`?"},
		{around("prices: [{match: {model: [a, \"!b\"]}, per: {tokens: 1}}]"), "f:5:34: found a negated value in a list, expected a value (negate one alone: !x)"},
		{aroundLimit("{name: a, key: [user], algorithm: token_bucket, rate: 60/min, brust: 5}"), "f:5:76: found the unknown field `brust`, expected one of name, match, key, algorithm, meter, rate, limit, window, burst, time_zone, ttl, spill, on_deny, shadow, fallback, cold_start, takeover; did you mean `burst`?"},
		{aroundLimit("{name: a, key: [user], algorithm: token_bucket, rate: 60/minute}"), "f:5:68: found `60/minute`, expected a rate: N/s, N/min, N/h, N/d or N/10s; did you mean `60/min`?"},
		{aroundLimit("{name: a, key: [user], algorithm: token_bucket, rate: 0/s}"), "f:5:68: found `0/s`, expected a rate: N/s, N/min, N/h, N/d or N/10s"},
		{aroundLimit("{name: a, key: [user], algorithm: token_bucket, rate: 1/s, burst: many}"), "f:5:80: found `many`, expected a whole number from 1 to 1099511627776"},
		{aroundLimit("{name: a, key: [user], algorithm: token_bucket, rate: 1/s, window: 1h}"), "f:5:81: found `window` with token_bucket, expected it only with fixed_window, sliding_window, rolling_log, calendar_window"},
		{aroundLimit("{name: a, key: [user], algorithm: fixed_window, limit: 5, window: 1week}"), "f:5:80: found `1week`, expected a duration, such as 90s, 1h or 7d"},
		{aroundLimit("{name: a, key: [user], algorithm: fixed_window, limit: 5}"), "f:5:14: found a fixed_window without `window`, expected its length, such as window: 1h"},
		{aroundLimit("{name: a, key: [user], algorithm: token_bukket, rate: 1/s}"), "f:5:48: found `token_bukket`, expected one of token_bucket, fixed_window, sliding_window, rolling_log, calendar_window, concurrency; did you mean `token_bucket`?"},
		{aroundLimit("{name: a, key: [org], algorithm: token_bucket, rate: 1/s}"), "f:5:29: found a key without `user`, expected every attribute of the account [user] (pools that accounts share are not supported yet)"},
		{aroundLimit("{name: a, key: user, algorithm: token_bucket, rate: 1/s}"), "f:5:29: found `user`, expected a list of attribute names, such as [user]"},
		{aroundLimit("{name: a, key: [user], algorithm: token_bucket, rate: 1/s, spill: yes}"), "f:5:80: found `yes`, expected true or false"},
		{aroundLimit("{name: a, key: [user], algorithm: calendar_window, limit: 5, window: 1d}"), "f:5:83: found `1d`, expected one of day, week, month, year"},
		{aroundLimit("{name: a, key: [user], algorithm: calendar_window, limit: 5, window: weak}"), "f:5:83: found `weak`, expected one of day, week, month, year; did you mean `week`?"},
		{aroundLimit("{name: a, key: [user], algorithm: calendar_window, limit: 5, window: day, time_zone: Berlin}"), "f:5:99: found `Berlin`, expected a time zone, such as UTC or Europe/Berlin"},
		{aroundLimit("{name: a, key: [user], algorithm: calendar_window, limit: 5, window: day, time_zone: Local}"), "f:5:99: found `Local`, expected a time zone, such as UTC or Europe/Berlin"},
		{aroundLimit("{name: a, key: [user], algorithm: sliding_window, limit: 5, window: 1h, time_zone: UTC}"), "f:5:97: found `time_zone` with sliding_window, expected it only with calendar_window"},
		{aroundLimit("{name: a, key: [user], algorithm: concurrency, limit: 5}"), "f:5:14: found a concurrency without `ttl`, expected after how long a slot frees itself, such as ttl: 10m"},
		{aroundLimit("{name: a, key: [user], algorithm: concurrency, limit: 5, ttl: 1m, meter: tokens}"), "f:5:87: found `tokens` with concurrency, expected requests, which is what is in flight"},
		{aroundLimit("{name: a, key: [user], algorithm: concurrency, limit: 5, ttl: 1m, spill: true}"), "f:5:87: found `spill` with concurrency, expected it only with the other algorithms (credit buys no slot)"},
		{aroundLimit("{name: a, key: [user], algorithm: concurrency, limit: 5, ttl: 1m, on_deny: charge}"), "f:5:89: found `charge` with concurrency, expected on_deny: keep (what is refused is not in flight)"},
		{aroundLimit("{name: a, key: [user], algorithm: concurrency, limit: 5, ttl: 1m, cold_start: fresh}"), "f:5:92: found `cold_start` with concurrency, expected it only with token_bucket, fixed_window, sliding_window, rolling_log, calendar_window"},
		{aroundLimit("{name: a, key: [user], algorithm: token_bucket, rate: 1/s, spill: true, on_deny: charge}"), "f:5:95: found `charge` with spill: true, expected on_deny: keep (what spills is paid for, not refused)"},
		{aroundLimit("{name: a, key: [user], algorithm: concurrency, limit: 5, ttl: 1m, takeover: copy}"), "f:5:90: found `takeover` with concurrency, expected it only with token_bucket, fixed_window, sliding_window, rolling_log, calendar_window"},
		{aroundLimit("{name: a, key: [user], algorithm: token_bucket, rate: 1/s, takeover: fresh}"), "f:5:83: found `fresh`, expected one of copy, empty"},
		{aroundLimit("{name: a, key: [user], algorithm: token_bucket, rate: 1/s, cold_start: cold}"), "f:5:85: found `cold`, expected one of drained, fresh"},
		{around("headers: ieft"), "f:5:14: found `ieft`, expected one of ietf, envoy, openai, none; did you mean `ietf`?"},
		{around("http: {attributes: {user: header}}"), "f:5:31: found `header`, expected `header` and the name of an HTTP header, such as header X-User, or one of path, method, host, client_ip"},
		{around("http: {attributes: {user: hots}}"), "f:5:31: found `hots`, expected `header` and the name of an HTTP header, such as header X-User, or one of path, method, host, client_ip; did you mean `host`?"},
		{aroundLimit("{name: a, key: [user], algorithm: token_bucket, rate: 9999999999/s}"), "f:5:68: found a limit that cannot be kept (invalid limit: count 9999999999 every 1s is more than one a nanosecond), expected one within the bounds"},
		{aroundLimit("{name: a, key: [user], algorithm: token_bucket, rate: 1/s}, {name: a, key: [user], algorithm: token_bucket, rate: 1/s}"), "f:5:74: found a second limit `a`, expected each name once (first on line 5)"},
		{around("prices: [{match: {m: !a}, per: {tokens: 1}}]"), "f:5:1: found text that is not YAML (did not find expected whitespace or line break: a value that begins with ! needs quotes), expected one YAML document"},
		{around("limits: [*a]"), "f:1:1: found text that is not YAML (unknown anchor 'a' referenced), expected one YAML document"},
		{strings.Repeat(" ", TextMax+1), "f:1:1: found a document of 1048577 bytes, expected at most 1048576"},
		{around("x: " + strings.Repeat("[", 40) + strings.Repeat("]", 40)), "f:5:38: found more nesting, expected at most 32 levels"},
	} {
		p, err := Parse("f", []byte(c.text))
		if p != nil || err == nil || !strings.Contains(err.Error()+"\n", c.want+"\n") || !errors.Is(err, ErrInvalid) {
			t.Errorf("%.200q:\n got %v\nwant %s", c.text, err, c.want)
		}
	}
}

func TestParseReportsEveryMistakeUpToTwentyInOrder(t *testing.T) {
	t.Parallel()
	_, err := Parse("f", []byte("version: 1\ndomains:\n  a:\n    unmatched: 1\n    headers: 2\n    acount: [user]\n"))
	var m Mistakes
	if !errors.As(err, &m) || len(m) != 4 || m[0].Line != 4 || m[3].Line != 6 {
		t.Fatalf("got %v", err)
	}
	text := "version: 1\ndomains:\n  a:\n    account: [user]\n    limits:\n" + strings.Repeat("      - 5\n", 50)
	_, err = Parse("f", []byte(text))
	if !errors.As(err, &m) || len(m) != MistakesMax || !strings.HasPrefix(m[MistakesMax-1].Message, "found 31 more mistakes") {
		t.Fatalf("got %d: %v", len(m), err)
	}
}

func TestParseRatesDurationsAndPricesExactly(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		rate   string
		count  int64
		period time.Duration
		ok     bool
	}{
		{"60/min", 60, time.Minute, true},
		{"5/s", 5, time.Second, true},
		{"7/10s", 7, 10 * time.Second, true},
		{"1/7d", 1, 7 * day, true},
		{"3/1d12h", 3, 36 * time.Hour, true},
		{"2/h", 2, time.Hour, true},
		{"2/d", 2, day, true},
		{"60", 0, 0, false},
		{"-1/s", -1, 0, false},
		{"+1/s", 0, 0, false},
		{"1.5/s", 0, 0, false},
		{"1/0s", 1, 0, false},
		{"1/-5s", 1, 0, false},
		{"1/4000d", 1, 0, false},
	} {
		n, d, ok := parseRate(c.rate)
		if ok != c.ok || ok && (n != c.count || d != c.period) {
			t.Errorf("rate %s: %d per %v, %v", c.rate, n, d, ok)
		}
	}
	for text, want := range map[string]int64{
		"0.000000000001": 1, "0.01": 10_000_000_000, "1000000": 1_000_000 * picoPerCredit, "2": 2 * picoPerCredit,
		"0": 0, "-1": 0, "1e-6": 0, "1.": 0, ".5": 0, "1000000.000000000001": 0, "0.0000000000001": 0, "+1": 0,
	} {
		if got, ok := parsePrice(text); ok != (want > 0) || ok && got != want {
			t.Errorf("price %s: %d, %v, want %d", text, got, ok, want)
		}
	}
}

func TestMatchOfValuesPrefixesListsAndNegations(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ match, matching, others string }{
		{"large", "large", "larger,small,LARGE,-"},
		{"large*", "large,larger", "small,-"},
		{"[a, b*]", "a,b,bb", "aa,c,-"},
		{"!a ", "b,-", "a"},
		{`"!a*"`, "b,-", "a,ab"},
		{`"*"`, "a,b", "-"},
		{"4", "4", "5,-"},
	} {
		p, err := Parse("f", []byte(around("prices: [{match: {model: "+c.match+"}, per: {requests: 1}}]")))
		if err != nil {
			t.Fatal(err)
		}
		d, _ := p.Domain("llm")
		for i, values := range []string{c.matching, c.others} {
			for v := range strings.SplitSeq(values, ",") {
				var attributes []Attribute
				if v != "-" {
					attributes = []Attribute{{"model", v}}
				}
				if row, _ := d.price(attributes); (row != nil) != (i == 0) {
					t.Errorf("match %s, value %s: %v", c.match, v, row != nil)
				}
			}
		}
	}
}

func TestDemoCompilesAndNamesItsHeaders(t *testing.T) {
	t.Parallel()
	p, err := Parse("demo.yaml", Demo())
	if err != nil {
		t.Fatal(err)
	}
	d, err := p.Domain("demo")
	if err != nil || d.Headers() != "ietf" || !slices.Equal(p.Domains(), []string{"demo"}) {
		t.Fatalf("%v %v", d, err)
	}
	if got := fmt.Sprint(d.HTTPAttributes()); got != "[{user X-User header} {model X-Model header}]" {
		t.Error(got)
	}
	if p, err = Parse("f", []byte(aroundLimit("{name: a, match: {api_key: x}, key: [user], algorithm: token_bucket, rate: 1/s}"))); err != nil {
		t.Fatal(err)
	}
	d, _ = p.Domain("llm")
	if got := fmt.Sprint(d.HTTPAttributes()); got != "[{user X-User header} {api_key X-Api-Key header}]" {
		t.Error(got)
	}
	if _, err = p.Domain("lm"); !errors.Is(err, ErrInvalid) || !strings.HasSuffix(err.Error(), "did you mean `llm`?") {
		t.Error(err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(Demo())
	f.Add([]byte(aroundLimit("{name: a, key: [user, !x], match: {m: !a*}, algorithm: token_bucket, rate: 1/s}")))
	f.Add([]byte("a: &a [*a]\n"))
	f.Add([]byte("version: 1\ndomains: {a: {account: [user], prices: [{per: {requests: 1e9}}]}}\n---\n"))
	f.Add([]byte("? {a: b}\n: \"\\x00\"\n"))
	stories, _ := os.ReadFile("testdata/tokens.txt")
	f.Add(stories)
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := Parse("f", text)
		if err == nil {
			if q, err := Parse("g", p.Text()); err != nil || len(q.Domains()) != len(p.Domains()) {
				t.Fatalf("parsed once, not twice: %v", err)
			}
			return
		}
		var all Mistakes
		if !errors.As(err, &all) || len(all) == 0 || len(all) > MistakesMax {
			t.Fatalf("%T %v", err, err)
		}
		for _, m := range all {
			if m.Line < 1 || m.Column < 1 || !strings.Contains(m.Message, "expected") {
				t.Fatalf("%v", m)
			}
		}
	})
}
