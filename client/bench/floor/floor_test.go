package floor

import (
	"errors"
	"io"
	"testing"

	rlsv3 "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	"google.golang.org/grpc"

	weirv1 "github.com/weir-cluster/weir/api/weir/v1"
	"github.com/weir-cluster/weir/ledger/group"
)

func TestBareMembersVoteWithWeirsTiming(t *testing.T) {
	t.Parallel()
	c, want := voting(Member{Name: "f1"}), group.DefaultConfig()
	if c.HeartbeatTimeout != want.HeartbeatTimeout || c.ElectionTimeout != want.ElectionTimeout ||
		c.LeaderLeaseTimeout != want.LeaderLease || c.CommitTimeout != want.CommitTimeout {
		t.Errorf("heartbeat %v, election %v, lease %v, commit %v; want those of %+v",
			c.HeartbeatTimeout, c.ElectionTimeout, c.LeaderLeaseTimeout, c.CommitTimeout, want)
	}
}

// conversation is a stream of one message.
type conversation struct {
	grpc.BidiStreamingServer[weirv1.CheckStreamRequest, weirv1.CheckStreamResponse]

	asked    []*weirv1.CheckStreamRequest
	answered []*weirv1.CheckStreamResponse
	end      error
}

// Recv returns what is left to ask.
func (c *conversation) Recv() (*weirv1.CheckStreamRequest, error) {
	if len(c.asked) == 0 {
		return nil, c.end
	}
	m := c.asked[0]
	c.asked = c.asked[1:]
	return m, nil
}

// Send notes an answer.
func (c *conversation) Send(m *weirv1.CheckStreamResponse) error {
	c.answered = append(c.answered, m)
	return nil
}

func TestFloorAnswersEveryCheckWithTheSame(t *testing.T) {
	t.Parallel()
	e := &empty{decision: &weirv1.Decision{Reason: "OK"}, rateLimit: &rlsv3.RateLimitResponse{OverallCode: rlsv3.RateLimitResponse_OK}}
	if d, err := e.Check(t.Context(), nil); err != nil || d != e.decision {
		t.Errorf("Check: %v, %v", d, err)
	}
	if a, err := (rateLimits{e: e}).ShouldRateLimit(t.Context(), nil); err != nil || a != e.rateLimit {
		t.Errorf("ShouldRateLimit: %v, %v", a, err)
	}
	b, err := e.CheckBatch(t.Context(), &weirv1.CheckBatchRequest{Checks: make([]*weirv1.CheckRequest, 3)})
	if err != nil || len(b.GetOutcomes()) != 3 || b.GetOutcomes()[2].GetDecision() != e.decision {
		t.Errorf("CheckBatch: %v, %v", b, err)
	}
	c := &conversation{asked: []*weirv1.CheckStreamRequest{{Checks: []*weirv1.StreamedCheck{{Id: 4}, {Id: 9}}}}, end: io.ErrUnexpectedEOF}
	if err := e.CheckStream(c); !errors.Is(err, c.end) || len(c.answered) != 1 {
		t.Fatalf("CheckStream: %v, %d answers", err, len(c.answered))
	}
	if o := c.answered[0].GetOutcomes(); len(o) != 2 || o[1].GetId() != 9 || o[0].GetOutcome().GetDecision() != e.decision {
		t.Errorf("CheckStream answers %v", o)
	}
}
