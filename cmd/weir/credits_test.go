package main

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/weir-cluster/weir/client"
)

const written = `{"outcome":"done","account":"alice","seq":4,"amount_micros":50000,"balance_after_micros":70000,` +
	`"parts":[{"kind":"promo","grant":"g","amount_micros":50000}],"index":9,"term":2,"replayed":true}`

// Each command sends the documented request, whatever its flags.
func TestCreditsCommandsSendTheirFlags(t *testing.T) {
	t.Parallel()
	for _, r := range []struct{ args, asked string }{
		{
			"open alice --plan free --label a=b --no-use-credits --overdraft 1.5 --blocked",
			`POST /v1/accounts {"id":"alice","plan":"free","labels":{"a":"b"},"use_credits":false,"overdraft_micros":1500000,"blocked":true}`,
		},
		{"set alice --plan= --overdraft 0", `PATCH /v1/accounts/alice {"plan":"","overdraft_micros":0}`},
		{"set alice --label a=b,c=d --use-credits --no-blocked", `PATCH /v1/accounts/alice {"labels":{"a":"b","c":"d"},"use_credits":true,"blocked":false}`},
		{"set alice --unlabel", `PATCH /v1/accounts/alice {"labels":{}}`},
		{
			"grant alice promo 0.05 --id g --priority 2 --expires 2027-01-31T00:00:00Z",
			`POST /v1/accounts/alice/grants {"id":"g","kind":"promo","amount_micros":50000,"priority":2,"expires":"2027-01-31T00:00:00Z"}`,
		},
		{
			"grant alice included 100 --every month --zone Europe/Berlin --rollover 25 --applies-to model=large",
			`POST /v1/accounts/alice/grants {"kind":"included","amount_micros":100000000,"every":"month","zone":"Europe/Berlin",` +
				`"rollover_micros":25000000,"applies_to":{"model":"large"}}`,
		},
		{"void alice g/1 --memo m", `DELETE /v1/grants/g/1?account=alice&memo=m`},
		{
			"debit alice 3 --order credit,promo --memo m --attribute model=large --overshoot deny",
			`POST /v1/accounts/alice/debits {"amount_micros":3000000,"order":["credit","promo"],"memo":"m","overshoot":"deny","attributes":{"model":"large"}}`,
		},
		{"debit alice 3", `POST /v1/accounts/alice/debits {"amount_micros":3000000,"overshoot":"cap"}`},
		{
			"hold alice 2 --for 1h --partial --order credit --on-expire capture --late reject --memo m",
			`POST /v1/accounts/alice/holds {"amount_micros":2000000,"ttl_ms":3600000,"partial":true,"order":["credit"],"on_expire":"capture","late":"reject","memo":"m"}`,
		},
		{"extend job:1 0.5", `POST /v1/holds/job:1:extend {"amount_micros":500000}`},
		{"extend job:1 --for 7d", `POST /v1/holds/job:1:extend {"ttl_ms":604800000}`},
		{"capture job 1.25 --final --overshoot overdraw", `POST /v1/holds/job:capture {"amount_micros":1250000,"final":true,"overshoot":"overdraw"}`},
		{"release job", `POST /v1/holds/job:release {}`},
		{"refund invoice-17", `POST /v1/charges/invoice-17:refund {}`},
		{"refund invoice-17 0.5", `POST /v1/charges/invoice-17:refund {"amount_micros":500000}`},
		{"adjust alice --take 0.25 --kind credit --memo m", `POST /v1/accounts/alice/adjustments {"amount_micros":-250000,"kind":"credit","memo":"m"}`},
	} {
		t.Run(r.args, func(t *testing.T) {
			t.Parallel()
			addr, asked := listenOnce(t, http.StatusOK, written)
			weir(t, append(append([]string{"credits"}, strings.Fields(r.args)...), addr)...).want(t, exitOK, "done")
			if id, err := uuid.Parse(asked.key); err != nil || id.Version() != 7 {
				t.Errorf("the key %q is no UUIDv7: %v", asked.key, err)
			}
			if asked.text != r.asked {
				t.Errorf("asked %s\nwant  %s", asked.text, r.asked)
			}
		})
	}
}

// asked is what a node was asked, and with which key.
type asked struct{ text, key string }

