package group

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
)

// Offline is a storage that no server runs on, to repair it. Close must follow. It is for one goroutine.
type Offline struct {
	stores Stores
	last   uint64   // index of the newest entry, or of the snapshot if that is newer; zero: no state
	term   uint64   // of that entry
	server []Server // of the newest configuration
}

// Kept says whether a directory holds a storage, as Disk makes it.
func Kept(dir string) (bool, error) {
	_, err := os.Stat(filepath.Join(dir, logFile))
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// OpenOffline opens a storage; ErrInUse while a server runs on it.
func OpenOffline(s Storage) (*Offline, error) {
	stores, err := s.Open()
	if err != nil {
		return nil, err
	}
	o := &Offline{stores: stores}
	if err := o.look(); err != nil {
		return nil, errors.Join(fmt.Errorf("read the log: %w", err), stores.Close())
	}
	return o, nil
}

// Close releases the storage.
func (o *Offline) Close() error { return o.stores.Close() }

// ID returns the id of the storage, which is the part behind the slash of its server's.
func (o *Offline) ID() string { return o.stores.ID }

// Last returns the index and the term of the newest entry, whether it was agreed or not; zero when there is no state.
func (o *Offline) Last() (index, term uint64) { return o.last, o.term }

// Servers returns the newest configuration in the log.
func (o *Offline) Servers() []Server { return slices.Clone(o.server) }

// Self returns this storage's own server as the configuration has it, and whether it does.
func (o *Offline) Self() (Server, bool) {
	i := slices.IndexFunc(o.server, func(s Server) bool { return strings.HasSuffix(s.ID, "/"+o.stores.ID) })
	if i < 0 {
		return Server{}, false
	}
	return o.server[i], true
}

// SetLineage is as of a Group.
func (o *Offline) SetLineage(of string) error {
	if err := o.stores.Stable.Set([]byte(lineageKey), []byte(of)); err != nil {
		return fmt.Errorf("note whose log this is: %w", err)
	}
	return nil
}

// look finds the newest configuration and the end of the log.
func (o *Offline) look() error {
	o.server, o.last, o.term = nil, 0, 0
	var members raft.Configuration
	all, err := o.stores.Snapshots.List()
	if err != nil {
		return fmt.Errorf("list snapshots: %w", err)
	}
	if len(all) > 0 {
		members, o.last, o.term = all[0].Configuration, all[0].Index, all[0].Term
	}
	first, err := o.stores.Log.FirstIndex()
	if err != nil {
		return err
	}
	last, err := o.stores.Log.LastIndex()
	if err != nil {
		return err
	}
	for i := max(first, o.last+1); i <= last; i++ {
		var e raft.Log
		if err := o.stores.Log.GetLog(i, &e); err != nil {
			return fmt.Errorf("entry %d: %w", i, err)
		}
		if e.Type == raft.LogConfiguration {
			members = raft.DecodeConfiguration(e.Data)
		}
		o.last, o.term = e.Index, e.Term
	}
	for _, s := range members.Servers {
		o.server = append(o.server, Server{ID: string(s.ID), Name: string(s.Address), Voter: s.Suffrage == raft.Voter})
	}
	return nil
}

// Recover makes what is in the storage the beginning of a group whose one server it is, under a node's name. All of the log is
// taken for agreed, its end too, of which nobody may have been told so. The machines come to the end of the log, and what they
// write as their snapshots then is what the group begins with. The other servers of the group before must never reach
// this one again: see SetLineage.
func (o *Offline) Recover(name string, machines map[string]Machine) error {
	p := newReplica(machines, func() {})
	c := raft.DefaultConfig()
	c.LocalID, c.Logger = raft.ServerID(name+"/"+o.stores.ID), hclog.NewNullLogger()
	members, peers := o.alone(name)
	if err := raft.RecoverCluster(c, p, o.stores.Log, o.stores.Stable, o.stores.Snapshots, peers, members); err != nil {
		return fmt.Errorf("recover: %w", errors.Join(err, p.err()))
	}
	return o.look()
}

// Replay brings machines to the end of the log, from the newest snapshot on, and changes nothing in the storage. All of the log is
// taken for agreed, as by Recover.
func (o *Offline) Replay(machines map[string]Machine) error {
	p := newReplica(machines, func() {})
	all, err := o.stores.Snapshots.List()
	if err != nil {
		return fmt.Errorf("replay: list snapshots: %w", err)
	}
	from, err := o.stores.Log.FirstIndex()
	if err != nil {
		return fmt.Errorf("replay: %w", err)
	}
	if len(all) > 0 {
		_, state, err := o.stores.Snapshots.Open(all[0].ID)
		if err != nil {
			return fmt.Errorf("replay: open snapshot %s: %w", all[0].ID, err)
		}
		if err := errors.Join(p.Restore(state), state.Close()); err != nil {
			return fmt.Errorf("replay: snapshot %s: %w", all[0].ID, err)
		}
		from = max(from, all[0].Index+1)
	}
	for i := from; from > 0 && i <= o.last; i++ {
		var e raft.Log
		if err := o.stores.Log.GetLog(i, &e); err != nil {
			return fmt.Errorf("replay: entry %d: %w", i, err)
		}
		if e.Type != raft.LogCommand {
			continue
		}
		p.Apply(&e)
		if err := p.err(); err != nil {
			return fmt.Errorf("replay: %w", err)
		}
	}
	return nil
}

// ReadState gives machines what a backup's snapshot has of each, and leaves out what it has of others.
func ReadState(state io.Reader, machines map[string]Machine) error {
	_, err := readSnapshot(state, func(name string, r io.Reader) error {
		if m := machines[name]; m != nil {
			return m.Restore(r)
		}
		_, err := io.Copy(io.Discard, r)
		return err
	})
	return err
}

// Restore gives an empty storage the state of a backup's snapshot, as the beginning of a group whose one server it is, under a
// node's name. A machine that the backup lacks begins as it is. ErrHasState: the storage is not empty.
func (o *Offline) Restore(name string, l Label, backup io.Reader, machines map[string]Machine) error {
	if o.last > 0 || len(o.server) > 0 {
		return fmt.Errorf("restore: %w", ErrHasState)
	}
	s, err := readSnapshot(backup, func(name string, r io.Reader) error {
		if machines[name] == nil {
			return ErrUnknownMachine
		}
		return machines[name].Restore(r)
	})
	if err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	p := newReplica(machines, func() {})
	p.begin(s)
	state, err := p.Snapshot()
	if err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	// A term below that of the newest entry is one that no server is ever in.
	if err := o.stores.Stable.SetUint64([]byte(termKey), l.Term); err != nil {
		return fmt.Errorf("restore: write the term: %w", err)
	}
	members, peers := o.alone(name)
	sink, err := o.stores.Snapshots.Create(raft.SnapshotVersionMax, l.Index, l.Term, members, 1, peers)
	if err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	if err := state.Persist(sink); err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	return o.look()
}

// alone is the configuration of this server only, and what the library wants to name it by.
func (o *Offline) alone(name string) (raft.Configuration, raft.Transport) {
	_, peers := raft.NewInmemTransport(raft.ServerAddress(name))
	return raft.Configuration{Servers: []raft.Server{
		{ID: raft.ServerID(name + "/" + o.stores.ID), Address: raft.ServerAddress(name), Suffrage: raft.Voter},
	}}, peers
}
