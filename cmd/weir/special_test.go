package main

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/weir-cluster/weir/client/rest"
)

func TestChangesForOneAccountSendWhatWasSaid(t *testing.T) {
	t.Parallel()
	const account = " /v1/domains/llm/accounts/a~b"
	rows := []struct{ args, asked, says string }{
		{"override set a~b rpm rate=600/min burst=9 --until 2027-01-01T00:00:00Z", "PUT" + account + `/overrides/rpm {"rate":"600/min","burst":9,"until":"2027-01-01T00:00:00Z"}`, "rpm of a~b in llm is overridden until 2027-01-01T00:00:00Z (revision 8)"},
		{"override set a~b tpd limit=7 window=1h", "PUT" + account + `/overrides/tpd {"limit":7,"window":"1h"}`, "overridden (revision 8)"},
		{"override unset a~b rpm", "DELETE" + account + "/overrides/rpm", "as the policy says"},
		{"block a~b --until 2027-01-01T02:00:00+02:00", "PUT" + account + `/block {"until":"2027-01-01T02:00:00+02:00"}`, "a~b in llm is blocked until 2027-01-01T00:00:00Z (revision 8)"},
		{"block a~b --why Abuse", "PUT" + account + `/block {"why":"Abuse"}`, "a~b in llm is blocked (revision 8)"},
		{"unblock a~b", "DELETE" + account + "/block", "is not blocked"},
		{"reset a~b", "POST" + account + "/resets {}", "every limit of a~b in llm starts afresh"},
		{"reset a~b rpm", "POST" + account + `/resets {"limit":"rpm"}`, "rpm of a~b in llm starts afresh"},
	}
	for _, r := range rows {
		addr := listen(t, exchange{r.asked, 200, `{"revision":8}`})
		weir(t, append(strings.Fields(r.args), "--domain", "llm", addr)...).want(t, exitOK, r.says)
		var c changed
		if err := json.Unmarshal([]byte(weir(t, append(strings.Fields(r.args), "--domain", "llm", addr, "-o", "json")...).out), &c); err != nil || c.Revision != 8 {
			t.Errorf("%s as JSON: %+v, %v", r.args, c, err)
		}
		addr = listen(t, exchange{r.asked, 503, `{"detail":"the book is full"}`})
		weir(t, append(strings.Fields(r.args), "--domain", "llm", addr)...).want(t, exitFailed, "status 503: the book is full")
	}
}

func TestForCountsFromNow(t *testing.T) {
	t.Parallel()
	var until time.Time
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var b rest.Block
		if err := json.NewDecoder(r.Body).Decode(&b); err != nil {
			t.Error(err)
		}
		until = b.Until
		io.WriteString(w, `{"revision":1}`)
	}))
	defer s.Close()
	for text, want := range map[string]time.Duration{"90m": 90 * time.Minute, "7d": 7 * 24 * time.Hour, "1s": time.Second} {
		weir(t, "block", "a", "--for", text, "--addr", s.URL).want(t, exitOK, "is blocked until ")
		if off := time.Until(until) - want; off > 0 || off < -time.Minute {
			t.Errorf("--for %s ends at %v, off by %v", text, until, off)
		}
	}
}

func TestWhatHoldsBesideThePolicyIsATable(t *testing.T) {
	t.Parallel()
	answer := `{"overrides":[{"account":"a","name":"rpm","rate":"5/s","burst":9,"until":"2027-01-01T00:00:00Z"},` +
		`{"account":"b","name":"tpd","limit":7,"window":"1h","idle":"no limit tpd"}],"blocks":[{"account":"m","why":"Abuse"}]}`
	addr := listen(t, exchange{"GET /v1/domains/demo/overrides", 200, answer})
	weir(t, "override", "list", addr).wantOut(t, exitOK, `ACCOUNT  WHAT     TERMS              UNTIL                 NOTE
a        rpm      rate=5/s burst=9   2027-01-01T00:00:00Z  -
b        tpd      limit=7 window=1h  -                     idle: no limit tpd
m        blocked  -                  -                     Abuse
`)
	addr = listen(t, exchange{"GET /v1/domains/demo/accounts/a/overrides", 200, `{"overrides":[],"blocks":[]}`})
	weir(t, "override", "list", "a", addr).wantOut(t, exitOK, "ACCOUNT  WHAT  TERMS  UNTIL  NOTE\n")
}