// listenOnce starts a node that gives one answer and keeps what it was asked.
func listenOnce(t *testing.T, status int, answer string) (addr string, last *asked) {
	t.Helper()
	last = &asked{}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		path := r.URL.Path
		if r.URL.RawQuery != "" {
			path += "?" + r.URL.RawQuery
		}
		*last = asked{strings.TrimSpace(r.Method + " " + path + " " + string(body)), r.Header.Get("Idempotency-Key")}
		w.Header().Set("Content-Type", "application/json")
		if status >= http.StatusBadRequest {
			w.Header().Set("Content-Type", "application/problem+json")
		}
		w.WriteHeader(status)
		io.WriteString(w, answer)
	}))
	t.Cleanup(s.Close)
	return "--addr=" + s.URL, last
}

func TestAReceiptTellsAllThatHappened(t *testing.T) {
	t.Parallel()
	addr, _ := listenOnce(t, http.StatusOK, written)
	weir(t, "credits", "grant", "alice", "promo", "0.05", "--id", "g", "--key", "k", addr).wantOut(t, exitOK, `done     alice (a repetition: this is the first receipt)
amount   0.05
part     0.05 promo, grant g
balance  0.07
seq      4, index 9, term 2
`)
	addr, _ = listenOnce(t, http.StatusOK, `{"outcome":"done","account":"alice","seq":9,"amount_micros":3000000,"forgiven_micros":500000,"expired_micros":1,"late":true,`+
		`"hold":{"id":"job","state":"captured","captured_micros":3000000,"refunded_micros":1000000},"index":9,"term":2}`)
	weir(t, "credits", "capture", "job", "3.5", addr).wantOut(t, exitOK, `done      alice
amount    3
forgiven  0.5, there was no credit for it
expired   0.000001 of it: the grant has ended meanwhile
hold      job
state     captured: 3 captured, 0 held, captured after its end
refunded  1
balance   0
seq       9, index 9, term 2
`)
	addr, _ = listenOnce(t, http.StatusOK, `{"outcome":"done","account":"alice","hold":{"id":"job","state":"open","held_micros":4000000,"expires_in_ms":900000}}`)
	weir(t, "credits", "hold", "alice", "4", "--key", "job", addr).want(t, exitOK, "open: 0 captured, 4 held, ends in 15m0s")
}

// A refusal exits with 1; an error says whether something may have been written, and how to find out.
func TestAWriteThatWasNotDoneSaysWhatToDo(t *testing.T) {
	t.Parallel()
	for _, r := range []struct {
		name   string
		status int
		answer string
		code   int
		words  string
		again  bool
	}{
		{"refused", 402, `{"status":402,"detail":"too little","outcome":"insufficient","account":"alice"}`, exitDenied, "too little", false},
		{"an error of the caller", 422, `{"detail":"another debit","reason":"IDEMPOTENCY_CONFLICT"}`, exitFailed, "not written", false},
		{"surely not applied", 503, `{"detail":"no leader","reason":"NOT_LEADER"}`, exitFailed, "not written", false},
		{"full", 503, `{"detail":"1000000 keys","reason":"FULL"}`, exitFailed, "not written", false},
		{"unknown", 503, `{"detail":"leadership lost","reason":"UNKNOWN"}`, exitFailed, "perhaps written", true},
		{"not in time", 503, `{"detail":"deadline","reason":"TIMEOUT"}`, exitFailed, "perhaps written", true},
		{"no problem of ours", 502, `bad gateway`, exitFailed, "perhaps written", true},
	} {
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			addr, asked := listenOnce(t, r.status, r.answer)
			o := weir(t, "credits", "debit", "alice", "3", "--memo", "it's late", addr)
			o.want(t, r.code, r.words)
			command := "repeat it and it counts once: weir credits debit alice 3 --memo 'it'\\''s late' " + addr + " --key " + asked.key
			if strings.Contains(o.err, command) != r.again {
				t.Errorf("stderr %q, want it to say %q: %t", o.err, command, r.again)
			}
			weir(t, "credits", "debit", "alice", "3", "--key", "K7", addr).want(t, r.code, r.words)
			if asked.key != "K7" {
				t.Errorf("sent the key %q, want K7", asked.key)
			}
		})
	}
	addr, _ := listenOnce(t, 503, `{"reason":"UNKNOWN"}`)
	if o := weir(t, "credits", "debit", "alice", "3", "--key", "K7", addr); strings.Count(o.err, "--key") != 1 {
		t.Errorf("it repeats the key: %s", o.err)
	}
}

