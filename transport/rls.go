package transport

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	rlsv3 "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/weir-cluster/weir/policy"
)

// RLSServer is envoy.service.ratelimit.v3.RateLimitService, and the same as POST /json: it answers as Envoy's own rate
// limit service does. The rules are those of the domain, written as an Envoy tree or in our language. Every field must
// be set. It is safe for concurrent use.
type RLSServer struct {
	rlsv3.UnimplementedRateLimitServiceServer

	Access policy.Trier          // decides each descriptor at its home
	Policy func() *policy.Policy // in force, nil while there is none; it resolves the descriptors
	Now    func() time.Time      // for duration_until_reset
	// Jitter returns a number in [0, 1) that spreads Retry-After.
	Jitter func() float64
	// Timeout bounds a call whose caller set no earlier deadline.
	Timeout time.Duration
}

var _ rlsv3.RateLimitServiceServer = (*RLSServer)(nil)

// ShouldRateLimit decides every descriptor by itself and counts it, whatever becomes of the others. An error is
// INVALID_ARGUMENT for a call that nobody should repeat, with nothing counted, and else means that some descriptor could
// not be decided; the proxy's failure mode then holds.
func (s *RLSServer) ShouldRateLimit(ctx context.Context, r *rlsv3.RateLimitRequest) (*rlsv3.RateLimitResponse, error) {
	answer, err := s.decide(ctx, r)
	if err != nil {
		return nil, toStatus(err)
	}
	return answer, nil
}

func (s *RLSServer) decide(ctx context.Context, r *rlsv3.RateLimitRequest) (*rlsv3.RateLimitResponse, error) {
	p := s.Policy()
	if p == nil {
		return nil, fmt.Errorf("%w: this node has no policy yet", policy.ErrUnavailable)
	}
	c, err := newCall(p, r)
	if err != nil {
		return nil, err
	}
	if err := s.ask(ctx, c, p); err != nil {
		return nil, err
	}
	return c.answer(s.Now(), s.Jitter()), nil
}

// ask has every descriptor decided that has something to decide: those of different buckets at once, a bounded number
// of them, and those of one bucket in order, so that each sees what those before it took.
func (s *RLSServer) ask(ctx context.Context, c *call, p *policy.Policy) error {
	lines, err := c.lines(p)
	if err != nil {
		return err
	}
	if len(lines) == 1 {
		return s.askLine(ctx, c, lines[0])
	}
	var g errgroup.Group
	g.SetLimit(batchOpen)
	failed := make([]error, len(lines))
	for i, line := range lines {
		g.Go(func() error {
			failed[i] = s.askLine(ctx, c, line)
			return nil
		})
	}
	_ = g.Wait() // each line has its own error
	for _, err := range failed {
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *RLSServer) askLine(ctx context.Context, c *call, line []int) error {
	waits := false
	for _, i := range line {
		a := &c.asks[i]
		decided, err := s.Access.Try(&a.request, &a.decision)
		if !decided {
			if !waits { // a timer is only for who needs it
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, s.Timeout)
				defer cancel()
				waits = true
			}
			a.decision, err = s.Access.Check(ctx, a.request)
		}
		if err != nil {
			return fmt.Errorf("descriptor %d: %w", i, err)
		}
	}
	return nil
}

// lines groups the descriptors to decide by account. With more than one it validates them all first, so that one that is
// invalid keeps the others from being counted.
func (c *call) lines(p *policy.Policy) ([][]int, error) {
	var open []int
	for i := range c.asks {
		if c.asks[i].open {
			open = append(open, i)
		}
	}
	if len(open) == 0 {
		return nil, nil
	}
	if len(open) == 1 {
		return [][]int{open}, nil
	}
	var lines [][]int
	place := make(map[string]int, len(open))
	for _, i := range open {
		q := &c.asks[i].request
		account, err := p.Account(*q)
		if err == nil {
			err = p.Validate(*q)
		}
		if err != nil {
			return nil, fmt.Errorf("descriptor %d: %w", i, err)
		}
		at, known := place[account.ID]
		if !known {
			at = len(lines)
			place[account.ID] = at
			lines = append(lines, nil)
		}
		lines[at] = append(lines[at], i)
	}
	return lines, nil
}

// JSON serves POST /json: a RateLimitRequest as protojson, answered with the RateLimitResponse, 200 or 429, and its
// response headers. What cannot be read or decided is a problem with status 400 or 500.
func (s *RLSServer) JSON(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, batchMax))
	if err != nil {
		failJSON(w, fmt.Errorf("%w: read the body: %w", policy.ErrInvalid, err))
		return
	}
	q := &rlsv3.RateLimitRequest{}
	if err := protojson.Unmarshal(body, q); err != nil {
		failJSON(w, fmt.Errorf("%w: not a RateLimitRequest as JSON: %s", policy.ErrInvalid, plainProto(err)))
		return
	}
	answer, err := s.decide(r.Context(), q)
	if err != nil {
		failJSON(w, err)
		return
	}
	text, err := protojson.Marshal(answer)
	if err != nil {
		failJSON(w, fmt.Errorf("encode the answer: %w", err))
		return
	}
	for _, h := range answer.GetResponseHeadersToAdd() {
		w.Header().Set(h.GetKey(), h.GetValue())
	}
	w.Header().Set("Content-Type", mediaJSON)
	w.Header().Set("Cache-Control", "no-store")
	if answer.GetOverallCode() == rlsv3.RateLimitResponse_OVER_LIMIT {
		w.WriteHeader(http.StatusTooManyRequests)
	}
	_, _ = w.Write(append(text, '\n')) // a caller that has gone away is nobody's error
}

// plainProto says what a protojson error means without the library's own words, which vary on purpose.
func plainProto(err error) string {
	_, text, cut := strings.Cut(strings.ReplaceAll(err.Error(), "\u00a0", " "), "proto: ")
	if !cut {
		return err.Error()
	}
	return text
}

// failJSON answers with 400 for what the caller did wrong and 500 for everything else: this route has no other.
func failJSON(w http.ResponseWriter, err error) {
	p := toProblem(err)
	if p.Status = http.StatusInternalServerError; classify(err).word == wordInvalid {
		p.Status = http.StatusBadRequest
	}
	write(w, p.Status, mediaProblem, p)
}
