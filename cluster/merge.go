package cluster

import (
	"fmt"
	"slices"

	"github.com/weir-cluster/weir/policy"
)

// Merge takes in what a deputy took for this node. What is shipped from then on names the report, so that its deputy, and the next
// home, know that it is in there.
func (c *Copies) Merge(r Report) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	h := &c.held[r.Partition]
	if h.role != home {
		return fmt.Errorf("%w: partition %d was handed over", policy.ErrUnavailable, r.Partition)
	}
	if r.Kept > 0 {
		return c.mergeKept(h, r)
	}
	if slices.Contains(h.merged, r.Source) {
		return nil
	}
	if err := c.cfg.State.Merge(r.Partition, r.Source, r.Debits); err != nil || !r.Last {
		return err
	}
	h.merged = append(slices.Clone(h.merged[max(0, len(h.merged)-mergedMax+1):]), r.Source) // parcels have the others
	return nil
}

// mergeKept takes in what another node's disk kept of the tenure directly before, if this one began without any copy: the first that
// is offered, and nothing else.
func (c *Copies) mergeKept(h *holding, r Report) error {
	if !h.cold || r.Kept != c.view.Table.Priors[r.Partition] || h.found != 0 && h.found != r.Source {
		return nil
	}
	h.found = r.Source
	if len(r.Debits) > 0 {
		if err := c.cfg.State.Merge(r.Partition, r.Source, r.Debits); err != nil {
			return err
		}
	}
	if len(r.Records) > 0 {
		if err := c.cfg.State.Remember(r.Partition, r.Records, r.Age); err != nil {
			return err
		}
	}
	if r.Last {
		h.cold = false
		c.tally.Found++
	}
	return nil
}
