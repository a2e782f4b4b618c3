package client

// lru keeps the values of at most max keys and forgets what was least lately used. Whoever holds one guards it.
type lru[V any] struct {
	max   int
	byKey map[uint64]*kept[V]
	ring  kept[V] // next is the most lately used, prev the least
}

type kept[V any] struct {
	key        uint64
	value      V
	prev, next *kept[V]
}

func newLRU[V any](most int) *lru[V] {
	l := &lru[V]{max: most, byKey: make(map[uint64]*kept[V])}
	l.ring.prev, l.ring.next = &l.ring, &l.ring
	return l
}

// find returns the value in place, or nil; it is the most lately used from now on.
func (l *lru[V]) find(key uint64) *V {
	k := l.byKey[key]
	if k == nil {
		return nil
	}
	if l.ring.next != k {
		k.leave()
		k.enter(&l.ring)
	}
	return &k.value
}

// add returns a zero value for a key that is not in yet.
func (l *lru[V]) add(key uint64) *V {
	if len(l.byKey) >= l.max {
		l.remove(l.ring.prev.key)
	}
	k := &kept[V]{key: key}
	k.enter(&l.ring)
	l.byKey[key] = k
	return &k.value
}

// oldest returns what add would forget now, or nil.
func (l *lru[V]) oldest() *V {
	if len(l.byKey) < l.max {
		return nil
	}
	return &l.ring.prev.value
}

func (l *lru[V]) remove(key uint64) {
	if k := l.byKey[key]; k != nil {
		k.leave()
		delete(l.byKey, key)
	}
}

func (k *kept[V]) leave() { k.prev.next, k.next.prev = k.next, k.prev }

func (k *kept[V]) enter(ring *kept[V]) {
	k.prev, k.next = ring, ring.next
	ring.next.prev, ring.next = k, k
}
