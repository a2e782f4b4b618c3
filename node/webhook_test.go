package node_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weir-cluster/weir/client"
	"github.com/weir-cluster/weir/node"
)

// inbox is the endpoint of a webhook on a host of the simulation. It takes what it gets, unless fails says otherwise.
type inbox struct {
	mu    sync.Mutex // guards what follows
	fails func(client.Event) bool
	from  map[string]int // events taken, by the host that posted them
	seen  []uint64       // events taken, each once
	tries int
}

// ServeHTTP takes an event.
func (b *inbox) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	text, _ := io.ReadAll(r.Body)
	var e client.Event
	_ = json.Unmarshal(text, &e)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.tries++
	if b.fails != nil && b.fails(e) {
		w.WriteHeader(http.StatusTeapot)
		return
	}
	host, _, _ := strings.Cut(r.RemoteAddr, ":")
	b.from[host]++
	if !slices.Contains(b.seen, e.Data.Seq) {
		b.seen = append(b.seen, e.Data.Seq)
	}
}

// has returns what was taken, each event once.
func (b *inbox) has() []uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.seen)
}

// hooked runs body over n nodes that post to an inbox.
func hooked(t *testing.T, seed uint64, n int, body func(*sim, *inbox)) {
	t.Helper()
	hook := node.Webhook{
		Name: "billing", URL: "http://10.0.3.1:80/weir", AllowHTTP: true, Secrets: []string{"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"},
		Timeout: time.Second, Longest: 2 * time.Second,
	}
	equip := func(m *simNode) { m.webhooks = []node.Webhook{hook} }
	simulateWith(t, seed, n, equip, func(s *sim) {
		b := &inbox{from: map[string]int{}}
		l, err := s.network.Host("10.0.3.1").Listen("10.0.3.1:80")
		if err != nil {
			t.Fatal(err)
		}
		server := &http.Server{Handler: b}
		var serving sync.WaitGroup
		serving.Go(func() { _ = server.Serve(l) })
		body(s, b)
		_ = server.Close()
		serving.Wait()
	})
}

// move makes n events, and returns the number of the last.
func (s *sim) move(m *simNode, round string, n int) (last uint64) {
	s.t.Helper()
	var r receipt
	s.ledger(m, "/v1/accounts", "open", `{"id":"acme","use_credits":true}`, &r)
	s.ledger(m, "/v1/accounts/acme/grants", "grant", `{"kind":"credit","amount_micros":100000}`, &r)
	for i := range n {
		s.ledger(m, "/v1/accounts/acme/debits", fmt.Sprint(round, i), `{"amount_micros":1}`, &r)
	}
	return r.Seq
}

// metric returns a metric of the webhook, -1 when there is none.
func (s *sim) metric(m *simNode, name string) (value float64) {
	s.t.Helper()
	value = -1
	for line := range strings.Lines(s.text(m, "/metrics")) {
		if rest, is := strings.CutPrefix(line, "weir_webhook_"+name+`{webhook="billing"} `); is {
			_, _ = fmt.Sscan(rest, &value)
		}
	}
	return value
}

func counted(to uint64) (all []uint64) {
	for seq := range to {
		all = append(all, seq+1)
	}
	return all
}

// A leader that is cut off or dies posts no more, and the next one goes on, in order.
func TestTheNextLeaderGoesOnWithAWebhook(t *testing.T) {
	hooked(t, 71, 3, func(s *sim, b *inbox) {
		last := s.move(s.nodes[0], "first", 20)
		s.until("all came", func() bool { return len(b.has()) == int(last) })
		first := s.leader()
		for _, m := range s.nodes {
			if m != first && (b.from[m.ip] != 0 || s.metric(m, "delivered_total") != 0) {
				s.t.Errorf("%s posted %d, and %s leads", m.name, b.from[m.ip], first.name)
			}
			s.until("all know of it", func() bool { return s.metric(m, "lag_events") == 0 })
		}
		others := slices.DeleteFunc(slices.Clone(s.nodes), func(m *simNode) bool { return m == first })
		for _, m := range others {
			s.network.Cut(first.ip, m.ip)
		}
		last = s.move(others[0], "cut", 20)
		s.until("all came from the next leader", func() bool { return len(b.has()) == int(last) })
		was := b.from[first.ip]
		s.network.HealAll()
		s.crash(others[0])
		last = s.move(others[1], "crashed", 20)
		s.until("all came after the crash", func() bool { return len(b.has()) == int(last) })
		if got := b.has(); !slices.Equal(got, counted(last)) {
			s.t.Errorf("events %v", got)
		}
		if was > 22 {
			s.t.Errorf("the leader that was cut off posted %d", was)
		}
	})
}

func TestMetricsTellOfAWebhookAndTheManualOfThem(t *testing.T) {
	manual, err := os.ReadFile("../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	hooked(t, 72, 1, func(s *sim, b *inbox) {
		b.fails = func(e client.Event) bool { return e.Data.Movement == "debit" }
		m := s.nodes[0]
		last := s.move(m, "a", 5)
		time.Sleep(10 * time.Second)
		if s.metric(m, "delivered_total") != 2 || s.metric(m, "failed_total") < 5 || s.metric(m, "lag_events") != 5 || s.metric(m, "dead_total") != 0 || s.metric(m, "lost_total") != 0 {
			s.t.Errorf("metrics:\n%s", s.text(m, "/metrics"))
		}
		b.mu.Lock()
		b.fails = nil
		b.mu.Unlock()
		s.until("all came", func() bool { return len(b.has()) == int(last) })
		s.until("it has caught up", func() bool { return s.metric(m, "delivered_total") == 7 && s.metric(m, "lag_events") == 0 })
		for _, found := range regexp.MustCompile(`(?m)^(weir_webhook_\w+)\{`).FindAllStringSubmatch(s.text(m, "/metrics"), -1) {
			if !strings.Contains(string(manual), found[1]+"`") {
				s.t.Errorf("docs/operations.md does not tell of %s", found[1])
			}
		}
	})
}

func TestWebhooksThatCannotBeAreSaid(t *testing.T) {
	good := node.Webhook{Name: "a", URL: "https://a/", Secrets: []string{"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}}
	secretless, short, plain := good, good, good
	secretless.Secrets, short.Secrets, plain.URL = nil, []string{"whsec_c2hvcnQ="}, "http://a/"
	for words, hooks := range map[string][]node.Webhook{
		"":                             {good},
		`two webhooks are named "a"`:   {good, good},
		"17 webhooks, at most 16":      make([]node.Webhook, 17),
		"0 secrets, expected 1 to 4":   {secretless},
		`webhook "a": secret 1`:        {short},
		"anybody on the way can read":  {plain},
		"a webhook's name of 0 bytes,": {{}},
	} {
		c := node.DefaultConfig()
		c.Name, c.Webhooks = "n1", hooks
		if err := c.Validate(); (err == nil) != (words == "") || err != nil && !strings.Contains(err.Error(), words) {
			t.Errorf("%q: %v", words, err)
		}
	}
}
