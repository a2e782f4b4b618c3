package limiter

import "slices"

// table is a hash table of buckets that grows and shrinks one page at a time (Litwin's linear hashing, 1980), and whose dead
// buckets are swept one page at a time: no operation pauses for the size of the table, and memory follows what is live.
// A Go map does neither shrink nor keep a place to go on sweeping from. Keys are uniform by their making.
type table struct {
	pages [][]entry
	len   int
	hand  int // the page that is swept next
}

type entry struct {
	key Key
	bucket
}

const pageLen = 4 // mean entries a page before the table grows; it shrinks at a third of it

// page returns the index of the key's page: the hash modulo the next power of two, or half of it where that page is not
// split off yet.
func (t *table) page(k Key) int {
	mask := t.mask()
	i := int(k.Lo) & mask
	if i >= len(t.pages) {
		i &= mask >> 1
	}
	return i
}

// mask is the least 2^n-1 that covers every page.
func (t *table) mask() int {
	mask := len(t.pages) - 1
	mask |= mask >> 1
	mask |= mask >> 2
	mask |= mask >> 4
	mask |= mask >> 8
	mask |= mask >> 16
	return mask
}

// find returns the bucket, nil if there is none. The pointer is good until the next insert or sweep.
func (t *table) find(k Key) *bucket {
	if len(t.pages) == 0 {
		return nil
	}
	page := t.pages[t.page(k)]
	for i := range page {
		if page[i].key == k {
			return &page[i].bucket
		}
	}
	return nil
}

// insert adds a bucket that is not in the table.
func (t *table) insert(k Key, b bucket) {
	if t.len >= len(t.pages)*pageLen {
		t.grow()
	}
	i := t.page(k)
	t.pages[i] = append(t.pages[i], entry{k, b})
	t.len++
}

func (t *table) grow() {
	t.pages = append(t.pages, nil)
	added := len(t.pages) - 1
	if added == 0 {
		return
	}
	from := added & (t.mask() >> 1)
	split := t.pages[from]
	kept := split[:0]
	for _, e := range split {
		if i := t.page(e.key); i == from {
			kept = append(kept, e)
		} else {
			t.pages[i] = append(t.pages[i], e)
		}
	}
	t.pages[from] = kept
}

// sweep removes the buckets of one page that are dead at now and returns how many they were.
func (t *table) sweep(now int64) int {
	if len(t.pages) == 0 {
		return 0
	}
	t.hand++
	if t.hand >= len(t.pages) {
		t.hand = 0
	}
	page := t.pages[t.hand]
	live := slices.DeleteFunc(page, func(e entry) bool { return now >= e.expires })
	if 4*len(live) < cap(live) {
		live = slices.Clone(live)
	}
	t.pages[t.hand] = live
	dead := len(page) - len(live)
	t.len -= dead
	if t.len < len(t.pages)*pageLen/3 {
		t.shrink()
	}
	return dead
}

func (t *table) shrink() {
	last := len(t.pages) - 1
	if last == 0 {
		if t.len == 0 {
			*t = table{}
		}
		return
	}
	to := last & (t.mask() >> 1)
	t.pages[to] = append(t.pages[to], t.pages[last]...)
	t.pages[last] = nil
	t.pages = t.pages[:last]
	if 4*last < cap(t.pages) {
		t.pages = slices.Clone(t.pages)
	}
}
