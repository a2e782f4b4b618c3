package ring

import (
	"github.com/buraksezer/consistent"
	"github.com/cespare/xxhash/v2"
)

// placed is where consistent places a partition of which nobody has state. Most plans do not ask.
func (pl *plan) placed(p int) uint16 {
	if pl.consistent == nil {
		pl.consistent = pl.placement()
	}
	return pl.consistent[p]
}

// placement asks consistent. It panics when a full round of its ring finds no room; with unique names and a load factor
// of at least 1, ceil(Partitions/n * load) * n >= Partitions, so there always is: balancing evens out the rest.
func (pl *plan) placement() *[Partitions]uint16 {
	index := make(map[string]uint16, len(pl.takers))
	names := make([]consistent.Member, 0, len(pl.takers))
	for _, i := range pl.takers {
		index[pl.roster[i].Name] = i
		names = append(names, name(pl.roster[i].Name))
	}
	c := consistent.New(names, consistent.Config{
		PartitionCount:    Partitions,
		ReplicationFactor: min(20, 1+1000/len(names)), // it sorts them all anew for each member
		Load:              1.25,
		Hasher:            hasher{},
	})
	owner := new([Partitions]uint16)
	for p := range owner {
		owner[p] = index[c.GetPartitionOwner(p).String()]
	}
	return owner
}

type name string

func (n name) String() string { return string(n) }

type hasher struct{}

func (hasher) Sum64(b []byte) uint64 { return xxhash.Sum64(b) }
