package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/weir-cluster/weir/client"
	"github.com/weir-cluster/weir/client/rest"
	"github.com/weir-cluster/weir/ring"
)

// outcome is what a call of the program left behind.
type outcome struct {
	code     int
	out, err string
}

func weir(t *testing.T, args ...string) outcome {
	t.Helper()
	var out, err bytes.Buffer
	code := run(t.Context(), args, &out, &err)
	return outcome{code, out.String(), err.String()}
}

// want checks the exit code and that the words stand in what was printed, wherever.
func (o outcome) want(t *testing.T, code int, words ...string) {
	t.Helper()
	if o.code != code {
		t.Errorf("exit code %d, want %d; stdout:\n%s\nstderr:\n%s", o.code, code, o.out, o.err)
	}
	for _, w := range words {
		if !strings.Contains(o.out+o.err, w) {
			t.Errorf("nothing printed has %q; stdout:\n%s\nstderr:\n%s", w, o.out, o.err)
		}
	}
}

// wantOut checks standard output to the byte.
func (o outcome) wantOut(t *testing.T, code int, out string) {
	t.Helper()
	if o.code != code || o.out != out || o.err != "" {
		t.Errorf("exit code %d, stdout:\n%s\nstderr:\n%s\nwant code %d and:\n%s", o.code, o.out, o.err, code, out)
	}
}

// exchange is one question the node of a test expects, and its answer.
type exchange struct {
	asked  string // method, path and body
	status int
	answer string
}

// listen starts a node that knows nothing but the exchange and returns its --addr flag.
func listen(t *testing.T, e exchange) string {
	t.Helper()
	return listenAll(t, e)
}

// listenAll starts a node that knows some exchanges, in whatever order.
func listenAll(t *testing.T, all ...exchange) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got := strings.TrimSpace(r.Method + " " + r.URL.Path + " " + string(body))
		i := slices.IndexFunc(all, func(e exchange) bool { return e.asked == got })
		if i < 0 {
			t.Errorf("asked %s\nwant one of %+v", got, all)
			i = 0
		}
		e := all[i]
		if r.Method == http.MethodPost && strings.HasPrefix(r.URL.Path, "/v1/accounts") && r.Header.Get("Idempotency-Key") == "" {
			t.Errorf("%s came without an Idempotency-Key", r.URL.Path)
		}
		w.Header().Set("Content-Type", "application/json")
		if e.status >= 400 {
			w.Header().Set("Content-Type", "application/problem+json")
		}
		w.Header().Set("ETag", `"3"`)
		w.WriteHeader(e.status)
		io.WriteString(w, e.answer)
	}))
	t.Cleanup(s.Close)
	return "--addr=" + s.URL
}

