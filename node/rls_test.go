package node_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	ratelimitv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/common/ratelimit/v3"
	rlsv3 "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weir-cluster/weir/ring"
)

const envoyPolicy = `
version: 1
domains:
  edge:
    envoy:
      descriptors: [{key: user, rate_limit: {unit: hour, requests_per_unit: 3}}]
`

func users(names ...string) *rlsv3.RateLimitRequest {
	r := &rlsv3.RateLimitRequest{Domain: "edge"}
	for _, name := range names {
		r.Descriptors = append(r.Descriptors, &ratelimitv3.RateLimitDescriptor{
			Entries: []*ratelimitv3.RateLimitDescriptor_Entry{{Key: "user", Value: name}},
		})
	}
	return r
}

// homes returns for each node users whose descriptors have their home there.
func (s *sim) homes(of int) map[string][]string {
	s.t.Helper()
	v := s.view(s.nodes[0])
	all := map[string][]string{}
	for i := range 1000 {
		user := fmt.Sprint("u", i)
		home := v.Members[v.Homes[ring.Partition("edge", "user~"+user)]].Name
		if len(all[home]) < of {
			all[home] = append(all[home], user)
		}
	}
	return all
}

// A call whose descriptors have different homes is decided by all of them at once, and any node may be asked.
func TestDescriptorsOfDifferentHomesAreDecidedAtOnce(t *testing.T) {
	simulate(t, 21, 3, func(s *sim) {
		var put answer
		if status := s.call(s.nodes[0], "PUT", "/v1/policy", envoyPolicy, &put); status != http.StatusOK {
			t.Fatalf("put the policy: %d %+v", status, put)
		}
		var doors []rlsv3.RateLimitServiceClient
		for _, m := range s.nodes {
			conn := s.dial(m)
			defer func() { _ = conn.Close() }()
			doors = append(doors, rlsv3.NewRateLimitServiceClient(conn))
		}
		ask := func(door int, r *rlsv3.RateLimitRequest) *rlsv3.RateLimitResponse {
			t.Helper()
			answer, err := doors[door].ShouldRateLimit(s.t.Context(), r)
			if err != nil {
				t.Fatal(err)
			}
			return answer
		}
		for door := range doors {
			s.until("every node has the policy", func() bool { return ask(door, users("nobody")).GetStatuses()[0].GetCurrentLimit() != nil })
		}
		homes := s.homes(3)
		if len(homes) != 3 {
			t.Fatalf("homes %v", homes)
		}
		var all []string
		for _, m := range s.nodes {
			all = append(all, homes[m.name]...)
		}
		s.network.SetDelay(10*time.Millisecond, 10*time.Millisecond)
		for round, want := range []uint32{2, 1, 0} {
			begun := time.Now()
			for i, st := range ask(round, users(all...)).GetStatuses() {
				if st.GetCode() != rlsv3.RateLimitResponse_OK || st.GetLimitRemaining() != want {
					t.Errorf("round %d, %s: %v, want %d left", round, all[i], st, want)
				}
			}
			if took := time.Since(begun); took > 45*time.Millisecond {
				t.Errorf("two round trips of 20 ms took %v", took)
			}
		}
		over := ask(1, users(all...))
		if over.GetOverallCode() != rlsv3.RateLimitResponse_OVER_LIMIT {
			t.Errorf("the fourth of three: %v", over)
		}
		back := users(all...)
		for _, d := range back.GetDescriptors() {
			d.HitsAddend, d.IsNegativeHits = wrapperspb.UInt64(3), true
			d.Limit = &ratelimitv3.RateLimitDescriptor_RateLimitOverride{RequestsPerUnit: 5, Unit: typev3.RateLimitUnit_HOUR}
		}
		for i, st := range ask(2, back).GetStatuses() {
			if st.GetLimitRemaining() != 4 || st.GetCurrentLimit().GetRequestsPerUnit() != 5 {
				t.Errorf("%s: 3 of 4 given back, under a limit of 5: %v", all[i], st)
			}
		}
		time.Sleep(200 * time.Millisecond) // its deputy is a moment behind
		s.crash(s.nodes[2])
		lost := ask(0, users(homes[s.nodes[2].name][0]))
		if reason := lost.GetDynamicMetadata().AsMap()["reason"]; lost.GetOverallCode() != rlsv3.RateLimitResponse_OK || reason != "FALLBACK_DEPUTY" {
			t.Errorf("a home is gone: %v", lost)
		}
	})
}
