package node

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weir-cluster/weir/cluster"
)

const (
	// copyAge is how old a deputy's copy may be when nothing else tells that its home decided no more.
	copyAge = 30 * time.Second
	// longAgo is longer than any debt lasts.
	longAgo = time.Duration(1 << 62)
)

// past is what the disk kept of an earlier process. Of each partition it stays until somebody has decided since.
type past struct {
	cluster string // that it is of
	told    atomic.Bool

	mu       sync.Mutex // guards what follows
	sections map[uint16]*section
}

// foreign says whether it is another cluster's.
func (k *past) foreign(cluster string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.sections) > 0 && k.cluster != cluster
}

func (k *past) clear() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.sections = nil
}

// some says whether there is anything.
func (k *past) some() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.sections) > 0
}

// lost returns what others are home of by a view in the tenure directly after.
func (k *past) lost(server string, v *cluster.View) (all []*section) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for p, part := range k.sections {
		if home, ok := v.Home(p); ok && home.Server != server && v.Table.Priors[p] == part.tenure {
			all = append(all, part)
		}
	}
	return all
}

// outlive forgets what there is of a partition that this node has by now, but for what may be offered to its home.
func (k *past) outlive(p uint16, server string, v *cluster.View) {
	k.mu.Lock()
	defer k.mu.Unlock()
	part := k.sections[p]
	if part == nil {
		return
	}
	if home, ok := v.Home(p); ok && home.Server != server && v.Table.Priors[p] == part.tenure && v.Cluster == k.cluster {
		return
	}
	delete(k.sections, p)
}

func (k *past) drop(p uint16) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.sections, p)
}

// take returns what there is of a partition in a tenure, and forgets it.
func (k *past) take(p uint16, tenure uint64) *section {
	k.mu.Lock()
	defer k.mu.Unlock()
	part := k.sections[p]
	if part == nil || part.tenure != tenure {
		return nil
	}
	delete(k.sections, p)
	return part
}

// carry returns what there is of a partition for the next snapshot. It is of no use any more when by a view a tenure has ended since.
func (k *past) carry(p uint16, v *cluster.View) *section {
	k.mu.Lock()
	defer k.mu.Unlock()
	part := k.sections[p]
	if part == nil || v == nil || v.Table.Since[p] == part.tenure || v.Table.Priors[p] == part.tenure {
		return part
	}
	delete(k.sections, p)
	return nil
}

// Recall has a partition that nobody decides for be as the disk kept it, and says whether it was of use: of the tenure
// prior, directly before the one that begins with the epoch since. What this process has of the partition's buckets, which
// is not all, is forgotten.
//
// Debts are aged by the time that has passed. What this node wrote as home is all there was but for the last seconds. As
// a copy it may be too old, if the home went on without this node: it is taken for good if the very next view, or a
// short time, is all that lies between. Else only windows are taken from it, whose end is part of them, and the
// partition starts cold with these.
func (s *snapshots) Recall(p uint16, prior, since uint64) bool {
	part := s.past.take(p, prior)
	if part == nil || s.past.cluster != s.home() {
		return false
	}
	now := s.cfg.Now()
	age, debts, good := part.aged(now, since)
	s.cfg.Buckets.Drop(p)
	var spoilt error
	err := part.each(func(kind byte, chunk []byte) error {
		if kind == pieceRecords {
			spoilt = errors.Join(spoilt, s.cfg.Records.Restore(p, age, chunk))
			return nil
		}
		return s.cfg.Buckets.Restore(p, now.UnixNano(), debts, chunk)
	})
	if err != nil {
		s.cfg.Buckets.Drop(p)
	}
	if all := errors.Join(err, spoilt); all != nil && !s.past.told.Swap(true) {
		s.cfg.Logger.Warn("take in what the disk kept; more of the kind is not told of", "partition", p, "error", all)
	}
	return good && err == nil
}

// aged returns how old a section is, and how old its debts must be taken to be: if it is not good, that is so old that none is
// left.
func (s *section) aged(now time.Time, since uint64) (age, debts time.Duration, good bool) {
	age = max(0, now.Sub(time.Unix(0, s.at)))
	if s.epoch == 0 || since == s.epoch+1 || age <= copyAge {
		return age, age, true
	}
	return age, longAgo, false
}

// remedy says what a person should do about a snapshot that is of no use.
func remedy(why error) string {
	switch {
	case errors.Is(why, errForeign):
		return "nothing, if this data directory was moved here on purpose; else look for the one that is this node's"
	case errors.Is(why, errOtherVersion):
		return "nothing, if the limits may start cold; else stop all nodes, rename the file back and start the release that wrote it"
	case errors.Is(why, errDamaged):
		return "look after the disk; the file that was set aside can be deleted"
	}
	return "see that this node may read and write its data directory"
}
