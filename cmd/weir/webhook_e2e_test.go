package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weir-cluster/weir/client"
)

// endpoint is a consumer of a webhook, which can be in a bad mood, or down. It knows the secret, and of Weir what the manual says.
type endpoint struct {
	t       *testing.T
	address string

	mu     sync.Mutex // guards what follows
	server *http.Server
	mood   string          // fails, hangs, refuses; empty: takes everything
	seen   []uint64        // events taken, each once, in the order in which they first came
	keys   map[string]int  // of the debits among them
	tries  map[string]int  // by mood
	refuse map[uint64]bool // answered with 422 in any mood
}

func openEndpoint(t *testing.T) *endpoint {
	t.Helper()
	e := &endpoint{t: t, address: "127.0.0.1:0", keys: map[string]int{}, tries: map[string]int{}, refuse: map[uint64]bool{}}
	e.up()
	t.Cleanup(e.down)
	return e
}

func (e *endpoint) up() {
	e.t.Helper()
	l, err := net.Listen("tcp", e.address)
	if err != nil {
		e.t.Fatal(err)
	}
	e.address = l.Addr().String()
	s := &http.Server{Handler: e}
	e.mu.Lock()
	e.server = s
	e.mu.Unlock()
	go func() { _ = s.Serve(l) }()
}

func (e *endpoint) down() {
	e.mu.Lock()
	s := e.server
	e.mu.Unlock()
	_ = s.Close()
}

func (e *endpoint) feel(mood string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.mood = mood
}

func (e *endpoint) newest() uint64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.seen) == 0 {
		return 0
	}
	return e.seen[len(e.seen)-1]
}

// tried reports whether a delivery met a mood.
func (e *endpoint) tried(mood string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.tries[mood] > 0
}

// verified is what docs/credits.md shows, in Go.
func verified(secret string, h http.Header, body []byte) bool {
	key, _ := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_"))
	mac := hmac.New(sha256.New, key)
	fmt.Fprintf(mac, "%s.%s.%s", h.Get("webhook-id"), h.Get("webhook-timestamp"), body)
	want := "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
	at, err := strconv.ParseInt(h.Get("webhook-timestamp"), 10, 64)
	return err == nil && time.Since(time.Unix(at, 0)).Abs() < 5*time.Minute &&
		slices.ContainsFunc(strings.Fields(h.Get("webhook-signature")), func(s string) bool { return hmac.Equal([]byte(s), []byte(want)) })
}

// ServeHTTP takes an event, or does as the mood is.
func (e *endpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // whoever posted it is gone
	}
	if !verified(hookSecret, r.Header, body) {
		e.t.Errorf("a delivery is not signed: %v %s", r.Header, body)
	}
	var c client.Event
	if err := json.Unmarshal(body, &c); err != nil || c.ID != r.Header.Get("webhook-id") {
		e.t.Errorf("not an event: %v, %s", err, body)
	}
	e.mu.Lock()
	e.tries[e.mood]++
	mood, refused := e.mood, e.refuse[c.Data.Seq]
	e.mu.Unlock()
	switch {
	case refused:
		w.WriteHeader(http.StatusUnprocessableEntity)
		return
	case mood == "fails":
		w.WriteHeader(http.StatusInternalServerError)
		return
	case mood == "hangs":
		<-r.Context().Done()
		return
	}
	e.take(&c)
}

func (e *endpoint) take(c *client.Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if slices.Contains(e.seen, c.Data.Seq) {
		return // at least once
	}
	e.seen = append(e.seen, c.Data.Seq)
	if c.Data.Movement == "debit" {
		e.keys[c.Data.IdempotencyKey]++
	}
}

// spend debits until it is told to stop, each debit until it is answered, and returns how many were.
func (c *cluster) spend(t *testing.T, stop <-chan struct{}) (done int) {
	for ; ; done++ {
		select {
		case <-stop:
			return done
		case <-time.After(10 * time.Millisecond):
		}
		key := fmt.Sprint("spend-", done)
		for answered := false; !answered; {
			if c.ctx.Err() != nil {
				t.Error("the cluster's time is over")
				return done
			}
			r, err := c.clients[rand.IntN(len(c.clients))].Debit(c.ctx, key, "acme", client.Debit{AmountMicros: 1})
			answered = err == nil && !r.Refused()
		}
	}
}

