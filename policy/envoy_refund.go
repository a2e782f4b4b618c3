package policy

import (
	"github.com/oklog/ulid/v2"
	"github.com/weir-cluster/weir/limiter"
)

// refund gives the cost back to each limit of the plan, to no less than nothing owed, and says what is left. Slots in
// flight are not given back: they end with their requests.
func (p *plan) refund(limits *limiter.Store, id ulid.ULID, now int64) *Decision {
	limits.Refund(p.account.Partition, now, p.takes)
	d := p.allow(id)
	d.Message, d.Sources = "The cost was given back to the limits.", nil
	return d
}
