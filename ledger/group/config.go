// Package group is a Raft group: a log of stamped, packed commands that every replica hands to the same
// machines in the same order. It hides the consensus library: how servers find and elect each other, how
// concurrent proposals share one entry and one fsync, how snapshots of all machines travel as one, and which
// failed proposals were surely not applied. A machine sees only its commands, their order and their stamps.
package group

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"time"
)

const (
	machineNameBytesMax = 32
	trailingLogsMin     = 10_240
)

// Network is where the group's bytes travel. Dial gets an address that Config.Resolve returned.
type Network interface {
	Listen(address string) (net.Listener, error)
	Dial(ctx context.Context, address string) (net.Conn, error)
}

// Machine is a state that all replicas keep equal. Apply, Snapshot and Restore are called by one goroutine at a time, Query by
// any beside them. What Apply does must depend on nothing but its arguments and the state: no clock, no randomness, no map order.
type Machine interface {
	// Apply changes the state and returns the reply for whoever proposed. command is valid during the call only and must not be
	// changed; the reply must not be changed afterwards. It must not block. An error says that this replica cannot go on, for it
	// differs from the others or cannot keep what it must: it applies nothing more, Run returns the error, and the outcome of what
	// was proposed is unknown. What the machine merely refuses is a reply.
	Apply(at Stamp, command []byte) (reply []byte, err error)
	// Query reads the state and changes nothing. query must not be changed; the reply must not be changed afterwards.
	Query(query []byte) (reply []byte)
	// Snapshot takes the state as it is now, quickly, and returns how to write it, which runs beside later
	// Apply calls, once or never.
	Snapshot() (func(io.Writer) error, error)
	// Restore replaces the whole state by one that Snapshot wrote, and reads it to its end.
	Restore(r io.Reader) error
}

// Stamp is where and when an operation stands in the log.
type Stamp struct {
	Term, Index uint64    // operations that were packed together share all of it
	Wall        time.Time // UTC, of the leader when it packed the operation; never before that of an earlier one
	// Elapsed is how much time has surely passed since the log began. Of two stamps, it tells no more than what really passed
	// between them, whatever became of clocks and leaders meanwhile; it may tell less.
	Elapsed time.Duration
}

// Server is one member of the group.
type Server struct {
	ID    string // as Group.ID says: the name and the id of the storage, so an emptied disk is another server
	Name  string // the node's name, never its address: Config.Resolve knows where it is
	Voter bool
}

// Config is what New needs. DefaultConfig sets all but the fields up to Now.
type Config struct {
	Name     string                                        // of this node
	Address  string                                        // to listen at, handed to Network.Listen
	Network  Network                                       // also where others listen
	Resolve  func(name string) (address string, err error) // where a member is now; must not block
	Storage  Storage                                       // of the log and of snapshots
	Machines map[string]Machine                            // by name, 1 to 32 bytes; the same on every server
	Now      func() time.Time                              // for Stamp.Wall, and how stale it is
	// Mono reads a clock that never jumps, for Stamp.Elapsed: how long this process runs, say. Nil: how far Now has come.
	Mono func() time.Duration

	Logger *slog.Logger // what matters; what the Raft library warns of comes one level lower

	HeartbeatTimeout time.Duration // without a word from the leader, a follower stands for election
	ElectionTimeout  time.Duration // a candidate tries again; also bounds a leadership transfer
	LeaderLease      time.Duration // without a quorum's answer, a leader steps down; at most HeartbeatTimeout
	CommitTimeout    time.Duration // an idle leader tells followers what is committed this often
	RequestTimeout   time.Duration // of one request to a peer, 2 s; a snapshot gets more by its size

	WriteDeadline time.Duration // of a write to the log: past it the server stays out of the group until it has returned

	Reserve uint64 // bytes of its disk that the log leaves free: with less, this server takes no more commands; 0 is none

	SnapshotInterval  time.Duration // between looks whether a snapshot is due, up to twice as long
	SnapshotThreshold uint64        // entries since the last snapshot that make one due
	TrailingLogs      uint64        // entries kept behind a snapshot; fewer than 10,240 can leave a follower behind for ever (hashicorp/raft #697)

	PackOperations  int // operations in one entry, at most 4,096
	PackBytes       int // bytes of one entry, at most 4 MiB
	InFlight        int // entries proposed and not yet applied; also how many are sent to a follower at once
	CommandBytes    int // of one command; more is ErrTooLarge
	QueueOperations int // operations that wait to be packed; more is ErrBusy
	QueueBytes      int // bytes of commands that wait to be packed; more is ErrBusy

	trailingLogsFew bool // tests may keep fewer than production
}

