package group

import (
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

const (
	roomEvery     = 200 * time.Millisecond // between looks at the disk: at 300 MB/s it loses less than the reserve meanwhile
	roomHandOvers = 50                     // looks between two tries to have another server lead
)

// room is what is left of the disk that the log is on. With less than the reserve the log takes no more commands, so that what it
// has can still be applied, journaled and compacted, and leaders elected: an election that cannot be written down ends the process.
type room struct {
	free    func() (bytes uint64, err error) // nil: there is always enough
	reserve uint64
	lacking atomic.Bool
}

// look says whether there is too little, and whether that is news. What cannot be told is taken to be enough.
func (m *room) look() (lacking, changed bool) {
	if m.free == nil || m.reserve == 0 {
		return false, false
	}
	left, err := m.free()
	lacking = err == nil && left < m.reserve
	return lacking, m.lacking.Swap(lacking) != lacking
}

// takes returns ErrNoRoom for entries that the machines would have to apply.
func (m *room) takes(entries ...*raft.Log) error {
	if !m.lacking.Load() {
		return nil
	}
	for _, e := range entries {
		if e.Type == raft.LogCommand {
			return ErrNoRoom
		}
	}
	return nil
}

// keepRoom looks at the disk until the group ends. A leader without room hands over, for another server may have some; if all lack it
// the lead goes round, slowly, and nothing but commands is refused.
func (g *Group) keepRoom(r *raft.Raft) {
	tick := time.NewTicker(roomEvery)
	defer tick.Stop()
	for looks := 0; ; looks++ {
		lacking, changed := g.room.look()
		if changed {
			g.cfg.Logger.Warn("the disk of the log", "room", !lacking, "reserve_bytes", g.room.reserve)
			g.signal()
			looks = 0
		}
		if lacking && looks%roomHandOvers == 0 {
			g.handOver(r)
		}
		select {
		case <-tick.C:
		case <-g.ending:
			return
		}
	}
}

// Full says that the disk of the log has less left than Config.Reserve: this server takes no commands until it has more.
func (g *Group) Full() bool { return g.room.lacking.Load() }
