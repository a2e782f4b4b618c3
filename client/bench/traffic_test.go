package bench

import (
	"testing"

	"google.golang.org/protobuf/proto"

	weirv1 "github.com/weir-cluster/weir/api/weir/v1"
	"github.com/weir-cluster/weir/client"
	"github.com/weir-cluster/weir/ring"
)

// three is a cluster of which one member is gone: its accounts have no home here.
func three() target {
	v := &client.View{Partitions: ring.Partitions, Members: []client.Member{{Name: "gone"}, {Name: "a"}, {Name: "b"}, {Name: "c"}}}
	for p := range ring.Partitions {
		v.Homes = append(v.Homes, uint16(p%4))
	}
	return target{nodes: []peer{{name: "a"}, {name: "b"}, {name: "c"}}, view: v}
}

// homeOf says it again, in other words.
func homeOf(key int) int {
	return max(0, int(ring.Partition(loadDomain, user(key))%4)-1)
}

func TestRoutesSendWhereTheySay(t *testing.T) {
	t.Parallel()
	const keys = 400
	rows := []struct {
		route Route
		right func(key, node int) bool
		nodes int // that get some
	}{
		{Home, func(key, node int) bool { return node == homeOf(key) }, 3},
		{Away, func(key, node int) bool { return node != homeOf(key) && node >= 0 && node < 3 }, 3},
		{Any, func(_, node int) bool { return node >= 0 && node < 3 }, 3},
		{Single, func(_, node int) bool { return node == 0 }, 1},
	}
	for _, r := range rows {
		f := traffic{to: three(), route: r.route, keys: keys, spread: Uniform}
		to, err := f.directions(loadDomain, f.homes(loadDomain), 1)
		if err != nil {
			t.Fatal(err)
		}
		seen := map[int]bool{}
		for k := range keys {
			n := to(k)
			seen[n] = true
			if !r.right(k, n) {
				t.Errorf("route %s sends key %d, whose home is %d, to %d", r.route, k, homeOf(k), n)
			}
		}
		if len(seen) != r.nodes {
			t.Errorf("route %s uses %d nodes, want %d", r.route, len(seen), r.nodes)
		}
	}
	if _, err := (traffic{to: three(), route: "auto"}).directions(loadDomain, nil, 1); err == nil {
		t.Error("a route that there is not")
	}
}

func TestMessagesAreEncodedForOneHomeEach(t *testing.T) {
	t.Parallel()
	for _, streamed := range []bool{false, true} {
		f := traffic{to: three(), route: Home, keys: 300, spread: Uniform, batch: 7}
		p, err := newPacked(f, nil, streamed)
		if err != nil || len(p.letters) != framesMax {
			t.Fatalf("%d messages, %v", len(p.letters), err)
		}
		for _, l := range p.letters[:50] {
			users := checked(t, l.bytes, streamed)
			if len(users) != 7 || l.checks != 7 {
				t.Fatalf("%d checks in a message that says %d, want 7", len(users), l.checks)
			}
			for _, u := range users {
				if n := max(0, int(ring.Partition(loadDomain, u)%4)-1); n != l.node {
					t.Errorf("a check for %s, at home on %d, is in a message for %d", u, n, l.node)
				}
			}
		}
	}
}

// checked returns the accounts of a message's checks, which have three attributes each and the domain in common.
func checked(t *testing.T, b []byte, streamed bool) []string {
	t.Helper()
	var common *weirv1.CheckRequest
	var checks []*weirv1.CheckRequest
	ids := map[uint64]bool{}
	if streamed {
		var m weirv1.CheckStreamRequest
		if err := proto.Unmarshal(b, &m); err != nil {
			t.Fatal(err)
		}
		common = m.GetCommon()
		for _, c := range m.GetChecks() {
			ids[c.GetId()] = true
			checks = append(checks, c.GetCheck())
		}
		if len(ids) != len(checks) {
			t.Errorf("%d ids of %d checks", len(ids), len(checks))
		}
	} else {
		var m weirv1.CheckBatchRequest
		if err := proto.Unmarshal(b, &m); err != nil {
			t.Fatal(err)
		}
		common, checks = m.GetCommon(), m.GetChecks()
	}
	var users []string
	for _, c := range checks {
		if len(c.GetAttributes()) != 3 || common.GetDomain() != loadDomain {
			t.Errorf("a check of %v with %v in common", c, common)
		}
		users = append(users, c.GetAttributes()[0].GetValue())
	}
	return users
}
