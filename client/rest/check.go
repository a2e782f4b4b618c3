package rest

import (
	"context"
	"time"

	"github.com/weir-cluster/weir/client"
)

const waitMSMax = 3_600_000 // longer waits are not waited for in one call

// Check asks for a decision. Whatever was decided is a Decision, a refusal too; an error means that
// nothing was decided, or that the answer was lost: then only a repetition with the same IdempotencyKey
// is certain to charge once. The time to answer is the client's timeout and MaxWaitMS together.
func (c *Client) Check(ctx context.Context, r client.CheckRequest) (client.Decision, error) {
	q, err := post("/v1/check", r)
	if err != nil {
		return client.Decision{}, err
	}
	q.repeatable = r.IdempotencyKey != "" || r.Mode == client.Peek
	wait := time.Duration(min(max(r.MaxWaitMS, 0), waitMSMax)) * time.Millisecond
	a, err := c.sendWithin(ctx, c.timeout+wait, q)
	if err != nil {
		return client.Decision{}, err
	}
	d, err := decode[client.Decision](a)
	if err == nil && d.Verdict != "" {
		if d.Status == 0 && !a.ok() {
			d.Status = a.status
		}
		return d, nil
	}
	if !a.ok() || err == nil {
		return client.Decision{}, a.problem()
	}
	return client.Decision{}, err
}
