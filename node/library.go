package node

import (
	"context"
	"time"

	"github.com/weir-cluster/weir/policy"
	"github.com/weir-cluster/weir/transport"
)

// library is the book of policies as the doors use it: it reads what this node knows, and every change goes through
// the log.
type library struct {
	*policy.Book
	log policy.Proposer
	now func() time.Time
}

var (
	_ transport.Policies = library{}
	_ transport.Versions = library{}
	_ transport.Beside   = library{}
)

// Put is transport.Policies.
func (l library) Put(ctx context.Context, name string, text []byte, expect int64, note string) (uint64, error) {
	return l.Book.Put(ctx, l.log, name, text, expect, note)
}

// Rollback is transport.Versions.
func (l library) Rollback(ctx context.Context, version uint64, expect int64) (uint64, error) {
	return l.Book.Rollback(ctx, l.log, version, expect)
}

// SetOverride is transport.Beside, as are the others.
func (l library) SetOverride(ctx context.Context, o policy.Override) (uint64, error) {
	return l.Book.SetOverride(ctx, l.log, o)
}

// UnsetOverride has the policy hold again for a limit.
func (l library) UnsetOverride(ctx context.Context, domain, account, limit string) (uint64, error) {
	return l.Book.UnsetOverride(ctx, l.log, domain, account, limit)
}

// Block refuses an account everything.
func (l library) Block(ctx context.Context, b policy.Block) (uint64, error) {
	return l.Book.Block(ctx, l.log, b)
}

// Unblock ends that.
func (l library) Unblock(ctx context.Context, domain, account string) (uint64, error) {
	return l.Book.Unblock(ctx, l.log, domain, account)
}

// Reset starts buckets afresh.
func (l library) Reset(ctx context.Context, domain, account, limit string) (uint64, error) {
	return l.Book.Reset(ctx, l.log, domain, account, limit)
}

// Beside returns what holds now.
func (l library) Beside(domain, account string) policy.Beside {
	return l.Book.Beside(domain, account, l.now())
}