func TestBalanceShowsTheAccount(t *testing.T) {
	t.Parallel()
	addr, asked := listenOnce(t, http.StatusOK, `{"id":"alice","plan":"free","blocked":true,"balance_micros":-1,"held_micros":2000000,"open_holds":1,`+
		`"overdraft_micros":1500000,"forgiven_micros":3,"by_kind":{"credit":0,"included":5,"promo":7},`+
		`"grants":[{"id":"g","kind":"promo","amount_micros":50000,"remaining_micros":7,"held_micros":2000000,"expires":"2027-01-31T00:00:00Z","applies_to":{"b":"2","a":"1"}},`+
		`{"id":"old","kind":"promo","amount_micros":1,"voided":true}],`+
		`"recurring":[{"id":"plan","kind":"included","amount_micros":9000000,"every":"month","zone":"Europe/Berlin","rollover_micros":1000000}],"seq":4,"index":9,"term":2}`)
	weir(t, "credits", "balance", "alice", addr).wantOut(t, exitOK, `account    alice, plan free, blocked
balance    -0.000001
included   0.000005
promo      0.000007
credit     0
held       2 by open holds: 1
overdraft  1.5
forgiven   0.000003 so far
grant      g promo: 0.000007 of 0.05 left, 2 held, until 2027-01-31T00:00:00Z, for a=1,b=2
grant      old promo: 0 of 0.000001 left, voided
recurring  plan included: 9 every month, zone Europe/Berlin, rollover 1
seq        4, index 9, term 2
`)
	weir(t, "credits", "balance", "alice", "--max-staleness", "2s", "--min-index", "7", addr).want(t, exitOK, "balance")
	if want := "GET /v1/accounts/alice?consistency=bounded&max_staleness_ms=2000&min_index=7"; asked.text != want {
		t.Errorf("asked %s\nwant  %s", asked.text, want)
	}
}

func TestHistoryListsTheNewestFirstInPages(t *testing.T) {
	t.Parallel()
	addr, asked := listenOnce(t, http.StatusOK, `{"next":"12.7","entries":[`+
		`{"seq":13,"event":90,"movement":"capture","idempotency_key":"c","hold":"job","postings":[{"book":"held","amount_micros":-2},{"book":"available","grant":"g","amount_micros":-1},{"book":"spent","amount_micros":3}],`+
		`"balance_after_micros":7,"forgiven_micros":4,"time":"2026-11-23T10:00:00Z"},`+
		`{"seq":12,"event":80,"movement":"grant","idempotency_key":"g","grant":"g","memo":"hello","postings":[{"book":"issued","amount_micros":-8},{"book":"available","grant":"g","amount_micros":8}],"balance_after_micros":8,"time":"2026-11-23T09:00:00Z"}]}`)
	weir(t, "credits", "history", "alice", addr).wantOut(t, exitOK, ""+
		"SEQ  TIME                  MOVEMENT  CHANGE     BALANCE   FORGIVEN  OF        KEY  MEMO   \n"+
		"13   2026-11-23T10:00:00Z  capture   -0.000001  0.000007  0.000004  hold job  c           \n"+
		"12   2026-11-23T09:00:00Z  grant     +0.000008  0.000008  -         -         g    hello  \n"+
		"more with --cursor 12.7\n")
	if want := "GET /v1/accounts/alice/entries?limit=20&order=newest"; asked.text != want {
		t.Errorf("asked %s\nwant  %s", asked.text, want)
	}
	var h client.History
	o := weir(t, "credits", "history", "alice", "--cursor", "12.7", "--limit", "2", "-o", "json", addr)
	if err := json.Unmarshal([]byte(o.out), &h); err != nil || h.Next != "12.7" || len(h.Entries) != 2 || asked.text != "GET /v1/accounts/alice/entries?cursor=12.7&limit=2" {
		t.Errorf("asked %s, %+v, %v", asked.text, h, err)
	}
	addr, _ = listenOnce(t, http.StatusOK, `{"entries":[]}`)
	weir(t, "credits", "history", "alice", addr).wantOut(t, exitOK, "nothing more\n")
}
