package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/weir-cluster/weir/client"
)

func eventLine(seq int, movement string) string {
	return fmt.Sprintf(`{"specversion":"1.0","id":"%d","type":"weir.ledger.%s","subject":"alice","time":"2026-11-23T10:00:00Z","data":{"seq":%d,"account":"alice",`+
		`"account_seq":%d,"movement":%q,"idempotency_key":"k%d","postings":[{"book":"available","grant":"g","amount_micros":-1000000},{"book":"spent","amount_micros":1000000}],`+
		`"balance_after_micros":2500000},"from_the_future":1}`, seq, movement, seq, seq-7, movement, seq)
}

// tailed is a node with events 8 and 9, in pages of one.
func tailed(t *testing.T) (addr string, asked *[]string) {
	t.Helper()
	asked = &[]string{}
	behind := true // the node has not heard of event 9 when it is first asked
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		*asked = append(*asked, r.URL.RequestURI())
		after := r.URL.Query().Get("after")
		switch {
		case r.URL.Path == "/v1/ledger/status":
			io.WriteString(w, `{"events":9}`)
		case after == "3":
			w.Header().Set("Content-Type", "application/problem+json")
			w.WriteHeader(http.StatusGone)
			io.WriteString(w, `{"detail":"the oldest event is 8","reason":"GONE"}`)
		case after == "7" || after == "0":
			w.Header().Set("X-Weir-Next", "8")
			io.WriteString(w, eventLine(8, "debit")+"\n")
		case after == "8" && !behind:
			w.Header().Set("X-Weir-Next", "9")
			io.WriteString(w, eventLine(9, "refund")+"\n")
		default:
			behind = false
			w.Header().Set("X-Weir-Next", after)
		}
	}))
	t.Cleanup(s.Close)
	return "--addr=" + s.URL, asked
}

func TestEventsTailGoesThroughThePages(t *testing.T) {
	t.Parallel()
	addr, asked := tailed(t)
	weir(t, "events", "tail", "--last", "2", addr).wantOut(t, exitOK, ""+
		"EVENT  TIME                  ACCOUNT  SEQ  MOVEMENT  CHANGE  BALANCE  OF  KEY  MEMO  \n"+
		"8      2026-11-23T10:00:00Z  alice    1    debit     -1      2.5      -   k8         \n"+
		"9      2026-11-23T10:00:00Z  alice    2    refund    -1      2.5      -   k9         \n")
	if got, want := strings.Join(*asked, " "), "/v1/ledger/status /v1/events?after=7 /v1/events?after=8 /v1/events?after=8 /v1/events?after=9"; got != want {
		t.Errorf("asked %s\nwant  %s", got, want)
	}
	*asked = nil
	weir(t, "events", "tail", "--after", "0", "--account", "alice", "--type", "debit,refund", "-o", "json", addr).
		wantOut(t, exitOK, eventLine(8, "debit")+"\n"+eventLine(9, "refund")+"\n")
	if want := "/v1/events?account=alice&after=0&types=debit%2Crefund"; (*asked)[0] != want {
		t.Errorf("asked %s\nwant  %s", (*asked)[0], want)
	}
	weir(t, "events", "tail", "--after", "3", addr).want(t, exitFailed, "the oldest event is 8", "begin later with --after")
	weir(t, "events", "tail", "--after", "9", addr).wantOut(t, exitOK, "")
}

// A stream that ends is asked for again after the last event that came, and an interruption is no error.
func TestEventsTailFollowsOverABrokenStream(t *testing.T) {
	t.Parallel()
	var asked []string
	ctx, interrupt := contextOf(t)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.URL.RequestURI())
		if len(asked) == 1 {
			io.WriteString(w, "\n"+eventLine(8, "debit")+"\n") // and the node goes away
			return
		}
		if len(asked) == 2 { // it is back, but not ready
			w.Header().Set("Content-Type", "application/problem+json")
			w.WriteHeader(http.StatusServiceUnavailable)
			io.WriteString(w, `{"detail":"starting","reason":"UNAVAILABLE"}`)
			return
		}
		io.WriteString(w, eventLine(9, "refund")+"\n")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}))
	defer s.Close()
	out := &until{text: eventLine(9, "refund") + "\n", then: interrupt}
	var complaint strings.Builder
	code := run(ctx, []string{"events", "tail", "--after", "7", "--follow", "-o", "json", "--addr", s.URL}, out, &complaint)
	outcome{code, out.String(), ""}.wantOut(t, exitOK, eventLine(8, "debit")+"\n"+eventLine(9, "refund")+"\n")
	if got := strings.Join(asked, " "); got != "/v1/events?after=7&follow=true /v1/events?after=8&follow=true /v1/events?after=8&follow=true" {
		t.Errorf("asked %s", got)
	}
	if !strings.Contains(complaint.String(), "the stream of events ended") || !strings.Contains(complaint.String(), "going on after 8") {
		t.Errorf("said %q", complaint.String())
	}
}

