package ledger

// pageRecords is how many records share a page: a change copies at most a page of them, 4 KiB, and a snapshot
// copies a pointer for each page.
const pageRecords = 256

type page struct {
	age     uint64
	records [pageRecords]string
}

// pages is a vector of records, each the encoding of something. Records never change, they are replaced; a page is
// copied before its first change after freeze. So what freeze returned stays as it was.
type pages struct {
	all  []*page
	size int    // of the vector
	age  uint64 // one more with each freeze
}

func (p *pages) at(i uint32) string { return p.all[i/pageRecords].records[i%pageRecords] }

func (p *pages) set(i uint32, record string) {
	own := p.all[i/pageRecords]
	if own.age != p.age {
		c := *own
		c.age = p.age
		own = &c
		p.all[i/pageRecords] = own
	}
	own.records[i%pageRecords] = record
}

// push appends a record and returns its place.
func (p *pages) push(record string) uint32 {
	i := uint32(p.size)
	if p.size%pageRecords == 0 {
		p.all = append(p.all, &page{age: p.age})
	}
	p.size++
	p.set(i, record)
	return i
}

// pop removes the last record.
func (p *pages) pop() {
	p.size--
	p.set(uint32(p.size), "")
	if p.size%pageRecords == 0 {
		p.all[len(p.all)-1] = nil
		p.all = p.all[:len(p.all)-1]
	}
}

// freeze returns the pages as they are now.
func (p *pages) freeze() pages {
	p.age++
	return pages{all: append([]*page(nil), p.all...), size: p.size}
}

// each calls f with every record that is not empty, until it returns false.
func (p *pages) each(f func(record string) bool) {
	for i := range uint32(p.size) {
		if r := p.at(i); r != "" && !f(r) {
			return
		}
	}
}

// table is pages with an index by id, and the sum of what they hold.
type table struct {
	pages
	kind  byte // tells records of other tables apart in sums
	count int  // of records
	ids   index[uint32]
	free  []uint32
	sum   sum
}

func newTable(kind byte) *table {
	t := &table{kind: kind}
	t.ids = newIndex(func(slot uint32) string { return idOf(t.at(slot)) })
	return t
}

// idOf reads the id that every record begins with. That of an allowance is no UTF-8.
func idOf(record string) (id string) {
	c := reader(record)
	c.bytes(&id)
	return id
}

func (t *table) find(id string) (slot uint32, ok bool) { return t.ids.find(id) }

// add puts a new record into a free place.
func (t *table) add(id, record string) (slot uint32) {
	if n := len(t.free); n > 0 {
		slot, t.free = t.free[n-1], t.free[:n-1]
		t.set(slot, record)
	} else {
		slot = t.push(record)
	}
	t.ids.set(id, slot)
	t.count++
	t.sum.add(t.kind, record)
	return slot
}

// replace puts another record of the same id into its place.
func (t *table) replace(slot uint32, record string) {
	t.sum.remove(t.kind, t.at(slot))
	t.set(slot, record)
	t.sum.add(t.kind, record)
}

func (t *table) remove(slot uint32, id string) {
	t.ids.remove(id, slot)
	t.sum.remove(t.kind, t.at(slot))
	t.set(slot, "")
	t.free = append(t.free, slot)
	t.count--
}
