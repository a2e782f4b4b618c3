package policy

import "iter"

// Export returns all records of a partition, in chunks of about most bytes and at least one record each, for Restore; none
// when there are none. It changes nothing and is independent of Track. Records may change between chunks: each is as it is
// when its chunk is made.
func (rs *Records) Export(p uint16, most int) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for all := rs.shelved(p); len(all) > 0; {
			chunk, rest := rs.exported(p, all, most)
			if chunk != nil && !yield(chunk) {
				return
			}
			all = rest
		}
	}
}

// shelved returns the records of a partition, but checks that are still being decided.
func (rs *Records) shelved(p uint16) []record {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	s := &rs.shelves[p]
	all := make([]record, 0, len(s.reservations)+len(s.firsts))
	for _, r := range s.reservations {
		all = append(all, r)
	}
	for _, f := range s.firsts {
		if f.place > 0 {
			all = append(all, f)
		}
	}
	return all
}

// exported returns a chunk of the first records, nil if they are live no more, and the rest of them.
func (rs *Records) exported(p uint16, all []record, most int) (chunk []byte, rest []record) {
	policy, now := rs.c.Policy(), rs.c.Now()
	rs.mu.Lock()
	defer rs.mu.Unlock()
	s := &rs.shelves[p]
	chunk = appendHead(nil, policy)
	head := len(chunk)
	for i, r := range all {
		if !s.live(r, now) {
			continue
		}
		with := r.append(chunk, now)
		if len(chunk) > head && len(with) > most {
			return chunk, all[i:]
		}
		chunk = with
	}
	if len(chunk) == head {
		return nil, nil
	}
	return chunk, nil
}

// Revision returns a number that grows whenever a record changes. It does not when one ends by its age.
func (rs *Records) Revision() uint64 {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	return rs.revision
}
