package transport

import (
	"context"
	"fmt"
	"time"

	weirv1 "github.com/weir-cluster/weir/api/weir/v1"
	"github.com/weir-cluster/weir/policy"
)

// Policies reads and replaces the agreed policy.
type Policies interface {
	// Document returns the version in force, zero before the first, and its text.
	Document() (version uint64, text []byte)
	// Put replaces the policy if it is at the expected version (policy.AnyVersion for whatever it is), and
	// returns the new version. name is what error positions call the file.
	Put(ctx context.Context, name string, text []byte, expect int64) (uint64, error)
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
	if r.GetExpectVersion() > 0 {
		expect = int64(r.GetExpectVersion())
	}
	ctx, cancel := context.WithTimeout(ctx, s.Timeout)
	defer cancel()
	version, err := s.Policies.Put(ctx, policyName(r.GetName()), r.GetText(), expect)
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
