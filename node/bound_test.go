package node_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/weir-cluster/weir/node"
	"github.com/weir-cluster/weir/ring"
)

// batch makes a check of each user at a node and counts the reasons of the answers.
func (s *sim) batch(m *simNode, users []string) map[string]int {
	s.t.Helper()
	var b strings.Builder
	for i, user := range users {
		fmt.Fprintf(&b, `%s{"domain":"d","attributes":{"user":%q}}`, strings.Repeat(",", min(i, 1)), user)
	}
	res, err := s.web.Post("http://"+m.ip+":8080/v1/check:batch", "application/json", strings.NewReader(`{"checks":[`+b.String()+`]}`))
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	var all struct{ Decisions []answer }
	if err := json.NewDecoder(res.Body).Decode(&all); err != nil || res.StatusCode != http.StatusOK || len(all.Decisions) != len(users) {
		s.t.Fatalf("a batch of %d: status %d, %d decisions, %v", len(users), res.StatusCode, len(all.Decisions), err)
	}
	reasons := map[string]int{}
	for _, d := range all.Decisions {
		reasons[d.Reason]++
	}
	return reasons
}

// A node at its bound of buckets gives new keys its share, those it knows all they have left, and says so in metrics.
func TestANodeAtItsBoundOfBucketsSharesWhatIsNew(t *testing.T) {
	const most = ring.Partitions
	simulate(t, 31, 1, func(s *sim) {
		small := s.join(func(c *node.Config) { c.BucketsMax = most })
		v := s.view(small)
		var users []string
		for i := 0; len(users) < most+400; i++ {
			if user := fmt.Sprint("user-", i); v.Members[v.Homes[ring.Partition("d", user)]].Name == small.name {
				users = append(users, user)
			}
		}
		for at := 0; at < most; at += 1000 {
			if got := s.batch(small, users[at:min(at+1000, most)]); got["OK"] != min(1000, most-at) {
				t.Fatalf("with room: %v", got)
			}
		}
		fresh := users[most:]
		for range 5 { // of 10 an hour, between two nodes
			if got := s.batch(small, fresh); got["FALLBACK_SHARE"] != len(fresh) {
				t.Errorf("without room: %v, want shares", got)
			}
		}
		if got := s.batch(s.nodes[0], users[:9]); got["OK"] != 9 {
			t.Errorf("of those with a bucket: %v", got)
		}
		s.batch(small, fresh[:7])
		metrics := s.text(small, "/metrics")
		for _, want := range []string{
			"weir_buckets 4096\n", "weir_buckets_max 4096\n", "weir_share_buckets 400\n",
			`weir_decisions_total{limit="",verdict="ALLOW",reason="FALLBACK_SHARE",path="home"} 2000` + "\n",
			`weir_decisions_total{limit="window",verdict="DENY",reason="FALLBACK_SHARE",path="home"} 7` + "\n",
		} {
			if !strings.Contains(metrics, want) {
				t.Errorf("metrics lack %q:\n%s", want, metrics)
			}
		}
	})
}
