package ledger

import "hash/maphash"

// index finds what has an id. It keeps hashes and no ids, so a million entries are nothing for the collector to follow; who
// asks has the records, and so the ids, at hand. The hash differs from process to process, which nothing shows.
type index[P comparable] struct {
	places  map[uint64]P
	clashes map[string]P // of ids whose hash another id had first
	hash    func(id string) uint64
	idAt    func(P) string
}

func newIndex[P comparable](idAt func(P) string) index[P] {
	seed := maphash.MakeSeed()
	return index[P]{
		places: map[uint64]P{}, clashes: map[string]P{}, idAt: idAt,
		hash: func(id string) uint64 { return maphash.String(seed, id) },
	}
}

func (x *index[P]) find(id string) (at P, ok bool) {
	if at, ok = x.places[x.hash(id)]; ok && x.idAt(at) == id {
		return at, true
	}
	at, ok = x.clashes[id]
	return at, ok
}

// set says where an id is; its record is there already.
func (x *index[P]) set(id string, at P) {
	h := x.hash(id)
	if other, taken := x.places[h]; taken && x.idAt(other) != id {
		x.clashes[id] = at
		return
	}
	x.places[h] = at
}

// remove forgets an id, if it is there; its record still is.
func (x *index[P]) remove(id string, at P) {
	if h := x.hash(id); x.places[h] == at && x.idAt(at) == id {
		delete(x.places, h)
	} else if x.clashes[id] == at {
		delete(x.clashes, id)
	}
}