// Nothing is missed, and all comes in order, whatever becomes of the endpoint and of the node that posts.
func TestAWebhookMissesNothingWhileItsEndpointAndNodesFail(t *testing.T) {
	t.Parallel()
	e := openEndpoint(t)
	path := file(t, "webhooks.yaml", fmt.Sprintf("webhooks:\n - {name: billing, url: 'http://%s/hook', allow-http: true, secret-files: [%s], timeout: 500ms, longest-wait: 1s}\n",
		e.address, file(t, "billing.secret", hookSecret)))
	c := startCluster(t, 3, "--webhooks", path)
	c.fund(t, 0, "acme", 1_000_000)
	stop, spent := make(chan struct{}), make(chan int)
	go func() { spent <- c.spend(t, stop) }()

	for _, mood := range []string{"fails", "hangs", "down", ""} {
		before := e.newest()
		c.until(t, "events come again", func() bool { return e.newest() > before+5 })
		if mood == "down" {
			e.down()
		} else {
			e.feel(mood)
			c.until(t, "a delivery meets the mood", func() bool { return e.tried(mood) })
		}
		time.Sleep(rand.N(700 * time.Millisecond)) // a random moment, that of the kill
		c.bounce(t, c.leader(t))
		if mood == "down" {
			e.up()
		}
		e.feel("")
	}
	close(stop)
	debits := <-spent
	e.caughtUp(t, c)

	e.mu.Lock()
	defer e.mu.Unlock()
	for i, seq := range e.seen {
		if seq != uint64(i+1) {
			t.Fatalf("event %d came where %d was due", seq, i+1)
		}
	}
	if len(e.keys) != debits || debits == 0 {
		t.Errorf("%d debits came, %d were made; tries %v", len(e.keys), debits, e.tries)
	}
	t.Logf("%d events, tries %v", len(e.seen), e.tries)
}

// bounce kills a node and starts it again, until it knows the cluster. It need not be ready: one that is lost often must wait before
// it is home again.
func (c *cluster) bounce(t *testing.T, i int) {
	t.Helper()
	endAll(t, c.nodes[i])
	if err := c.nodes[i].start(); err != nil {
		t.Fatal(err)
	}
	c.until(t, "the node is back", func() bool {
		_, err := c.clients[i].LedgerStatus(c.ctx, client.Read{})
		_, unseen := c.clients[i].View(c.ctx)
		return err == nil && unseen == nil
	})
}

// caughtUp waits until the endpoint has taken the last event, and until that is noted.
func (e *endpoint) caughtUp(t *testing.T, c *cluster) {
	t.Helper()
	c.until(t, "the endpoint has the last event", func() bool {
		s, err := c.clients[0].LedgerStatus(c.ctx, client.Read{})
		return err == nil && e.newest() == s.Events
	})
	c.until(t, "the cursor is noted", func() bool {
		s, err := c.clients[0].LedgerStatus(c.ctx, client.Read{})
		return err == nil && slices.Contains(s.Cursors, client.EventCursor{Name: "webhook/billing", Seq: s.Events})
	})
	c.weir(t, 0, "ledger", "status").want(t, exitOK, "JOURNAL", "webhook/billing")
}

// What an endpoint refuses for good is put aside, survives the node, and is sent again when somebody says so.
func TestDeadLettersSurviveTheNodeThatKeepsThem(t *testing.T) {
	t.Parallel()
	e := openEndpoint(t)
	e.refuse[2] = true
	path := file(t, "webhooks.yaml", fmt.Sprintf("webhooks:\n - {name: billing, url: 'http://%s/hook', allow-http: true, secret-files: [%s], timeout: 500ms, longest-wait: 1s}\n",
		e.address, file(t, "billing.secret", hookSecret)))
	c := startCluster(t, 1, "--webhooks", path)
	c.fund(t, 0, "acme", 1_000_000)
	c.fund(t, 0, "umbrella", 1_000_000)
	e.caughtUp(t, c)
	c.weir(t, 0, "events", "dead").want(t, exitOK, "n1/1", "billing", "422")
	endAll(t, c.nodes[0])
	c.again(t, c.nodes[0])
	c.weir(t, 0, "events", "dead", "redeliver", "--all").want(t, exitFailed, "1 of 1 were not taken", "answered 422")
	e.mu.Lock()
	e.refuse = nil
	e.mu.Unlock()
	c.weir(t, 0, "events", "dead", "redeliver", "n1/1").want(t, exitOK, "event 2 was taken by billing")
	c.weir(t, 0, "events", "dead").wantOut(t, exitOK, "LETTER  WEBHOOK  EVENT  TIME  STATUS  REASON  \n")
	c.weir(t, 0, "events", "forget", "webhook/billing").want(t, exitOK, "webhook/billing is forgotten; it was at 4")
	c.weir(t, 0, "events", "forget", "webhook/billing").want(t, exitOK, "it was at 0")
	e.mu.Lock()
	defer e.mu.Unlock()
	if !slices.Equal(e.seen, []uint64{1, 3, 4, 2}) {
		t.Errorf("events %v", e.seen)
	}
}
