package transport_test

import (
	"fmt"
	"testing"
	"time"

	ratelimitv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/common/ratelimit/v3"
	rlsv3 "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"

	"github.com/weir-cluster/weir/limiter"
	"github.com/weir-cluster/weir/policy"
	"github.com/weir-cluster/weir/transport"
)

// One call decided in process, without the network: what the door and the home add to it.
func BenchmarkRLSCall(b *testing.B) {
	p, err := policy.Parse("rls.yaml", []byte(rlsPolicy))
	if err != nil {
		b.Fatal(err)
	}
	current := func() *policy.Policy { return p }
	s := &transport.RLSServer{
		Access: policy.NewWaterfall(policy.WaterfallConfig{
			Policy: current, Limits: limiter.NewStore(limiter.DefaultConfig()), Purse: noPurse{}, Now: time.Now,
			Hasher: func() limiter.Hasher { return limiter.NewHasher([16]byte{1}) },
		}),
		Policy: current, Now: time.Now, Jitter: func() float64 { return 0 }, Timeout: time.Second,
	}
	for _, n := range []int{1, 4} {
		b.Run(fmt.Sprintf("descriptors=%d", n), func(b *testing.B) {
			r := &rlsv3.RateLimitRequest{Domain: "edge"}
			for i := range n {
				r.Descriptors = append(r.Descriptors, &ratelimitv3.RateLimitDescriptor{
					Entries: []*ratelimitv3.RateLimitDescriptor_Entry{{Key: "huge", Value: fmt.Sprint(i)}},
				})
			}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := s.ShouldRateLimit(b.Context(), r); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
