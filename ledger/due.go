package ledger

import (
	"cmp"
	"slices"
)

// deadline is when a hold ends by itself.
type deadline struct {
	at int64
	id string
}

// soonest orders deadlines; it is total, because ids are unique.
func soonest(a, b deadline) int { return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.id, b.id)) }

// due knows the open holds of each account and of all, by deadline. It follows from the records of the holds.
type due struct {
	payers map[uint32]*queue
	heap   []*queue // by their first deadline
	count  int
}

// queue are the open holds of one account, soonest first. It is never empty.
type queue struct {
	holds []deadline
	payer uint32
	place int // in the heap
}

func newDue() due { return due{payers: map[uint32]*queue{}} }

// of returns a hold of the account whose time is over.
func (d *due) of(payer uint32, elapsed int64) (id string, ok bool) {
	q := d.payers[payer]
	if q == nil || q.holds[0].at > elapsed {
		return "", false
	}
	return q.holds[0].id, true
}

// first returns the soonest deadline of all.
func (d *due) first() (deadline, bool) {
	if len(d.heap) == 0 {
		return deadline{}, false
	}
	return d.heap[0].holds[0], true
}

func (d *due) add(payer uint32, n deadline) {
	q := d.payers[payer]
	if q == nil {
		q = &queue{payer: payer, place: len(d.heap)}
		d.payers[payer] = q
		d.heap = append(d.heap, q)
	}
	i, _ := slices.BinarySearchFunc(q.holds, n, soonest)
	q.holds = slices.Insert(q.holds, i, n)
	d.count++
	d.fix(q.place)
}

func (d *due) remove(payer uint32, n deadline) {
	q := d.payers[payer]
	i, _ := slices.BinarySearchFunc(q.holds, n, soonest)
	q.holds = slices.Delete(q.holds, i, i+1)
	d.count--
	if len(q.holds) > 0 {
		d.fix(q.place)
		return
	}
	delete(d.payers, payer)
	last := len(d.heap) - 1
	place := q.place
	d.swap(place, last)
	d.heap[last] = nil
	d.heap = d.heap[:last]
	if place < last {
		d.fix(place)
	}
}

func (d *due) less(i, j int) bool { return soonest(d.heap[i].holds[0], d.heap[j].holds[0]) < 0 }

func (d *due) swap(i, j int) {
	d.heap[i], d.heap[j] = d.heap[j], d.heap[i]
	d.heap[i].place, d.heap[j].place = i, j
}

// fix restores the order of the heap after the queue at i changed.
func (d *due) fix(i int) {
	for i > 0 && d.less(i, (i-1)/2) {
		d.swap(i, (i-1)/2)
		i = (i - 1) / 2
	}
	for {
		least := i
		for child := 2*i + 1; child <= 2*i+2 && child < len(d.heap); child++ {
			if d.less(child, least) {
				least = child
			}
		}
		if least == i {
			return
		}
		d.swap(i, least)
		i = least
	}
}

// ending is a hold that has ended, and the event that ended it.
type ending struct {
	seq  uint64
	hour int64
	slot uint32
}

// ended are the holds that wait to be forgotten, first ended first. What a later event ended again is in it twice.
type ended struct {
	all  []ending
	gone int // of all, from its beginning
}

func (e *ended) add(n ending) { e.all = append(e.all, n) }

func (e *ended) first() (ending, bool) {
	if e.gone == len(e.all) {
		return ending{}, false
	}
	return e.all[e.gone], true
}

func (e *ended) pop() {
	e.gone++
	if e.gone > len(e.all)/2 {
		e.all = append([]ending(nil), e.all[e.gone:]...)
		e.gone = 0
	}
}

// all lists the holds of an account whose time is over, soonest first.
func (d *due) all(payer uint32, elapsed int64, into []string) []string {
	if q := d.payers[payer]; q != nil {
		for i := 0; i < len(q.holds) && q.holds[i].at <= elapsed; i++ {
			into = append(into, q.holds[i].id)
		}
	}
	return into
}
