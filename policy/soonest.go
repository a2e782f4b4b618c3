package policy

// soonest has the decided first checks, the one to be forgotten next at the front: a binary heap (Williams, 1964). A check's
// place is its index here, plus one.
type soonest []*first

// front returns the one that ends first, nil when there is none.
func (h soonest) front() *first {
	if len(h) == 0 {
		return nil
	}
	return h[0]
}

func (h *soonest) push(f *first) {
	*h = append(*h, f)
	h.up(len(*h) - 1)
}

// remove takes a check out, if it is in.
func (h *soonest) remove(f *first) {
	if f.place == 0 {
		return
	}
	i, last := f.place-1, len(*h)-1
	moved := (*h)[last]
	(*h)[last] = nil
	*h, f.place = (*h)[:last], 0
	if i < last {
		(*h)[i] = moved
		h.up(i)
		h.down(moved.place - 1)
	}
}

func (h *soonest) up(i int) {
	a, f := *h, (*h)[i]
	for ; i > 0 && f.until.Before(a[(i-1)/2].until); i = (i - 1) / 2 {
		a.set(i, a[(i-1)/2])
	}
	a.set(i, f)
}

func (h *soonest) down(i int) {
	a, f := *h, (*h)[i]
	for {
		child := 2*i + 1
		if child+1 < len(a) && a[child+1].until.Before(a[child].until) {
			child++
		}
		if child >= len(a) || !a[child].until.Before(f.until) {
			break
		}
		a.set(i, a[child])
		i = child
	}
	a.set(i, f)
}

func (h soonest) set(i int, f *first) {
	h[i] = f
	f.place = i + 1
}