func TestLimitsAreATable(t *testing.T) {
	t.Parallel()
	answer := `{"domain":"demo","account":"a","blocked":{"why":"Abuse","until":"2027-01-01T00:00:00Z"},"limits":[` +
		`{"name":"rpm","limit":60,"remaining":19,"reset_ms":1000,"meter":"requests","overridden":true,"shadow":true},` +
		`{"name":"open","limit":4,"remaining":4,"reset_ms":-1,"meter":"requests"}],"policy_version":3,"home":"n2","epoch":7}`
	addr := listen(t, exchange{"GET /v1/accounts/a/limits", 200, answer})
	weir(t, "limits", "a", "model=large", addr).wantOut(t, exitOK, `blocked until 2027-01-01T00:00:00Z: Abuse
LIMIT  LEFT  OF  METER     FULL IN  NOTE
rpm    19    60  requests  1s       overridden, shadow
open   4     4   requests  -        -
home n2, epoch 7, policy 3
`)
}

const scenario = `version: 1
domains:
  d:
    account: [user]
    limits: [{name: two, key: [user], algorithm: fixed_window, limit: 2, window: 1h}]
----
0s check user=alice requests:2
----
ALLOW OK LIMIT requests:2 [two 0]
`

func TestScenariosPassOrFailWithTheirExitCode(t *testing.T) {
	t.Parallel()
	good := file(t, "good.txt", scenario)
	weir(t, "policy", "test", good).wantOut(t, exitOK, "ok    "+good+"\n")
	bad := file(t, "bad.txt", strings.Replace(scenario, "limit: 2", "limit: 1", 1))
	o := weir(t, "policy", "test", bad, good)
	o.want(t, exitDenied, "FAIL  "+bad, "ok    "+good, "RATE_LIMITED")
	var all []tested
	if err := json.Unmarshal([]byte(weir(t, "policy", "test", bad, good, "-o", "json").out), &all); err != nil || len(all) != 2 || all[0].OK || all[0].Error == "" || !all[1].OK {
		t.Errorf("as JSON: %+v, %v", all, err)
	}
	weir(t, "policy", "test", file(t, "none.txt", "hello")).want(t, exitFailed, "cannot be run")
	weir(t, "policy", "test", "/none/such.txt").want(t, exitFailed, "read a scenario")
}

func TestDiffComparesWithTheVersionInForce(t *testing.T) {
	t.Parallel()
	addr := listen(t, exchange{"GET /v1/policy", 200, string(demoPolicy)})
	weir(t, "policy", "diff", file(t, "same.yaml", string(demoPolicy)), addr).wantOut(t, exitOK, "nothing would change from version 3\n")
	next := file(t, "next.yaml", strings.Replace(string(demoPolicy), "rate: 5/min", "rate: 9/min", 1))
	weir(t, "policy", "diff", next, addr).want(t, exitDenied, "changed demo limit user-rpm: rate 5/min -> 9/min")
	var lines []changeLine
	if err := json.Unmarshal([]byte(weir(t, "policy", "diff", next, addr, "-o", "json").out), &lines); err != nil || len(lines) != 1 ||
		lines[0].Limit != "user-rpm" || lines[0].Fields[0] != (fieldChange{"rate", "5/min", "9/min"}) || lines[0].Afresh {
		t.Errorf("as JSON: %+v, %v", lines, err)
	}
	weir(t, "policy", "diff", file(t, "bad.yaml", "version: 1\n"), addr).want(t, exitFailed, "cannot be a policy")
	addr = listen(t, exchange{"GET /v1/policy/2", 404, `{"detail":"version 2 is not kept"}`})
	weir(t, "policy", "diff", next, "--version", "2", addr).want(t, exitFailed, "version 2 is not kept")
}
