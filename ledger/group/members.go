package group

import (
	"context"
	"fmt"
	"time"

	"github.com/hashicorp/raft"
)

// Status is what this server knows of itself and the group.
type Status struct {
	State        string // Follower, Candidate, Leader, Shutdown; Stopped before Run
	Term         uint64
	LastIndex    uint64 // of the log here
	CommitIndex  uint64 // of what is known here to be agreed
	AppliedIndex uint64 // of the last entry whose commands, or members, have been consumed; the library's own entries do not count
	Voters       int
	Servers      int
}

// ID returns the id of this server: the name of the node and the id of its storage.
func (g *Group) ID() string { return g.cfg.Name + "/" + g.stores.ID }

// HasState tells whether this server knows anything of a group: then it must not be bootstrapped.
func (g *Group) HasState() bool {
	r := g.raft.Load()
	return g.had || r != nil && (r.LastIndex() > 0 || r.CurrentTerm() > 0)
}

// Bootstrap makes a new group of servers. Every server in it may be told so, with the same list; each must be
// without state, or it returns ErrHasState. Run must run.
func (g *Group) Bootstrap(ctx context.Context, servers []Server) error {
	var members raft.Configuration
	for _, s := range servers {
		suffrage := raft.Nonvoter
		if s.Voter {
			suffrage = raft.Voter
		}
		members.Servers = append(members.Servers, raft.Server{
			ID: raft.ServerID(s.ID), Address: raft.ServerAddress(s.Name), Suffrage: suffrage,
		})
	}
	err := g.order(ctx, func(r *raft.Raft, _ time.Duration) raft.Future { return r.BootstrapCluster(members) })
	if err != nil {
		return fmt.Errorf("bootstrap group of %d: %w", len(servers), err)
	}
	return nil
}

// Leading tells whether this server leads and has applied all that earlier leaders committed. It may be true
// for a moment after another was elected: who acts on it must have a quorum confirm it, or propose.
func (g *Group) Leading() bool {
	r := g.raft.Load()
	// The state before the term: a term that has passed its barrier and is current was so when the state was read.
	return r != nil && r.State() == raft.Leader && r.CurrentTerm() == g.readyTerm.Load() && !g.fence.up()
}

// Term returns this server's term, and whether it leads in it and has applied what earlier leaders committed.
func (g *Group) Term() (term uint64, leading bool) {
	r := g.raft.Load()
	if r == nil {
		return 0, false
	}
	term = r.CurrentTerm()
	return term, g.Leading() && g.readyTerm.Load() == term
}

// Stalled says whether the disk has not answered a write in time. The server then takes no part in the group until it has.
func (g *Group) Stalled() bool { return g.fence.up() }

// Leader returns the name of the node that leads, as far as this server knows.
func (g *Group) Leader() (name string, known bool) {
	r := g.raft.Load()
	if r == nil || g.fence.up() { // what a server that is out remembers is of no use
		return "", false
	}
	address, _ := r.LeaderWithID()
	return string(address), address != ""
}

// Changes returns a channel that is signalled after the leader, the members, or Leading may have changed.
// Signals that nobody took are one. It is for one receiver, and is never closed.
func (g *Group) Changes() <-chan struct{} { return g.changes }

// Servers returns the newest configuration that this server has, which may not be committed yet.
func (g *Group) Servers() ([]Server, error) {
	r := g.raft.Load()
	if r == nil {
		return nil, fmt.Errorf("list servers: %w", ErrStopped)
	}
	members := r.GetConfiguration()
	if err := members.Error(); err != nil {
		return nil, fmt.Errorf("list servers: %w", refine(err))
	}
	var servers []Server
	for _, s := range members.Configuration().Servers {
		servers = append(servers, Server{ID: string(s.ID), Name: string(s.Address), Voter: s.Suffrage == raft.Voter})
	}
	return servers, nil
}

// Electorate returns the server ids, by name, of who votes and of who follows the log without a vote, by the newest configuration
// that this server has.
func (g *Group) Electorate() (voters, staged map[string]string, err error) {
	servers, err := g.Servers()
	if err != nil {
		return nil, nil, err
	}
	voters, staged = make(map[string]string, len(servers)), make(map[string]string)
	for _, s := range servers {
		if s.Voter {
			voters[s.Name] = s.ID
		} else {
			staged[s.Name] = s.ID
		}
	}
	return voters, staged, nil
}

// Committed returns the index up to which this server has the log and knows it to be agreed; 0 before it has heard from a leader.
func (g *Group) Committed() uint64 {
	if r := g.raft.Load(); r != nil {
		return r.CommitIndex()
	}
	return 0
}

// Stage has a server follow the log without a vote; AddServer gives it one later. That it votes already is no error, and
// changes nothing. Only the leader can.
func (g *Group) Stage(ctx context.Context, id, name string) error {
	return g.AddServer(ctx, Server{ID: id, Name: name})
}

// AddServer adds a server, or makes a member a voter, and returns when that is committed. It does not take a
// vote away. Only the leader can.
func (g *Group) AddServer(ctx context.Context, s Server) error {
	err := g.order(ctx, func(r *raft.Raft, wait time.Duration) raft.Future {
		if s.Voter {
			return r.AddVoter(raft.ServerID(s.ID), raft.ServerAddress(s.Name), 0, wait)
		}
		return r.AddNonvoter(raft.ServerID(s.ID), raft.ServerAddress(s.Name), 0, wait)
	})
	if err != nil {
		return fmt.Errorf("add server %s: %w", s.ID, err)
	}
	return nil
}

// RemoveServer removes the server with this id and returns when that is committed. A leader that removes
// itself steps down. Only the leader can. That id is not a member is no error.
func (g *Group) RemoveServer(ctx context.Context, id string) error {
	err := g.order(ctx, func(r *raft.Raft, wait time.Duration) raft.Future {
		return r.RemoveServer(raft.ServerID(id), 0, wait)
	})
	if err != nil {
		return fmt.Errorf("remove server %s: %w", id, err)
	}
	return nil
}

// Yield has another server lead, one that has as much of the log as any, and returns when it does. Only the leader can.
func (g *Group) Yield(ctx context.Context) error {
	err := g.order(ctx, func(r *raft.Raft, _ time.Duration) raft.Future { return r.LeadershipTransfer() })
	if err != nil {
		return fmt.Errorf("yield the lead: %w", err)
	}
	return nil
}

// Status returns how things stand; its numbers are read one after the other.
func (g *Group) Status() Status {
	r := g.raft.Load()
	if r == nil {
		return Status{State: "Stopped"}
	}
	s := Status{
		State: r.State().String(), Term: r.CurrentTerm(), AppliedIndex: g.replica.newest.Load().Index,
		CommitIndex: r.CommitIndex(), LastIndex: r.LastIndex(),
	}
	for _, member := range r.GetConfiguration().Configuration().Servers {
		s.Servers++
		if member.Suffrage == raft.Voter {
			s.Voters++
		}
	}
	return s
}
