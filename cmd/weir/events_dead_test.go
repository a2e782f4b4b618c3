package main

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weir-cluster/weir/client"
	"github.com/weir-cluster/weir/node"
)

func TestDeadLettersOfAllNodesAreListedAndSentAgain(t *testing.T) {
	t.Parallel()
	later := `{"id":3,"webhook":"billing","seq":9,"at":"2026-11-23T11:00:00Z","reason":"dial:\n refused","event":{"id":"9"}}`
	older := `{"id":4,"webhook":"audit","seq":7,"at":"2026-11-23T10:00:00Z","status":422,"reason":"no such user","event":{"id":"7"}}`
	holding := func(letter string, more ...exchange) client.Member {
		addr := listenAll(t, append(more, exchange{"GET /v1/webhooks/dead", 200, `{"node":"x","letters":[` + letter + `]}`})...)
		return client.Member{Name: "n1", HTTP: strings.TrimPrefix(addr, "--addr=http://")}
	}
	one := holding(later, exchange{"POST /v1/webhooks/dead/3:redeliver", 200, later})
	two := holding(older, exchange{"POST /v1/webhooks/dead/4:redeliver", 502, `{"detail":"the endpoint answered 422: no","reason":"ENDPOINT_REFUSED"}`})
	two.Name = "n2"
	of := func(members ...client.Member) string {
		v := twoNodes(t)
		return listen(t, exchange{v.asked, 200, withMembers(t, v.answer, members)})
	}
	weir(t, "events", "dead", of(one, two)).wantOut(t, exitOK, ""+
		"LETTER  WEBHOOK  EVENT  TIME                  STATUS  REASON         \n"+
		"n2/4    audit    7      2026-11-23T10:00:00Z  422     no such user   \n"+
		"n1/3    billing  9      2026-11-23T11:00:00Z  -       dial: refused  \n")
	weir(t, "events", "dead", "list", "--webhook", "audit", "-o", "json", of(one, two)).want(t, exitOK, `"node": "n2"`, `"seq": 7`)
	weir(t, "events", "dead", of(one, client.Member{Name: "n3", HTTP: "127.0.0.1:1"})).want(t, exitFailed, "n1/3", "the dead letters of n3 are not known")

	weir(t, "events", "dead", "redeliver", "n1/3", of(one, two)).wantOut(t, exitOK, "n1/3  event 9 was taken by billing  \n")
	weir(t, "events", "dead", "redeliver", "--all", of(one, two)).want(t, exitFailed, "n1/3  event 9 was taken", "n2/4  not taken", "answered 422", "1 of 2 were not taken")
	weir(t, "events", "dead", "redeliver", "--all", "--webhook", "billing", of(one, two)).wantOut(t, exitOK, "n1/3  event 9 was taken by billing  \n")
	weir(t, "events", "dead", "redeliver", "n9/3", "n1/x", of(one, two)).want(t, exitFailed, "n9/3", "expected NODE/ID", "2 of 2")
	weir(t, "events", "dead", "redeliver", of(one)).want(t, exitUsage, "NODE/ID, or --all")
}

const hookSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

