package transport

import (
	"strconv"
	"testing"
	"time"

	weirv1 "github.com/weir-cluster/weir/api/weir/v1"
	"github.com/weir-cluster/weir/policy"
)

// A message of 100 checks of three attributes each, and its answer: ns/op is for one check.
func BenchmarkMessage(b *testing.B) {
	const packed = 100
	m := &weirv1.CheckStreamRequest{}
	for i := range packed {
		m.Checks = append(m.Checks, &weirv1.StreamedCheck{Id: uint64(i), Check: of("d", "user=user-"+strconv.Itoa(i), "model=large", "org=acme")})
	}
	data := encoded(b, m)
	b.Run("read", func(b *testing.B) {
		var c checks
		for i := 0; i < b.N; i += packed {
			r := newReader(data)
			if err := c.read(&r, true); err != nil {
				b.Fatal(err)
			}
		}
	})
	d := &policy.Decision{
		Verdict: policy.Allow, Reason: policy.OK, Home: "node-1", Epoch: 7, PolicyVersion: 3, Sources: []policy.Draw{{Meter: "requests", Amount: 1}},
		Limits: []policy.LimitState{{Name: "user-rpm", Limit: 6000, Remaining: 5999, Reset: time.Second, Window: time.Minute, Meter: "requests", Fallback: "share"}},
	}
	b.Run("write", func(b *testing.B) {
		var out []byte
		for i := range b.N {
			if i%packed == 0 {
				out = out[:0]
			}
			out = appendStreamed(out, uint64(i%packed), d, nil)
		}
	})
}
