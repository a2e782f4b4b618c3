package node_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Three nodes form a cluster, agree on one home, and admit exactly the limit through any of them.
func TestThreeNodesFormAndDecideAsOne(t *testing.T) {
	simulate(t, 1, 3, func(s *sim) {
		homes, allowed := map[string]int{}, 0
		for i := range 30 {
			a := s.check(s.nodes[i%3], `{"domain":"d","attributes":{"user":"alice"}}`)
			homes[a.Home]++
			if a.Verdict == "ALLOW" {
				allowed++
			} else if a.Reason != "RATE_LIMITED" || a.Status != 429 {
				t.Errorf("refused with %+v", a)
			}
		}
		if allowed != 10 || len(homes) != 1 {
			t.Errorf("%d of 30 allowed by homes %v, want 10 by one", allowed, homes)
		}
	})
}

// Decisions are counted where they are made and where they are forwarded, by limit, verdict, reason and path.
func TestDecisionsAreCounted(t *testing.T) {
	simulate(t, 12, 3, func(s *sim) {
		home, other := s.nodes[0], s.nodes[1]
		user := s.userOf(home.name)
		for range 11 { // one more than the window admits
			s.check(other, fmt.Sprintf(`{"domain":"d","attributes":{"user":%q}}`, user))
		}
		// What a home decides at once is timed by sample, so there only the series is sure.
		timed := map[string]int{"forward": 11, "home": s.timedAtHome(home)}
		for m, path := range map[*simNode]string{home: "home", other: "forward"} {
			text := s.text(m, "/metrics")
			for _, line := range []string{
				fmt.Sprintf(`weir_decisions_total{limit="",verdict="ALLOW",reason="OK",path=%q} 10`, path),
				fmt.Sprintf(`weir_decisions_total{limit="window",verdict="DENY",reason="RATE_LIMITED",path=%q} 1`, path),
				fmt.Sprintf(`weir_check_duration_seconds_bucket{path=%q,le="+Inf"} %d`, path, timed[path]),
				fmt.Sprintf(`weir_check_errors_total{path=%q} 0`, path),
				"weir_members 3", "weir_view_epoch 1", "# TYPE weir_decisions_total counter",
			} {
				if !strings.Contains(text, line+"\n") {
					t.Errorf("%s has no line %s", m.name, line)
				}
			}
			if left := metric(t, text, "weir_lease_seconds"); left < 1.5 || left > 2 {
				t.Errorf("the lease of %s holds for %v s", m.name, left)
			}
			if strings.Contains(text, user) {
				t.Errorf("%s tells of %s", m.name, user)
			}
		}
	})
}

// metric is the value of a metric without labels.
func metric(t *testing.T, text, name string) (v float64) {
	t.Helper()
	_, rest, _ := strings.Cut(text, "\n"+name+" ")
	if _, err := fmt.Sscan(rest, &v); err != nil {
		t.Errorf("%s: %v", name, err)
	}
	return v
}

// timedAtHome returns how many decisions as home a node's histogram stands for.
func (s *sim) timedAtHome(m *simNode) int {
	s.t.Helper()
	const series = `weir_check_duration_seconds_bucket{path="home",le="+Inf"} `
	_, after, found := strings.Cut(s.text(m, "/metrics"), series)
	count, _, _ := strings.Cut(after, "\n")
	n, err := strconv.Atoi(count)
	if !found || err != nil {
		s.t.Fatalf("%s tells no durations at home: %v", m.name, err)
	}
	return n
}

// Datagrams that are lost, doubled and late, and streams that are slow, delay a cluster but change no answer.
func TestABadNetworkChangesNoAnswer(t *testing.T) {
	simulate(t, 6, 3, func(s *sim) {
		s.network.SetDelay(time.Millisecond, 20*time.Millisecond)
		s.network.SetLoss(0.2)
		s.network.SetDuplication(0.1)
		for account := range 5 {
			allowed := 0
			for i := range 15 {
				if a := s.check(s.nodes[i%3], fmt.Sprintf(`{"domain":"d","attributes":{"user":"u%d"}}`, account)); a.Verdict == "ALLOW" {
					allowed++
				}
				time.Sleep(time.Second)
			}
			if allowed != 10 {
				t.Errorf("account %d: %d of 15 allowed, want 10", account, allowed)
			}
		}
		if n := s.network.Stats(); n.PacketsDropped == 0 || n.PacketsDuplicated == 0 {
			t.Errorf("the network did no harm: %+v", n)
		}
	})
}