// hooksOf is what `weir serve` makes of a file of webhooks that lies beside two secrets.
func hooksOf(t *testing.T, text string) ([]node.Webhook, error) {
	t.Helper()
	path := file(t, "webhooks.yaml", text)
	for name, secret := range map[string]string{"good": hookSecret + "\n", "short": "whsec_c2hvcnQ=", "large": strings.Repeat("x", 5000)} {
		if err := os.WriteFile(filepath.Join(filepath.Dir(path), name), []byte(secret), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c, err := parsed(t, "--name", "n1", "--webhooks", path)
	if err != nil {
		t.Fatal(err)
	}
	n, err := c.node(io.Discard)
	return n.Webhooks, err
}

func TestTheFileOfWebhooksIsRead(t *testing.T) {
	t.Parallel()
	all, err := hooksOf(t, `
# two of them
webhooks:
  - name: billing
    url: https://billing.example.com/weir
    secret-files: [good]
    accounts: [acme, umbrella]
    types: [debit, refund]
    batch: 50
    timeout: 3s
    longest-wait: 1m
    give-up: 24h
  - {name: audit, url: "http://10.0.0.7/", allow-http: true, secret-files: [good, good]}
`)
	if err != nil || len(all) != 2 {
		t.Fatalf("%+v, %v", all, err)
	}
	if b := all[0]; b.Name != "billing" || len(b.Accounts) != 2 || b.Types[1] != "refund" || b.Batch != 50 || b.Timeout != 3*time.Second ||
		b.Longest != time.Minute || b.GiveUp != 24*time.Hour || b.Secrets[0] != hookSecret {
		t.Errorf("%+v", b)
	}
	if a := all[1]; a.URL != "http://10.0.0.7/" || !a.AllowHTTP || len(a.Secrets) != 2 {
		t.Errorf("%+v", a)
	}
}

func TestWhatIsWrongWithAWebhookIsSaidAtTheStart(t *testing.T) {
	t.Parallel()
	for entry, words := range map[string]string{
		`{url: "https://a/", secret-files: [good]}`:                                                                     "a webhook's name of 0 bytes",
		`{name: b, url: "a.example.com", secret-files: [good]}`:                                                         `webhook "b": its URL must be https://HOST`,
		`{name: b, url: "ftp://a/", secret-files: [good]}`:                                                              "its URL must be https://HOST",
		`{name: b, url: "http://a/", secret-files: [good]}`:                                                             "its URL is http, so that anybody on the way can read the events",
		`{name: b, url: "https://me:word@a/", secret-files: [good]}`:                                                    "its URL has a user",
		`{name: b, url: "https://a/"}`:                                                                                  "0 secrets, expected 1 to 4",
		`{name: b, url: "https://a/", secret-files: [none]}`:                                                            `webhook "b": read its secret: open`,
		`{name: b, url: "https://a/", secret-files: [short]}`:                                                           "expected whsec_ and the base64 of 24 to 64 random bytes",
		`{name: b, url: "https://a/", secret-files: [large]}`:                                                           "5000 bytes, at most 4096 are read",
		`{name: b, url: "https://a/", secret-files: [good], types: [explode]}`:                                          `movement "explode"`,
		`{name: b, url: "https://a/", secret-files: [good], accounts: [""]}`:                                            "an account's id has 1 to 256 bytes",
		`{name: b, url: "https://a/", secret-files: [good], batch: 300}`:                                                "a batch of 300, expected 1 to 256",
		`{name: b, url: "https://a/", secret-files: [good], batch: many}`:                                               "line 2: cannot unmarshal",
		`{name: b, url: "https://a/", secret-files: [good], timeout: 1m}`:                                               "a timeout of 1m0s, at most 20s",
		`{name: b, url: "https://a/", secret-files: [good], give-up: -1s}`:                                              "its times must be positive",
		`{name: b, url: "https://a/", secret-files: [good], secret: hush}`:                                              "line 2: field secret is unknown",
		"{name: b, url: \"https://a/\", secret-files: [good]}\nwebhook: []":                                             "line 3: field webhook is unknown",
		"{name: b, url: \"https://a/\", secret-files: [good]}\n - {name: b, url: \"https://b/\", secret-files: [good]}": `two webhooks are named "b"`,
	} {
		_, err := hooksOf(t, "webhooks:\n - "+entry)
		if !errors.Is(err, errUsage) || !strings.Contains(err.Error(), words) || strings.Contains(err.Error(), "word@") || strings.Contains(err.Error(), "struct {") {
			t.Errorf("%s:\n %v\nwant %s", entry, err, words)
		}
	}
	weir(t, "serve", "--name", "n1", "--webhooks", "/none/such.yaml").want(t, exitUsage, "read --webhooks")
}

// The example of the manual, against the example of the Standard Webhooks specification.
func TestTheManualsVerificationVerifies(t *testing.T) {
	t.Parallel()
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("no python3")
	}
	manual, err := os.ReadFile("../../docs/credits.md")
	if err != nil {
		t.Fatal(err)
	}
	_, example, _ := strings.Cut(string(manual), "```python\n")
	example, _, _ = strings.Cut(example, "```")
	script := example + `
time.time = lambda: 1614265330 + 200
good = {"webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek", "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,AAAA v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="}
body = b'{"test": 2432232314}'
print(verify("` + hookSecret + `\n", good, body), verify("` + hookSecret + `", good, body + b" "),
      verify("whsec_AAAA", good, body), verify("` + hookSecret + `", good | {"webhook-id": "x"}, body))
time.time = lambda: 1614265330 + 301
print(verify("` + hookSecret + `", good, body))
`
	out, err := exec.CommandContext(t.Context(), python, "-c", script).CombinedOutput()
	if string(out) != "True False False False\nFalse\n" {
		t.Errorf("%s, %v", out, err)
	}
}
