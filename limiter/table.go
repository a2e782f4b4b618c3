package limiter

// table is a hash table of entries that grows and shrinks one page at a time (extendible hashing: Fagin, Nievergelt,
// Pippenger and Strong, 1979), and whose dead entries are swept one page at a time: no operation pauses for the size of
// the table, a page that is split is used again as it is, and memory follows what is live. The collector sees one pointer a page.
type table struct {
	root  [1 << rootDepth]*page // the first dir
	len   int32
	depth uint8   // len(dir) = 2^depth, at least rootDepth but when the table is empty
	dir   []*page // by the top bits of the key's hash; a page whose depth is less than the table's stands there repeatedly
	hand  int32   // the place in dir that is swept next
	runs  arena
}

const (
	// rootDepth is the least depth: so large a dir has room in the cache line of the partition's lock. A take then misses the
	// caches for that line and for its entry, no more, up to some 350 buckets a partition: 1.4 million in all.
	rootDepth = 2

	pageLen  = 126 // 3032 bytes a page, which the allocator serves from its class of 3072
	pageFull = 112 // above it a page is split: searches stay short
	pageFew  = 56  // two neighbours that together have no more are merged
	// depthMax is out of reach of keys that are hashes.
	depthMax = 24
)

type page struct {
	depth uint8 // how many bits of the hash all its keys share
	len   uint8
	slots [pageLen]entry // by linear probing from the place that the hash says
}

// place spreads the part of the key that entries hold, for keys that are made by hand. It leaves out hi's top bit.
func place(lo uint64, hi uint32) uint64 { return (lo ^ uint64(hi)<<33) * 0x9e3779b97f4a7c15 }

func (k Key) place() uint64 { return place(k.Lo, uint32(k.Hi)) }

func slot(at uint64) int { return int(uint64(uint32(at)) * pageLen >> 32) }

func (t *table) page(at uint64) *page {
	if t.depth == rootDepth {
		return t.root[at>>(64-rootDepth)]
	}
	return t.dir[at>>(64-t.depth)]
}

// find returns the entry of the key, nil if there is none. It is good until the next insert, remove or sweep.
func (t *table) find(k Key) *entry {
	if t.depth == 0 {
		return nil
	}
	at, hi := k.place(), uint32(k.Hi)
	p := t.page(at)
	for i := slot(at); ; {
		e := &p.slots[i]
		if e.lo == k.Lo && e.hi == hi && e.word != 0 {
			return e
		}
		if e.word == 0 {
			return nil
		}
		if i++; i == pageLen {
			i = 0
		}
	}
}

// insert adds the key, which the table must not hold, and returns its entry: the caller sets the state at once.
func (t *table) insert(k Key) *entry {
	if len(t.dir) == 0 {
		t.begin()
	}
	at := k.place()
	p := t.page(at)
	for p.len >= pageFull {
		t.split(at)
		p = t.page(at)
	}
	t.len++
	return p.add(entry{lo: k.Lo, hi: uint32(k.Hi)}, at)
}

func (t *table) begin() {
	p := &page{}
	for i := range t.root {
		t.root[i] = p
	}
	t.dir, t.depth = t.root[:], rootDepth
}

func (p *page) add(e entry, at uint64) *entry {
	i := slot(at)
	for p.slots[i].word != 0 {
		if i++; i == pageLen {
			i = 0
		}
	}
	p.slots[i] = e
	p.len++
	return &p.slots[i]
}

func (t *table) split(at uint64) {
	old := t.page(at)
	if old.depth == depthMax {
		panic("limiter: keys are not hashes")
	}
	if old.depth == t.depth {
		from := t.dir
		t.dir = make([]*page, 2*len(from))
		for i, p := range from {
			t.dir[2*i], t.dir[2*i+1] = p, p
		}
		clear(t.root[:])
		t.depth, t.hand = t.depth+1, 2*t.hand
	}
	first, n := t.span(int(at>>(64-t.depth)), old)
	upper := &page{depth: old.depth + 1}
	for i := first + n/2; i < first+n; i++ {
		t.dir[i] = upper
	}
	slots := old.slots
	*old = page{depth: old.depth + 1}
	for _, e := range slots {
		if e.word != 0 {
			at := place(e.lo, e.hi)
			t.page(at).add(e, at)
		}
	}
}