// A node is lost: after a moment the others decide for its accounts, and nobody's answers are errors.
func TestALostNodesAccountsGoOn(t *testing.T) {
	simulate(t, 2, 3, func(s *sim) {
		lost := s.nodes[2]
		user := s.userOf(lost.name)
		body := fmt.Sprintf(`{"domain":"d","attributes":{"user":%q}}`, user)
		s.crash(lost)
		if a := s.check(s.nodes[0], body); a.Status != 200 || a.Reason != "FALLBACK_DEPUTY" {
			t.Errorf("while the home is gone but not noticed: %+v", a)
		}
		s.until("the survivors agree on another home", func() bool {
			a, b := s.check(s.nodes[0], body), s.check(s.nodes[1], body)
			return a.Home != lost.name && a.Home == b.Home && a.Epoch == b.Epoch && a.Epoch > 1 &&
				!strings.HasPrefix(a.Reason+b.Reason, "FALLBACK_")
		})
	})
}

// A planned stop is heard of before the node stops answering: no check through the others falls back.
func TestAGracefulStopCausesNoFallback(t *testing.T) {
	simulate(t, 3, 3, func(s *sim) {
		leaving := s.nodes[1]
		body := fmt.Sprintf(`{"domain":"d","attributes":{"user":%q}}`, s.userOf(leaving.name))
		done := make(chan struct{})
		go func() {
			defer close(done)
			s.stop(leaving)
		}()
		said := false
		for ended := false; !ended; {
			said = said || strings.Contains(s.text(leaving, "/readyz"), "stopping")
			select {
			case <-done:
				ended = true
			default:
			}
			if a := s.check(s.nodes[0], body); a.Reason != "OK" && a.Reason != "RATE_LIMITED" {
				t.Fatalf("during the stop: %+v", a)
			}
		}
		if a := s.check(s.nodes[2], body); a.Home == leaving.name {
			t.Errorf("still decided by the stopped node: %+v", a)
		}
		if !said {
			t.Error("the node never said in /readyz that it is stopping")
		}
	})
}

// The same debit, repeated at every node while the leader is lost, is made once.
func TestADebitIsMadeOnceAcrossALostLeader(t *testing.T) {
	simulate(t, 4, 3, func(s *sim) {
		var a answer
		if status := s.call(s.nodes[0], "POST", "/v1/accounts", `{"id":"acme","use_credits":true}`, &a, "Idempotency-Key", "open"); status != 200 {
			t.Fatalf("open: %d %+v", status, a)
		}
		if status := s.call(s.nodes[1], "POST", "/v1/accounts/acme/grants", `{"kind":"credit","amount_micros":5000000}`, &a, "Idempotency-Key", "grant"); status != 200 {
			t.Fatalf("grant: %d %+v", status, a)
		}
		debit := func(m *simNode) receipt {
			t.Helper()
			var r receipt
			s.ledger(m, "/v1/accounts/acme/debits", "debit-1", `{"amount_micros":1000000}`, &r)
			return r
		}
		first := debit(s.nodes[0])
		leader := s.leader()
		s.crash(leader)
		for i := range 6 {
			if m := s.nodes[i%3]; m != leader {
				again := debit(m)
				again.Replayed = first.Replayed
				if again != first {
					t.Errorf("repeated at %s: %+v, first %+v", m.name, again, first)
				}
			}
		}
		if first.Balance != 4_000_000 {
			t.Errorf("balance after %d", first.Balance)
		}
	})
}

// What the limits refuse is bought, through any node, until nothing is left.
func TestChecksSpillIntoCredit(t *testing.T) {
	simulate(t, 5, 3, func(s *sim) {
		var a answer
		s.call(s.nodes[0], "POST", "/v1/accounts", `{"id":"bob","use_credits":true}`, &a, "Idempotency-Key", "open")
		s.call(s.nodes[1], "POST", "/v1/accounts/bob/grants", `{"id":"plan","kind":"included","amount_micros":1000000}`, &a, "Idempotency-Key", "g1")
		s.call(s.nodes[2], "POST", "/v1/accounts/bob/grants", `{"id":"paid","kind":"credit","amount_micros":1000000}`, &a, "Idempotency-Key", "g2")
		want := []string{"OK LIMIT", "OK LIMIT", "OK_CREDIT INCLUDED", "OK_CREDIT CREDIT", "CREDITS_EXHAUSTED"}
		for i, w := range want {
			a := s.check(s.nodes[i%3], `{"domain":"d","attributes":{"user":"bob","kind":"spill"}}`)
			got := a.Reason
			if len(a.Sources) > 0 {
				got += " " + a.Sources[0].Source
			}
			if got != w {
				t.Errorf("check %d: %s, want %s: %+v", i+1, got, w, a)
			}
		}
	})
}
