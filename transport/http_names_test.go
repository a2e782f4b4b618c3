package transport

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestANameStandsOnceAndAsWeWriteIt(t *testing.T) {
	many := make([]string, 40)
	for i := range many {
		many[i] = fmt.Sprintf(`"a%d":1`, i)
	}
	for body, wrong := range map[string]string{
		`{"domain":"d","attributes":{"user":"a","User":"b"},"cost":{"requests":1}}`: "",
		`{"domain":"d","domain":"e"}`:                             `the name "domain" stands twice`,
		`{"domain":"d","Domain":"e"}`:                             `unknown field "Domain"`,
		`{"DOMAIN":"d"}`:                                          `unknown field "DOMAIN"`,
		`{"co\u017ft":{}}`:                                        "unknown field \"co\u017ft\"",
		"{\"co\u017ft\":{}}":                                      "unknown field",
		`{"domain":"d","\u0064omain":"e"}`:                        `the name "domain" stands twice`,
		`{"domain":"d","attributes":{"user":"a","user":"b"}}`:     `the name "user" stands twice`,
		`{"attributes":{"a":"{\"a\":1","b":"\\"},"cost":{"a":1}}`: "",
		`{"explain":true,"attributes":{"explain":"x"}}`:           "",
		`{"attributes":{` + strings.Join(many, ",") + `}}`:        "",
		`{"attributes":{` + strings.Join(many, ",") + `,"a7":2}}`: `the name "a7" stands twice`,
		` { "domain" : "d" , "cost" : { } } `:                     "",
		`"domain"`:                                                "",
		`null`:                                                    "",
	} {
		if !json.Valid([]byte(body)) {
			t.Fatalf("%s is not JSON", body)
		}
		if err := strictNames([]byte(body)); (err == nil) != (wrong == "") || err != nil && !strings.Contains(err.Error(), wrong) {
			t.Errorf("%s: %v, want %q", body, err, wrong)
		}
	}
}

func TestADoorRefusesANameThatStandsTwice(t *testing.T) {
	ask := asking(t)
	s := server(fakeAccess{check: allow})
	for body, says := range map[string]string{
		`{"domain":"d","domain":"e","attributes":{"user":"a"}}`:              "stands twice",
		`{"domain":"d","attributes":{"user":"a","user":"b"}}`:                "stands twice",
		`{"Domain":"d","attributes":{"user":"a"}}`:                           "unknown field",
		`{"checks":[{"domain":"d","Domain":"e","attributes":{"user":"a"}}]}`: "unknown field",
	} {
		path := "/v1/check"
		if strings.HasPrefix(body, `{"checks"`) {
			path += ":batch"
		}
		res := ask(t, s, "POST", path, body)
		if text, _ := io.ReadAll(res.Body); res.StatusCode != 400 || !strings.Contains(string(text), says) {
			t.Errorf("%s: %d %s, want 400 and %q", body, res.StatusCode, text, says)
		}
	}
}

// FuzzStrictNames: what a reader of tokens sees is refused, and nothing else.
func FuzzStrictNames(f *testing.F) {
	for _, seed := range []string{`{"a":{"b":1,"b":2}}`, `{"a":[{"b":"\""},{"b":1}]}`, `[[],{}]`, `{"a":"\\","a":1}`, `1`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if !json.Valid(b) || !utf8.Valid(b) {
			return
		}
		d := json.NewDecoder(bytes.NewReader(b))
		d.UseNumber()
		twice, folded := duplicates(t, d, 0)
		if err := strictNames(b); (err != nil) != (twice || folded) {
			t.Errorf("%s: %v, twice %v, in other letters %v", b, err, twice, folded)
		}
	})
}

// duplicates reads one value by tokens.
func duplicates(t *testing.T, d *json.Decoder, depth int) (twice, folded bool) {
	t.Helper()
	first, err := d.Token()
	if err != nil {
		t.Fatal(err)
	}
	if first != json.Delim('{') && first != json.Delim('[') {
		return false, false
	}
	seen := map[string]bool{}
	for d.More() {
		if first == json.Delim('{') {
			name, err := d.Token()
			if err != nil {
				t.Fatal(err)
			}
			text, _ := name.(string)
			twice = twice || seen[text]
			folded = folded || depth == 0 && strings.Trim(text, "abcdefghijklmnopqrstuvwxyz0123456789_") != ""
			seen[text] = true
		}
		x, y := duplicates(t, d, depth+1)
		twice, folded = twice || x, folded || y
	}
	if _, err := d.Token(); err != nil {
		t.Fatal(err)
	}
	return twice, folded
}

func BenchmarkStrictNames(b *testing.B) {
	body := []byte(`{"domain":"demo","attributes":{"user":"alice","model":"large","org":"acme"},"cost":{"requests":1,"tokens":1200},"mode":"CONSUME"}`)
	b.ReportAllocs()
	for b.Loop() {
		if err := strictNames(body); err != nil {
			b.Fatal(err)
		}
	}
}
