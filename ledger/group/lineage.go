package group

import (
	"fmt"

	"github.com/hashicorp/raft"
)

// lineageKey is where a storage keeps whose log it has, beside its votes.
const lineageKey = "weir-lineage"

// Lineage returns whose log this storage keeps, as SetLineage last said; empty before. A server that was stopped knows by it at
// once whom it must not talk to, while what the log says is known only when a leader has said how much of it is agreed.
func (g *Group) Lineage() string {
	return *g.lineage.Load()
}

// SetLineage notes whose log this storage keeps. It writes to the disk, if that is news.
func (g *Group) SetLineage(of string) error {
	if of == g.Lineage() {
		return nil
	}
	if err := (fencedVotes{g.stores.Stable, g.fence}).Set([]byte(lineageKey), []byte(of)); err != nil {
		return fmt.Errorf("note whose log this is: %w", err)
	}
	g.lineage.Store(&of)
	return nil
}

func lineage(s raft.StableStore) (string, error) {
	of, err := kept(s, lineageKey)
	if err != nil {
		return "", fmt.Errorf("read whose log this is: %w", err)
	}
	return of, nil
}
