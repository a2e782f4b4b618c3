package transport

import (
	"context"
	"errors"
	"net/http"

	weirv1 "github.com/weir-cluster/weir/api/weir/v1"
	"github.com/weir-cluster/weir/cluster"
	"github.com/weir-cluster/weir/policy"
)

// Roster is who belongs to the cluster. For PeerServer it acts as the leader or says who does; for HTTPServer it finds the leader.
type Roster interface {
	// Remove takes a member that is gone for good off. Its errors are those of cluster.Steward.Remove.
	Remove(ctx context.Context, name string) error
}

// Remove has the other node take a member off the roster.
func (p *Peer) Remove(ctx context.Context, name string) error {
	if _, err := p.service.Remove(ctx, &weirv1.RemoveRequest{Name: name}); err != nil {
		err = fromStatus(err)
		if errors.Is(err, policy.ErrNoReservation) { // what shares its word
			err = &remoteError{message: err.Error(), sentinel: cluster.ErrNoMember}
		}
		return err
	}
	return nil
}

// Remove returns why the node cannot be asked.
func (l lost) Remove(context.Context, string) error { return l.err }

// Remove takes a member off the roster if this node leads.
func (s *PeerServer) Remove(ctx context.Context, q *weirv1.RemoveRequest) (*weirv1.RemoveResponse, error) {
	if err := s.Roster.Remove(ctx, q.GetName()); err != nil {
		return nil, toStatus(err)
	}
	return &weirv1.RemoveResponse{}, nil
}

// removedBody says what was done.
type removedBody struct {
	Removed string `json:"removed"`
}

// removeMember answers DELETE /v1/members/{name}.
func (s *HTTPServer) removeMember(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), s.Timeout)
	defer cancel()
	name := r.PathValue("name")
	if err := s.Roster.Remove(ctx, name); err != nil {
		fail(w, err)
		return
	}
	write(w, http.StatusOK, mediaJSON, removedBody{name})
}