// DefaultConfig returns the timing and the bounds that the project runs with.
func DefaultConfig() Config {
	return Config{
		Logger: slog.New(slog.DiscardHandler),

		HeartbeatTimeout: 500 * time.Millisecond,
		ElectionTimeout:  500 * time.Millisecond,
		LeaderLease:      250 * time.Millisecond,
		CommitTimeout:    50 * time.Millisecond,
		RequestTimeout:   2 * time.Second,
		WriteDeadline:    2 * time.Second,
		Reserve:          64 << 20,

		SnapshotInterval:  2 * time.Minute,
		SnapshotThreshold: 8192,
		TrailingLogs:      trailingLogsMin,

		PackOperations:  256,
		PackBytes:       1 << 20,
		InFlight:        16,
		CommandBytes:    512 << 10,
		QueueOperations: 16384,
		QueueBytes:      64 << 20,
	}
}

// Validate tells the first thing that is missing or does not fit the rest.
func (c Config) Validate() error {
	for _, rule := range []struct {
		broken bool
		what   string
	}{
		{c.Name == "", "a name is needed"},
		{c.Network == nil, "a network is needed"},
		{c.Resolve == nil, "a resolver is needed"},
		{c.Storage == nil, "a storage is needed"},
		{c.Now == nil, "a clock is needed"},
		{c.Logger == nil, "a logger is needed"},
		{len(c.Machines) == 0 || len(c.Machines) > sectionsMax, "1 to 256 machines are needed"},
		{c.HeartbeatTimeout < 5*time.Millisecond, "heartbeat timeout must be at least 5ms"},
		{c.ElectionTimeout < c.HeartbeatTimeout, "election timeout must be at least the heartbeat timeout"},
		{c.LeaderLease < 5*time.Millisecond || c.LeaderLease > c.HeartbeatTimeout, "leader lease must be 5ms up to the heartbeat timeout"},
		{c.CommitTimeout < time.Millisecond, "commit timeout must be at least 1ms"},
		{c.RequestTimeout < c.HeartbeatTimeout, "request timeout must be at least the heartbeat timeout"},
		{c.WriteDeadline < c.HeartbeatTimeout, "write deadline must be at least the heartbeat timeout"},
		{c.SnapshotInterval < 5*time.Millisecond, "snapshot interval must be at least 5ms"},
		{c.SnapshotThreshold == 0, "snapshot threshold must be at least 1"},
		{c.TrailingLogs < trailingLogsMin && !c.trailingLogsFew, "trailing logs must be at least 10240"},
		{c.PackOperations < 1 || c.PackOperations > operationsMax, "pack operations must be 1 to 4096"},
		{c.PackBytes < 1 || c.PackBytes > entryBytesMax, "pack bytes must be 1 to 4 MiB"},
		{c.InFlight < 1 || c.InFlight > 1024, "entries in flight must be 1 to 1024"},
		{c.CommandBytes < 1 || c.CommandBytes+entryOverheadBytes > c.PackBytes, "one command must fit into pack bytes"},
		{c.QueueOperations < 1, "queue operations must be at least 1"},
		{c.QueueBytes < c.CommandBytes, "one command must fit into queue bytes"},
	} {
		if rule.broken {
			return errors.New("group config: " + rule.what)
		}
	}
	for name, m := range c.Machines {
		if name == "" || len(name) > machineNameBytesMax || m == nil {
			return fmt.Errorf("group config: machine %q: a machine and a name of 1 to %d bytes are needed", name, machineNameBytesMax)
		}
	}
	return nil
}