func TestLedgerStatusComparesTheVoters(t *testing.T) {
	t.Parallel()
	status := func(digest string, commands int) string {
		addr, _ := listenOnce(t, http.StatusOK, fmt.Sprintf(`{"accounts":2,"open_holds":1,"keys":7,"events":9,"commands":%d,"digest":%q,"index":%d,"term":3,"time":"2026-11-23T10:00:00Z",`+
			`"cursors":[{"name":"billing","seq":6},{"name":"warehouse","seq":9}],"journal":{"oldest":2,"newest":9,"bytes":1572864,"missing":%d}}`, commands, digest, 100+commands, commands-5))
		return strings.TrimPrefix(addr, "--addr=http://")
	}
	same, ahead, other := strings.Repeat("a", 64), strings.Repeat("b", 64), strings.Repeat("c", 64)
	of := func(members ...client.Member) string {
		v := twoNodes(t)
		return listen(t, exchange{v.asked, 200, withMembers(t, v.answer, members)})
	}
	one, two := client.Member{Name: "n1", HTTP: status(same, 5), Voter: true}, client.Member{Name: "n2", HTTP: status(same, 5), Voter: true}
	three := client.Member{Name: "n3", HTTP: status(ahead, 6), Voter: true}
	asks := client.Member{Name: "n4", HTTP: "127.0.0.1:1"} // no voter: it is not asked
	weir(t, "ledger", "status", of(one, two, three, asks)).wantOut(t, exitOK, ""+
		"cluster c1, leader n1\n"+
		"NODE       ROLE    INDEX  LAG  TERM  EVENTS  ACCOUNTS  HOLDS  KEYS  COMMANDS  DIGEST        TIME                  JOURNAL                  \n"+
		"n1         leader  105    1    3     9       2         1      7     5         aaaaaaaaaaaa  2026-11-23T10:00:00Z  2-9, 1.5 MiB             \n"+
		"n2         voter   105    1    3     9       2         1      7     5         aaaaaaaaaaaa  2026-11-23T10:00:00Z  2-9, 1.5 MiB             \n"+
		"n3         voter   106    0    3     9       2         1      7     6         bbbbbbbbbbbb  2026-11-23T10:00:00Z  2-9, 1.5 MiB, 1 missing  \n"+
		"CONSUMER   EVENT   LAG    \n"+
		"billing    6       3      \n"+
		"warehouse  9       0      \n")
	broken := client.Member{Name: "n3", HTTP: status(other, 5), Voter: true}
	weir(t, "ledger", "status", of(one, broken)).want(t, exitDenied, "n1 and n3 differ after 5 commands")
	gone := client.Member{Name: "n3", HTTP: "127.0.0.1:1", Voter: true}
	weir(t, "ledger", "status", of(one, gone)).want(t, exitFailed, "not every voter answered", "no node could be reached")
}

// until is a standard output that does something once it has said a text.
type until struct {
	strings.Builder
	text string
	then func()
}

func (u *until) Write(b []byte) (int, error) {
	n, err := u.Builder.Write(b)
	if strings.HasSuffix(u.String(), u.text) {
		u.then()
	}
	return n, err
}

func contextOf(t *testing.T) (context.Context, context.CancelFunc) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	return ctx, cancel
}

// withMembers is a view with other members.
func withMembers(t *testing.T, view string, members []client.Member) string {
	t.Helper()
	var v client.View
	if err := json.Unmarshal([]byte(view), &v); err != nil {
		t.Fatal(err)
	}
	v.Members = members
	for i := range v.Homes {
		v.Homes[i] = 0
	}
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
