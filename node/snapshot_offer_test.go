package node

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weir-cluster/weir/cluster"
	"github.com/weir-cluster/weir/ring"
)

// coldHome is a process that another one offers to what its disk kept.
type coldHome struct {
	*life
	down    bool
	told    int // parts
	offered map[uint64]bool
}

func (h *coldHome) Peer(string) cluster.Peer { return coldPeer{coldHome: h} }

type coldPeer struct {
	cluster.Peer
	*coldHome
}

func (h coldPeer) Report(_ context.Context, r cluster.Report) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.down {
		return cluster.ErrUnreachable
	}
	h.told++
	h.offered[r.Source] = true
	state := estate{h.buckets, h.records, h.snapshots.cfg.Now, h.snapshots}
	if len(r.Records) > 0 {
		return state.Remember(r.Partition, r.Records, r.Age)
	}
	return state.Merge(r.Partition, r.Source, r.Debits)
}

func TestWhatTheDiskKeptIsOfferedToAHomeThatMayBeCold(t *testing.T) {
	for name, c := range map[string]struct {
		prior uint64 // the tenure before the home's; the disk is of the third
		own   bool
		later time.Duration
		told  bool
		// What is left of limits of 20 five minutes after the home began cold: of windows, and of what ages.
		windows, ages int64
	}{
		"a home's":            {3, true, time.Minute, true, 13, 13},
		"a copy":              {3, false, 20 * time.Second, true, 13, 13},
		"a copy that is old":  {3, false, time.Minute, true, 13, 19},
		"after other tenures": {4, true, time.Minute, false, 18, 18},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				now, disk := time.Now(), SnapshotsIn(t.TempDir())
				p := ring.Partition("d", "alice")
				first := newLife(t, disk, &now)
				first.sees("c", 3, 3, 0, me)
				first.holds(p, 3, c.own)
				for range 5 {
					first.check("alice")
				}
				keptFirst := first.check("alice", keyed)
				first.write()
				now = now.Add(c.later)
				home := &coldHome{life: newLife(t, nil, &now), offered: map[uint64]bool{}, down: true}
				home.buckets.Cold(p, now.UnixNano())
				next := newLife(t, disk, &now)
				next.snapshots.cfg.Peers = home
				ctx, cancel := context.WithCancel(t.Context())
				ended := make(chan struct{})
				go func() { next.snapshots.offer(ctx); close(ended) }()
				time.Sleep(2 * snapshotLook)
				next.sees("c", 9, 9, c.prior, "another")
				next.holds(p, 9, false) // it is deputy by now, and has a copy of what the home has
				next.write()
				time.Sleep(2 * snapshotLook)
				home.mu.Lock()
				home.down = false
				home.mu.Unlock()
				time.Sleep(2 * snapshotLook)
				home.mu.Lock()
				if told := home.told > 0; told != c.told || len(home.offered) > 1 {
					t.Errorf("told %d parts of %d reports", home.told, len(home.offered))
				}
				home.mu.Unlock()
				if c.told {
					<-ended // nothing is left to offer
				}
				now = now.Add(5 * time.Minute)
				if again := home.check("alice", keyed).ID == keptFirst.ID; again != c.told {
					t.Errorf("the key is known: %t", again)
				}
				home.has(c.windows, c.ages)
				cancel()
			})
		})
	}
}

// has checks what is left of the limits: of windows, and of what ages.
func (l *life) has(windows, ages int64) {
	l.t.Helper()
	want := map[string]int64{"hour": windows, "month": windows, "slide": windows, "log": ages, "slots": ages} // the others are drained more
	for _, limit := range l.check("alice", peek).Limits {
		if n, some := want[limit.Name]; some && limit.Remaining != n {
			l.t.Errorf("%s: %d left, want %d", limit.Name, limit.Remaining, n)
		}
	}
}