func file(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestWrongCallsExitWith64AndSayWhy(t *testing.T) {
	t.Parallel()
	rows := []struct{ args, words string }{
		{"", "expected one of"},
		{"chekc", "check"},
		{"check", "user=alice"},
		{"check demo", "at least one attribute"},
		{"check demo alice", `attribute "alice": expected name=value`},
		{"check user=a user=b", "attribute user is given twice"},
		{"check user=a --mode gulp", "consume"},
		{"check user=a --cost requests=x", "--cost"},
		{"check user=a --addr http://a/b", "expected host:port"},
		{"check user=a --timeout 0s", "--timeout 0s must be positive"},
		{"check user=a -o xml", "json"},
		{"credits grant alice gold 1", "promo"},
		{"credits grant alice promo 0.0000001", "6 digits"},
		{"credits debit alice", "amount"},
		{"credits debit alice 1 --overshoot all", "deny"},
		{"credits set alice", "nothing to change: name --plan"},
		{"credits grant alice promo 1 --every fortnight", "month"},
		{"credits hold alice 1 --for 0s", "a second or more"},
		{"credits hold alice 1 --late perhaps", "reject"},
		{"credits extend job-17", "name an amount, or --for, or both"},
		{"credits adjust alice --give 1 --take 1 --kind promo --memo m", "--give and --take can't be used together"},
		{"credits adjust alice --give 1 --kind promo", "--memo"},
		{"credits adjust alice --kind promo --memo m", "--give=AMOUNT or --take=AMOUNT"},
		{"credits balance alice --max-staleness=-1s", "must be positive"},
		{"credits history alice --limit 257", "expected 1 to 256"},
		{"events tail --after 1 --last 2", "--after and --last can't be used together"},
		{"serve --voter perhaps", "--voter"},
		{"override set alice user-rpm", "term=value"},
		{"override set alice user-rpm rate", `term "rate": expected name=value`},
		{"override set alice user-rpm speed=5", `term "speed": expected rate, burst, limit or window`},
		{"override set alice user-rpm burst=0", "expected a whole number from 1"},
		{"override set alice user-rpm rate=1/s --for 1h --until 2027-01-01T00:00:00Z", "--until and --for can't be used together"},
		{"block alice --for 10ms", "a second or more"},
		{"block alice --for=-1d", "a second or more"},
		{"policy rollback x", "version"},
		{"policy import nginx x", "nginx"},
		{"serve --log-level loud", "--log-level"},
		{"serve --config /none/such.yaml", "read --config"},
	}
	for _, r := range rows {
		weir(t, strings.Fields(r.args)...).want(t, exitUsage, "weir: ", r.words)
	}
}

func TestHelpOfEveryCommandHasExamples(t *testing.T) {
	t.Parallel()
	for _, command := range []string{
		"dev", "serve", "check", "members", "home", "limits", "block", "unblock", "reset",
		"override set", "override unset", "override list", "policy check", "policy test", "policy diff", "policy apply", "policy show",
		"policy history", "policy rollback", "policy import envoy",
		"members remove", "events tail", "events dead list", "events dead redeliver", "events forget", "ledger status", "ledger entries", "ledger snapshot", "ledger restore", "ledger recover",
		"credits open", "credits set", "credits grant", "credits void", "credits debit", "credits hold", "credits extend", "credits capture",
		"credits release", "credits refund", "credits adjust", "credits balance", "credits history",
	} {
		weir(t, append(strings.Fields(command), "-h")...).want(t, exitOK, "Usage: weir "+command, "Examples:", "\n    weir "+command)
	}
	weir(t, "--help").want(t, exitOK, "Usage: weir <command>", "weir dev", "  credits balance          Show", "$WEIR_ADDR")
	weir(t, "demo", "-h").want(t, exitOK, "kill -9", "Exit code: 0")
	weir(t, "serve", "-h").want(t, exitOK, "--name", "--data-dir", `--http-addr="127.0.0.1:8080"`, `--grpc-addr="127.0.0.1:8081"`,
		`--gossip-addr="127.0.0.1:7946"`, `--peer-addr="127.0.0.1:7947"`, "--advertise", "--join", "--bootstrap-expect=N", "--voter",
		"--zone", "--policy=FILE", "--drain-timeout", "--webhooks=FILE", "--buckets-max=N", "(4194304)", "WEIR_DATA_DIR",
		"--voters", "--weight=N", "--lease-duration", "$WEIR_LEASE_DURATION", "--lease-renewal", "--lease-margin")
}

func TestVersionPrintsTextOrJSON(t *testing.T) {
	t.Parallel()
	weir(t, "version").want(t, exitOK, "weir ", "go1.")
	var b build
	if err := json.Unmarshal([]byte(weir(t, "version", "-o", "json").out), &b); err != nil || b.Version == "" || b.Platform == "" {
		t.Errorf("version as JSON: %+v, %v", b, err)
	}
}

func TestCheckPrintsTheDecisionAndExitsByIt(t *testing.T) {
	t.Parallel()
	asked := `POST /v1/check {"domain":"demo","attributes":{"user":"alice"},"mode":"CONSUME"}`
	addr := listen(t, exchange{asked, 200, `{"verdict":"ALLOW","reason":"OK_CREDIT","sources":[` +
		`{"source":"CREDIT","meter":"requests","amount":1,"credits_micros":10000,"grant":"g1"}],` +
		`"limits":[{"name":"user-rpm","limit":5,"remaining":0,"reset_ms":61400}],"policy_version":3,"home":"n2","epoch":7}`})
	weir(t, addr, "check", "user=alice").wantOut(t, exitOK, `ALLOW   OK_CREDIT
source  1 requests from CREDIT for 0.01 credits, grant g1
limit   user-rpm 5: 0 left, full in 1m1s
home    n2, epoch 7, policy 3
`)
	denial := `{"verdict":"DENY","reason":"CREDITS_EXHAUSTED","message":"Nothing is left.","remedy":"buy","retry_after_ms":1500,` +
		`"policy_version":3,"home":"n2","epoch":7,"explain":[{"rule":"user-rpm","result":"refused","detail":"0 left"}]}`
	weir(t, listen(t, exchange{asked, 402, denial}), "check", "demo", "user=alice").wantOut(t, exitDenied, `DENY     CREDITS_EXHAUSTED
message  Nothing is left.
remedy   buy
retry    after 1.5s
rule     user-rpm: refused  0 left
home     n2, epoch 7, policy 3
`)
	var d client.Decision
	o := weir(t, listen(t, exchange{asked, 402, denial}), "check", "user=alice", "-o", "json")
	if err := json.Unmarshal([]byte(o.out), &d); err != nil || d.Reason != "CREDITS_EXHAUSTED" || d.Status != 402 || o.code != exitDenied {
		t.Errorf("exit code %d, %+v, %v", o.code, d, err)
	}
}

func TestCheckSendsItsFlags(t *testing.T) {
	t.Parallel()
	addr := listen(t, exchange{
		`POST /v1/check {"domain":"llm","attributes":{"model":"large","user":"a=b"},"cost":{"requests":1,"tokens":500},` +
			`"idempotency_key":"K","ticket":"T","max_wait_ms":2000,"mode":"PEEK","explain":true}`, 202,
		`{"verdict":"QUEUE","reason":"QUEUED","ticket":"T2","wait_ms":900,"degrade":{"model":"small"},"reservation":"r-1"}`,
	})
	weir(t, "check", "llm", "user=a=b", "model=large", "--cost", "requests=1,tokens=500", "--mode", "peek", "--explain",
		"--key", "K", "--max-wait", "2s", "--ticket", "T", addr).
		want(t, exitDenied, "QUEUE", "T2, wait 900ms", "model=small", "r-1", "home      -, epoch 0")
}

func TestNoDecisionExitsWith2AndSaysWhatToDo(t *testing.T) {
	t.Parallel()
	ports, held, err := freePorts(1)
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	nobody := loopback(ports[0])
	weir(t, "check", "user=alice", "--addr", nobody).want(t, exitFailed, "weir: no decision", nobody, "is a node running there?", "weir dev")
	asked := `POST /v1/check {"domain":"nope","attributes":{"user":"alice"},"mode":"CONSUME"}`
	addr := listen(t, exchange{asked, 400, `{"status":400,"detail":"unknown domain nope"}`})
	weir(t, "check", "nope", "user=alice", addr).want(t, exitFailed, "status 400: unknown domain nope")
	addr = listen(t, exchange{asked, 200, `{"verdict":"ALLOW","reason":"OK"}`})
	weir(t, "check", "nope", "user=alice", strings.Replace(addr, "=", "="+nobody+",", 1)).want(t, exitOK, "ALLOW")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if code := run(ctx, []string{"check", "user=a", addr}, io.Discard, io.Discard); code != exitFailed {
		t.Errorf("interrupted: exit code %d, want %d", code, exitFailed)
	}
}

func TestAddressesComeFromTheEnvironment(t *testing.T) {
	addr := listen(t, exchange{`GET /v1/accounts/alice`, 200, `{"id":"alice","balance_micros":20000}`})
	t.Setenv("WEIR_ADDR", strings.TrimPrefix(addr, "--addr="))
	weir(t, "credits", "balance", "alice").want(t, exitOK, "balance  0.02")
}

// twoNodes is a view in which n2 is the home of everything and n1 the deputy.
func twoNodes(t *testing.T) exchange {
	t.Helper()
	left := int64(1900)
	v := client.View{
		Epoch: 7, Cluster: "c1", Leader: "n1", PolicyVersion: 3, Hash: "xxhash64", Partitions: ring.Partitions,
		Members: []client.Member{
			{Name: "n1", HTTP: "h1:1", GRPC: "g1:1", Peer: "p1:1", Standing: "steady", Alive: true, Voter: true, Weight: 1, Arriving: 12, Epoch: 7, Version: "v1", LeaseLeftMS: &left},
			{Name: "n2", HTTP: "h2:1", GRPC: "g2:1", Peer: "p2:1", Zone: "b", Standing: "absent", Weight: 3},
		},
		Homes: make([]uint16, ring.Partitions), Deputies: make([]uint16, ring.Partitions),
	}
	for i := range v.Homes {
		v.Homes[i] = 1
	}
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return exchange{"GET /v1/view", 200, string(text)}
}

func TestMembersPrintTheView(t *testing.T) {
	t.Parallel()
	weir(t, "members", listen(t, twoNodes(t))).wantOut(t, exitOK, `cluster c1, epoch 7, leader n1, policy 3
NAME  STATE   ALIVE  VOTER   ZONE  WEIGHT  HOMES  DEPUTY  COMING  LEASE  EPOCH  VERSION  HTTP  GRPC  PEER
n1    steady  yes    leader  -     1       0      4096    12      1.9s   7      v1       h1:1  g1:1  p1:1
n2    absent  no     no      b     3       4096   0       0       -      0      -        h2:1  g2:1  p2:1
`)
	var r roster
	o := weir(t, "members", "list", listen(t, twoNodes(t)), "-o", "json")
	if err := json.Unmarshal([]byte(o.out), &r); err != nil || o.code != exitOK || len(r.Members) != 2 || r.Members[0].Deputy != 4096 ||
		!r.Members[0].Leader || r.Members[1].State != "absent" || *r.Members[0].LeaseLeftMS != 1900 || strings.Contains(o.out, "lease_left_ms\": null") {
		t.Errorf("members as JSON: %+v, %v", o, err)
	}
}

func TestAMembersStateIsTheOneThatMattersMost(t *testing.T) {
	t.Parallel()
	for _, r := range []struct {
		standing       string
		alive, joining bool
		want           string
	}{
		{"steady", true, false, "steady"},
		{"steady", true, true, "joining"},
		{"steady", false, true, "silent"},
		{"leaving", true, false, "leaving"},
		{"leaving", false, false, "silent"},
		{"absent", false, false, "absent"},
		{"absent", true, true, "absent"},
	} {
		if got := (client.Member{Standing: r.standing, Alive: r.alive, Joining: r.joining}).State(); got != r.want {
			t.Errorf("%+v: state %s", r, got)
		}
	}
}

func TestMembersRemoveSaysWhatHappened(t *testing.T) {
	t.Parallel()
	const asked = "DELETE /v1/members/n3"
	weir(t, "members", "remove", "n3", listen(t, exchange{asked, 200, `{"removed":"n3"}`})).wantOut(t, exitOK, "n3 is off the roster\n")
	rows := []struct {
		status int
		words  string
	}{
		{404, "nothing to remove"}, {409, "not removed"}, {503, "perhaps removed"},
	}
	for _, r := range rows {
		weir(t, "members", "remove", "n3", listen(t, exchange{asked, r.status, `{"detail":"why"}`})).want(t, exitFailed, r.words, "why")
	}
}

func TestHomePrintsWhoDecides(t *testing.T) {
	t.Parallel()
	const asked = "GET /v1/domains/llm/accounts/alice/home"
	answer := `{"partition":9,"home":{"name":"n2","http":"h2:1","grpc":"g2:1"},"deputy":{"name":"n1","http":"h1:1","grpc":"g1:1"},"next":null,"since":5,"epoch":7}`
	weir(t, "home", "alice", "--domain", "llm", listen(t, exchange{asked, 200, answer})).wantOut(t, exitOK, `account  alice in llm, partition 9
home     n2 (http h2:1)
deputy   n1 (http h1:1)
epoch    7, since 5
`)
	moving := strings.Replace(answer, `"next":null`, `"next":{"name":"n3","http":"","grpc":""}`, 1)
	weir(t, "home", "alice", "--domain", "llm", listen(t, exchange{asked, 200, moving})).want(t, exitOK, "next     n3 (http -)")
	weir(t, "home", "alice", "--domain", "llm", listen(t, exchange{asked, 200, `{"partition":9,"epoch":7}`})).
		want(t, exitFailed, "partition 9 has no home in epoch 7")
	weir(t, "home", "alice", "--domain", "llm", listen(t, exchange{asked, 400, `{"detail":"did you mean lml?"}`})).want(t, exitFailed, "no home", "did you mean lml?")
	var h rest.Home
	o := weir(t, "home", "alice", "--domain", "llm", listen(t, exchange{asked, 200, answer}), "-o", "json")
	if err := json.Unmarshal([]byte(o.out), &h); err != nil || h.Home.Name != "n2" || h.Next != nil {
		t.Errorf("home as JSON: %+v, %v", h, err)
	}
}

func TestPolicyCommands(t *testing.T) {
	t.Parallel()
	text := "version: 1\n"
	path := file(t, "p.yaml", text)
	addr := listen(t, exchange{"GET /v1/policy", 200, text})
	if o := weir(t, "policy", "show", addr); o != (outcome{exitOK, text, "version 3\n"}) {
		t.Errorf("policy show: %+v", o)
	}
	weir(t, "policy", "show", addr, "-o", "json").wantOut(t, exitOK, "{\n  \"version\": 3,\n  \"text\": \"version: 1\\n\"\n}\n")
	addr = listen(t, exchange{"PUT /v1/policy version: 1", 200, `{"version":4}`})
	weir(t, "policy", "apply", path, "--wait=0s", addr).want(t, exitOK, "in force as version 4")
	addr = listen(t, exchange{"PUT /v1/policy version: 1", 400, `{"detail":"no","errors":[{"file":"x","line":1,"column":2,"message":"no domains"},{"file":"x","line":3,"column":4,"message":"bad"}]}`})
	weir(t, "policy", "apply", path, addr).want(t, exitFailed, path+":1:2: no domains\n"+path+":3:4: bad")
	addr = listen(t, exchange{"PUT /v1/policy version: 1", 412, `{"detail":"version 5 is in force"}`})
	weir(t, "policy", "apply", path, "--if-match", "4", addr).want(t, exitFailed, "status 412: version 5 is in force")

	weir(t, "policy", "check", file(t, "demo.yaml", string(demoPolicy))).want(t, exitOK, "demo.yaml is a policy")
	bad := file(t, "bad.yaml", "version: 1\ndomains:\n  demo: {acount: [user]}\n")
	weir(t, "policy", "check", bad).want(t, exitFailed, bad+":3:")
	var f checkedFile
	o := weir(t, "policy", "check", bad, "-o", "json")
	if err := json.Unmarshal([]byte(o.out), &f); err != nil || o.code != exitFailed || f.OK || f.File != bad || len(f.Mistakes) != 2 ||
		f.Mistakes[1].File != bad || f.Mistakes[1].Line != 3 || f.Mistakes[1].Column != 10 || !strings.Contains(f.Mistakes[1].Message, "did you mean `account`?") {
		t.Errorf("mistakes as JSON: %+v, %+v, %v", o, f, err)
	}
	weir(t, "policy", "check", "/none/such.yaml").want(t, exitFailed, "read the policy")
}
