package transport

import (
	"context"
	"fmt"
	"math"
	"time"

	weirv1 "github.com/weir-cluster/weir/api/weir/v1"
	"github.com/weir-cluster/weir/policy"
)

// Policies reads and replaces the agreed policy.
type Policies interface {
	// Document returns the version in force, zero before the first, and its text.
	Document() (version uint64, text []byte)
	// Put replaces the policy if it is at the expected version (policy.AnyVersion for whatever it is), and
	// returns the new version. name is what error positions call the file; note goes into the history.
	Put(ctx context.Context, name string, text []byte, expect int64, note string) (uint64, error)
}

// Versions keeps the policies that were in force.
type Versions interface {
	// History returns the versions that are kept, newest first; the first is in force.
	History() []policy.Version
	// TextOf returns the text of a version that is kept, which must not be changed.
	TextOf(version uint64) ([]byte, error)
	// Rollback puts the text of a version in force again if the policy is at the expected version, and returns
	// its new version.
	Rollback(ctx context.Context, version uint64, expect int64) (uint64, error)
}

// Beside changes and tells what holds for one account beside the policy. A change returns the revision of what is
// agreed, at which it holds on this node.
type Beside interface {
	SetOverride(ctx context.Context, o policy.Override) (revision uint64, err error)
	UnsetOverride(ctx context.Context, domain, account, limit string) (revision uint64, err error)
	Block(ctx context.Context, b policy.Block) (revision uint64, err error)
	Unblock(ctx context.Context, domain, account string) (revision uint64, err error)
	// Reset starts the buckets of a limit afresh, of all limits when that is empty.
	Reset(ctx context.Context, domain, account, limit string) (revision uint64, err error)
	// Beside returns what holds now: for one account, or for all of the domain when that is empty.
	Beside(domain, account string) policy.Beside
}

// AdminServer is weir.v1.AdminService.
type AdminServer struct {
	weirv1.UnimplementedAdminServiceServer

	Policies Policies
	// Timeout bounds a call whose caller set no deadline.
	Timeout time.Duration
}

// GetPolicy returns the policy in force.
func (s *AdminServer) GetPolicy(context.Context, *weirv1.GetPolicyRequest) (*weirv1.PolicyDocument, error) {
	version, text := s.Policies.Document()
	if version == 0 {
		return nil, toStatus(fmt.Errorf("%w: there is no policy yet: apply one", policy.ErrUnavailable))
	}
	return &weirv1.PolicyDocument{Version: version, Text: text}, nil
}

// PutPolicy replaces the whole policy.
func (s *AdminServer) PutPolicy(ctx context.Context, r *weirv1.PutPolicyRequest) (*weirv1.PutPolicyResponse, error) {
	expect := policy.AnyVersion
	if r.GetExpectVersion() > math.MaxInt64 {
		return nil, toStatus(fmt.Errorf("%w: expect_version %d is not a version", policy.ErrInvalid, r.GetExpectVersion()))
	}
	if r.GetExpectVersion() > 0 {
		expect = int64(r.GetExpectVersion())
	}
	ctx, cancel := context.WithTimeout(ctx, s.Timeout)
	defer cancel()
	version, err := s.Policies.Put(ctx, policyName(r.GetName()), r.GetText(), expect, "")
	if err != nil {
		return nil, toStatus(err)
	}
	return &weirv1.PutPolicyResponse{Version: version}, nil
}

// policyName is what positions in errors name when the caller gave no file.
func policyName(name string) string {
	if name == "" {
		return "policy.yaml"
	}
	return name
}
