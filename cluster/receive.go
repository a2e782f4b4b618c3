package cluster

import "slices"

// Receive takes in what another node ships. A parcel that came before changes nothing, and one of a home that is none any more
// neither.
func (c *Copies) Receive(s Shipment) Receipt {
	c.mu.Lock()
	defer c.mu.Unlock()
	var r Receipt
	for _, a := range s.Parcels {
		switch {
		case c.view == nil || !c.takesPart(&a):
			r.Refused = add(r.Refused, a.Partition)
		case !c.follows(&a):
			r.Again = add(r.Again, a.Partition)
		default:
			if err := c.take(&a); err != nil {
				c.cfg.Logger.Warn("take in a copy", "partition", a.Partition, "from", s.Name, "error", err)
				r.Refused = add(r.Refused, a.Partition)
			}
		}
	}
	return r
}

func add(to []uint16, p uint16) []uint16 {
	if slices.Contains(to, p) {
		return to
	}
	return append(to, p)
}

// takesPart says whether a parcel is for this node: of the present home for who copies it, or of the one before for whoever is
// home next, even if it has begun without.
func (c *Copies) takesPart(a *Parcel) bool {
	if int(a.Partition) >= len(c.held) {
		return false
	}
	h := &c.held[a.Partition]
	since, prior := c.view.Table.Since[a.Partition], c.view.Table.Priors[a.Partition]
	switch h.role {
	case heir:
		return a.Tenure < since
	case copier:
		return a.Tenure == since || a.Tenure == prior
	case leaver:
		return a.Tenure > h.tenure && a.Tenure == since
	case home:
		return a.Tenure < since // and comes too late
	}
	return false
}

// follows says whether nothing is missing between what is here and a parcel. What is older is here already.
func (c *Copies) follows(a *Parcel) bool {
	h := &c.held[a.Partition]
	if h.tenure == a.Tenure && h.role != leaver {
		return a.First || a.Number <= h.number+1
	}
	return a.First || a.Tenure < h.tenure
}

// take takes in a parcel, if it is new.
func (c *Copies) take(a *Parcel) error {
	h := &c.held[a.Partition]
	if h.role == leaver { // the new home ships already: so it has the last parcel
		c.leave(a.Partition)
	}
	if h.role == home || a.Tenure < h.tenure || a.Tenure == h.tenure && a.Number <= h.number {
		return nil
	}
	if len(a.State) > 0 {
		err := c.cfg.Debits.Beside(a.Partition, a.Merged, func(owed [][]byte) error {
			return c.cfg.State.Restore(a.Partition, a.State, owed)
		})
		if err != nil {
			return err
		}
	}
	h.tenure, h.number, h.merged = a.Tenure, a.Number, a.Merged
	if a.Whole {
		h.whole = a.Tenure
	}
	if a.Last {
		h.last = a.Tenure
	}
	if h.role == heir {
		h.await = c.cfg.Now().Add(awaitLast)
		c.enter(a.Partition)
	}
	return nil
}
