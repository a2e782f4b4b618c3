package ledger

import "hash/maphash"

// index finds what has an id. It keeps hashes and no ids, so a million entries are nothing for the collector to follow; who
// asks has the records, and so the ids, at hand. The hash differs from process to process, which nothing shows. A lookup
// costs about one line of memory, and no entry that is added moves more than one shard.
type index[P comparable] struct {
	shards  [indexShards]shard[P]
	clashes map[string]P // of ids whose hash another id had first
	hash    func(id string) uint64
	idAt    func(P) string
}

const (
	indexShards = 256 // by the hash's highest bits
	shardFirst  = 16  // spots
)

// shard is a table with linear probing.
type shard[P comparable] struct {
	spots []spot[P] // a power of two; at least a quarter is free
	used  int
}

// spot says where the id with a hash is; no hash is 0, so that is a free spot.
type spot[P comparable] struct {
	hash uint64
	at   P
}

func newIndex[P comparable](idAt func(P) string) index[P] {
	seed := maphash.MakeSeed()
	return index[P]{
		clashes: map[string]P{}, idAt: idAt,
		hash: func(id string) uint64 { return maphash.String(seed, id) },
	}
}

func (x *index[P]) find(id string) (at P, ok bool) {
	h := hashed(x.hash(id))
	if p := x.shardOf(h).find(h); p != nil && x.idAt(p.at) == id {
		return p.at, true
	}
	at, ok = x.clashes[id]
	return at, ok
}

// set says where an id is; its record is there already.
func (x *index[P]) set(id string, at P) {
	h := hashed(x.hash(id))
	s := x.shardOf(h)
	p := s.find(h)
	_, clashes := x.clashes[id]
	switch {
	case clashes || p != nil && x.idAt(p.at) != id:
		x.clashes[id] = at
	case p == nil:
		s.add(h, at)
	default:
		p.at = at
	}
}

// remove forgets an id, if it is there; its record still is.
func (x *index[P]) remove(id string, at P) {
	h := hashed(x.hash(id))
	s := x.shardOf(h)
	if p := s.find(h); p != nil && p.at == at && x.idAt(at) == id {
		s.remove(h)
	} else if x.clashes[id] == at {
		delete(x.clashes, id)
	}
}

func hashed(h uint64) uint64 { return max(1, h) }

func (x *index[P]) shardOf(hash uint64) *shard[P] { return &x.shards[hash>>56] }

// place returns the place of a hash: where it is, or would be added.
func (s *shard[P]) place(hash uint64) int {
	mask := len(s.spots) - 1
	i := int(hash) & mask
	for s.spots[i].hash != hash && s.spots[i].hash != 0 {
		i = (i + 1) & mask
	}
	return i
}

// find returns the spot of a hash, nil if there is none.
func (s *shard[P]) find(hash uint64) *spot[P] {
	if s.used == 0 {
		return nil
	}
	if p := &s.spots[s.place(hash)]; p.hash != 0 {
		return p
	}
	return nil
}

// add puts a hash in that is not there.
func (s *shard[P]) add(hash uint64, at P) {
	if 4*(s.used+1) > 3*len(s.spots) {
		was := s.spots
		s.spots = make([]spot[P], max(shardFirst, 2*len(was)))
		for _, p := range was {
			if p.hash != 0 {
				s.spots[s.place(p.hash)] = p
			}
		}
	}
	s.spots[s.place(hash)] = spot[P]{hash, at}
	s.used++
}

// remove takes a hash out that is there, and closes the gap that it leaves for those that come after it.
func (s *shard[P]) remove(hash uint64) {
	mask := len(s.spots) - 1
	gap := s.place(hash)
	for i := (gap + 1) & mask; s.spots[i].hash != 0; i = (i + 1) & mask {
		if first := int(s.spots[i].hash) & mask; (i-first)&mask >= (i-gap)&mask {
			s.spots[gap], gap = s.spots[i], i
		}
	}
	s.spots[gap] = spot[P]{}
	s.used--
}
