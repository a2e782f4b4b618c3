package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/weir-cluster/weir/ring"
)

// Why a member cannot be removed from the roster. The text around them says what to do.
var (
	// ErrNoMember: the roster has no member of that name.
	ErrNoMember = errors.New("no such member")
	// ErrPresent: the member serves, or is seen, or its vote is needed.
	ErrPresent = errors.New("member still needed")
)

const removeTries = 5 // while others change the view

// Remove takes a member that is gone for good out of the roster, and its vote with it: so the others no longer leave it a share
// of what they admit on their own. It may be called from any goroutine, and repeated. Its errors are NotLeaderError, ErrNoMember,
// ErrPresent, and those of Quorum and Voters.
func (s *Steward) Remove(ctx context.Context, name string) error {
	err := errStale
	for range removeTries {
		if !s.Quorum.Leading() {
			leader, _ := s.Quorum.Leader()
			return &NotLeaderError{Leader: leader}
		}
		next, refused := s.without(name)
		if refused != nil {
			return refused
		}
		if err := s.unvote(ctx, name); err != nil {
			return err
		}
		if err = s.propose(ctx, next); !errors.Is(err, errStale) {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("remove member %s: %w", name, err)
	}
	s.Logger.Info("member removed", "member", name)
	return nil
}

// without returns the view that lacks a member.
func (s *Steward) without(name string) (*View, error) {
	last := s.Views.Current()
	i := -1
	if last != nil {
		i = last.Find(name)
	}
	if i < 0 {
		return nil, fmt.Errorf("%w: %s is not in the roster; `weir members` lists it", ErrNoMember, name)
	}
	if _, seen := s.Gossip.Find(name); seen {
		return nil, fmt.Errorf("%w: %s is running and would join again; stop it first", ErrPresent, name)
	}
	if last.Roster[i].Standing != ring.Absent {
		return nil, fmt.Errorf("%w: %s may still decide; wait until `weir members` shows it absent, some seconds", ErrPresent, name)
	}
	next, err := successor(last)
	if err != nil {
		return nil, err
	}
	next.Roster = slices.Delete(next.Roster, i, i+1)
	if next.Table, err = last.Table.Without(uint16(i)); err != nil {
		return nil, fmt.Errorf("%w: %s: %w; repeat in a second", ErrPresent, name, err)
	}
	return next, nil
}

// unvote ends a member's part in the Raft group, unless the group would be left without a majority that is there.
func (s *Steward) unvote(ctx context.Context, name string) error {
	voters, staged, err := s.Voters.Electorate()
	if err != nil {
		return err
	}
	id, votes := voters[name]
	if !votes {
		id = staged[name]
	}
	if id == "" {
		return nil
	}
	well := 0
	for other, server := range voters {
		if m, seen := s.Gossip.Find(other); seen && m.Server == server {
			well++
		}
	}
	if votes && 2*well <= len(voters)-1 {
		return fmt.Errorf("%w: without the vote of %s only %d of %d voters are there, which is no majority; start another voter first",
			ErrPresent, name, well, len(voters)-1)
	}
	if err := s.Voters.Remove(ctx, id); err != nil {
		return fmt.Errorf("remove the vote of %s: %w", name, err)
	}
	return nil
}