// span returns where in dir the page that stands at i begins, and how often it is there.
func (t *table) span(i int, p *page) (first, n int) {
	n = 1 << (t.depth - p.depth)
	return i &^ (n - 1), n
}

// remove takes the entry of the key out, and its runs, and says whether there was one.
func (t *table) remove(k Key) bool {
	e := t.find(k)
	if e == nil {
		return false
	}
	t.void(e)
	t.len--
	p := t.page(k.place())
	p.rebuild(p.slots)
	return true
}

// void empties an entry, whose page must then be rebuilt.
func (t *table) void(e *entry) {
	if e.kind() == runs {
		t.runs.drop(e.low)
	}
	e.word = 0
}

// prune removes the entries that stand from a spot to another one, or to the end, and that keep does not spare.
func (t *table) prune(from, to spot, keep func(*entry) bool) {
	for i := 0; i < len(t.dir); {
		p := t.dir[i]
		first, n := t.span(i, p)
		i = first + n
		if uint64(i-1) < from.place>>(64-t.depth) || uint64(first) > to.place>>(64-t.depth) {
			continue
		}
		gone := int32(0)
		for j := range p.slots {
			e := &p.slots[j]
			if e.word != 0 && !e.spot().before(from) && !to.before(e.spot()) && !keep(e) {
				t.void(e)
				gone++
			}
		}
		if gone > 0 {
			t.len -= gone
			p.rebuild(p.slots)
		}
	}
}

// rebuild fills the page with what is not empty in slots.
func (p *page) rebuild(slots [pageLen]entry) {
	*p = page{depth: p.depth}
	for _, e := range slots {
		if e.word != 0 {
			p.add(e, place(e.lo, e.hi))
		}
	}
}

// sweep removes the entries of one page that are dead at now, and gives up pages that are hardly used. After as many calls
// as there are pages, every page was swept.
func (t *table) sweep(now int64, cold bool) {
	if len(t.dir) == 0 {
		return
	}
	if int(t.hand) >= len(t.dir) {
		t.hand = 0
	}
	p := t.dir[t.hand]
	first, n := t.span(int(t.hand), p)
	t.hand = int32(first + n)
	dead := int32(0)
	for i := range p.slots {
		e := &p.slots[i]
		if e.word == 0 || !e.dead(now, cold) {
			continue
		}
		t.void(e)
		dead++
	}
	if dead > 0 {
		t.len -= dead
		p.rebuild(p.slots)
	}
	t.merge(first, p)
	if t.runs.sparse() {
		t.compact()
	}
}

// merge joins the page that begins at dir[first] with the one it was split from, if one page has ample room for both.
func (t *table) merge(first int, p *page) {
	if p.depth == 0 {
		if p.len == 0 {
			*t = table{}
		}
		return
	}
	n := 1 << (t.depth - p.depth)
	other := t.dir[first^n]
	if other.depth != p.depth || p.len+other.len > pageFew {
		return
	}
	for _, e := range other.slots {
		if e.word != 0 {
			p.add(e, place(e.lo, e.hi))
		}
	}
	p.depth--
	first &^= n
	for i := first; i < first+2*n; i++ {
		t.dir[i] = p
	}
	for t.depth > rootDepth && t.shallow() {
		from, n := t.dir, len(t.dir)/2
		if t.dir = t.root[:]; n > len(t.root) {
			t.dir = make([]*page, n)
		}
		for i := range n {
			t.dir[i] = from[2*i]
		}
		t.depth, t.hand = t.depth-1, t.hand/2
	}
}

// shallow says whether no page needs the last bit of dir.
func (t *table) shallow() bool {
	for i := 0; i < len(t.dir); i += 2 {
		if t.dir[i] != t.dir[i+1] {
			return false
		}
	}
	return true
}

// compact gives back what runs that ended held.
func (t *table) compact() {
	var a arena
	for i := 0; i < len(t.dir); {
		p := t.dir[i]
		for j := range p.slots {
			if e := &p.slots[j]; e.word != 0 && e.kind() == runs {
				e.low = a.copy(&t.runs, e.low)
			}
		}
		_, n := t.span(i, p)
		i += n
	}
	t.runs = a
}
