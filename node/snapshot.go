package node

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"github.com/weir-cluster/weir/cluster"
	"github.com/weir-cluster/weir/limiter"
	"github.com/weir-cluster/weir/policy"
	"github.com/weir-cluster/weir/ring"
)

const (
	snapshotLook  = time.Second      // between looks whether there is something to write
	snapshotSlow  = 10 * time.Second // a write that takes longer is told of
	snapshotLast  = 5 * time.Second  // bounds the writes at a stop
	snapshotRest  = 10               // times as long as a write took pass from its begin to the next one's
	snapshotChunk = 64 << 10
	// seenLate is how much older than another one a clock reading may be that a partition is changed by after it.
	seenLate = time.Second
)

// snapshotsConfig is what snapshots work with.
type snapshotsConfig struct {
	Disk    Snapshots // nil: nothing is kept
	Every   time.Duration
	Views   *cluster.Views
	Peers   cluster.Peers // to whom what the disk kept is offered
	Buckets *limiter.Store
	Records *policy.Records
	Now     func() time.Time
	Logger  *slog.Logger
	// Kept returns the tenure of which this node has a whole partition, zero if it has none, and whether it is, or was, the
	// home in it.
	Kept func(p uint16) (tenure uint64, own bool)
}

// snapshots writes what this node is home and deputy of to its disk, every few seconds while it changes and at a graceful
// stop, so that buckets, reservations and remembered checks outlast the end of every node. What the disk kept is taken in by
// Recall, and until then stays in the snapshots that are written.
type snapshots struct {
	cfg    snapshotsConfig
	server string // id of the node's storage
	past   past   // what the disk kept

	// Only Run and the write on its way, of which there is one at most, touch these, one after the other.
	written  [ring.Partitions]writtenPart
	revision uint64    // of the records, when they were written
	began    time.Time // the last write
	took     time.Duration
	trouble  bool   // was told of
	buffer   []byte // of the section that is being written

	wrote    atomic.Int64 // when the disk last had all there was, Unix nanoseconds
	bytes    atomic.Int64 // of the last snapshot
	lasted   atomic.Int64 // ns that it took
	rejected *metrics.Counter
}

// writtenPart is what the disk has of a partition.
type writtenPart struct {
	tenure uint64 // 0: nothing
	at     int64  // Unix nanoseconds
}

func newSnapshots(c snapshotsConfig) *snapshots { return &snapshots{cfg: c} }

// load reads what the disk kept for a server, before Run and Recall, and adds the metrics to a set. What cannot be read or is of
// no use is told of, and no error.
func (s *snapshots) load(server string, set *metrics.Set) {
	began := s.cfg.Now()
	s.server = server
	s.wrote.Store(began.UnixNano())
	if s.cfg.Disk == nil {
		return
	}
	set.NewGauge("weir_snapshot_age_seconds", func() float64 { return s.age().Seconds() })
	set.NewGauge("weir_snapshot_bytes", func() float64 { return float64(s.bytes.Load()) })
	set.NewGauge("weir_snapshot_write_seconds", func() float64 { return time.Duration(s.lasted.Load()).Seconds() })
	s.rejected = set.NewCounter("weir_snapshots_rejected_total")
	var err error
	if s.past.cluster, s.past.sections, err = s.open(); err != nil {
		s.reject(err)
	} else if n := len(s.past.sections); n > 0 {
		s.cfg.Logger.Info("snapshot read", "partitions", n, "took", s.cfg.Now().Sub(began))
	}
}

func (s *snapshots) open() (cluster string, sections map[uint16]*section, err error) {
	r, err := s.cfg.Disk.Open()
	if err != nil || r == nil {
		return "", nil, err
	}
	defer r.Close()
	return readSnapshot(r, s.server)
}

// Run writes until ctx ends, and then once more.
func (s *snapshots) Run(ctx context.Context) error {
	if s.cfg.Disk == nil {
		<-ctx.Done()
		return nil
	}
	var offered sync.WaitGroup
	defer offered.Wait()
	offered.Go(func() { s.offer(ctx) })
	tick := time.NewTicker(snapshotLook)
	defer tick.Stop()
	var ended <-chan error // of the write on its way; nil: there is none
	for {
		select {
		case err := <-ended:
			ended = nil
			s.tell(err)
		case <-tick.C:
			switch {
			case ended != nil && s.cfg.Now().Sub(s.began) > snapshotSlow:
				s.tell(fmt.Errorf("the disk has not finished it for %s", snapshotSlow))
			case ended == nil && s.due():
				ended = s.start()
			}
		case <-ctx.Done():
			s.finish(ended)
			return nil
		}
	}
}

// finish writes for the last time. A disk that does not return keeps what it has.
func (s *snapshots) finish(ended <-chan error) {
	late := time.NewTimer(snapshotLast)
	defer late.Stop()
	for _, last := range [...]bool{false, true} {
		if last && s.home() != "" {
			ended = s.start()
		}
		if ended == nil {
			continue
		}
		select {
		case err := <-ended:
			ended = nil
			s.tell(err)
		case <-late.C:
			s.tell(fmt.Errorf("the disk has not finished it for %s, and this node stops", snapshotLast))
			return
		}
	}
}

// home is the cluster that this node is of, empty before it is known.
func (s *snapshots) home() string {
	if v := s.cfg.Views.Current(); v != nil {
		return v.Cluster
	}
	return ""
}

// due says whether it is time to write: at once, but for a rest, when this node has begun something of which the disk does not
// know, since what the disk has is of no use then.
func (s *snapshots) due() bool {
	now, here := s.cfg.Now(), s.home()
	if here == "" || now.Sub(s.began) < min(snapshotRest*s.took, s.cfg.Every) {
		return false
	}
	if s.past.foreign(here) {
		s.reject(fmt.Errorf("%w: it is of cluster %q, this node is of %q", errForeign, s.past.cluster, here))
		s.past.clear()
	}
	revision := s.cfg.Records.Revision()
	changed := revision != s.revision
	for i := range s.written {
		tenure, _ := s.cfg.Kept(uint16(i))
		w := &s.written[i]
		if tenure != w.tenure && tenure > 0 {
			return true
		}
		changed = changed || tenure != w.tenure || tenure > 0 && s.cfg.Buckets.Seen(uint16(i)) >= w.at-int64(seenLate)
	}
	if !changed {
		s.wrote.Store(now.UnixNano())
	}
	return changed && now.Sub(s.began) >= s.cfg.Every
}

// start begins a write; what comes of it is received once.
func (s *snapshots) start() <-chan error {
	ended := make(chan error, 1)
	s.began = s.cfg.Now()
	go func() { ended <- s.write() }()
	return ended
}

func (s *snapshots) write() error {
	began := s.cfg.Now()
	s.revision = s.cfg.Records.Revision()
	size := int64(0)
	err := s.cfg.Disk.Save(func(w io.Writer) error {
		x := writeSnapshot(w, s.home(), s.server)
		for p := 0; p < ring.Partitions && x.err == nil; p++ {
			if part := s.section(uint16(p)); part != nil {
				x.section(part)
			}
		}
		err := x.end()
		size = x.bytes
		return err
	})
	s.took, s.buffer = s.cfg.Now().Sub(began), nil
	if err != nil {
		clear(s.written[:]) // the disk has something older
		return err
	}
	s.wrote.Store(began.UnixNano())
	s.bytes.Store(size)
	s.lasted.Store(int64(s.took))
	return nil
}

// section is what the next snapshot has of a partition, nil for nothing. If the tenure that this node has it of changes
// meanwhile, what was copied out may be of neither, and what the disk kept may just have been recalled: then it looks again.
func (s *snapshots) section(p uint16) *section {
	w := &s.written[p]
	*w = writtenPart{}
	for range 2 {
		tenure, own := s.cfg.Kept(p)
		var part *section
		if tenure == 0 {
			part = s.past.carry(p, s.cfg.Views.Current())
		} else {
			part = s.copyOut(p, tenure, own)
		}
		if after, _ := s.cfg.Kept(p); after != tenure {
			continue
		}
		if tenure > 0 {
			*w = writtenPart{tenure, part.at}
			s.past.outlive(p, s.server, s.cfg.Views.Current())
		}
		return part
	}
	return nil // it comes with the next snapshot, which follows at once
}

// copyOut returns a section that is good until the next one.
func (s *snapshots) copyOut(p uint16, tenure uint64, own bool) *section {
	seen := s.cfg.Buckets.Seen(p)
	at := max(seen, s.cfg.Now().UnixNano()) // what is exported is as of then
	part := &section{partition: p, tenure: tenure, at: at, pieces: s.buffer[:0]}
	if !own {
		part.epoch = s.cfg.Views.Epoch()
	}
	for from, done := (limiter.Cursor{}), seen == 0; !done; {
		var chunk []byte
		chunk, from, done = s.cfg.Buckets.Export(p, at, from, snapshotChunk)
		part.add(pieceBuckets, chunk)
	}
	for chunk := range s.cfg.Records.Export(p, snapshotChunk) {
		part.add(pieceRecords, chunk)
	}
	s.buffer = part.pieces
	return part
}

// tell logs a trouble once, and once that it is over.
func (s *snapshots) tell(err error) {
	if is := err != nil; is != s.trouble {
		s.trouble = is
		if is {
			s.cfg.Logger.Warn("write a snapshot: a restart of all nodes would go on from an older one", "error", err, "age", s.age())
		} else {
			s.cfg.Logger.Info("snapshots are written again")
		}
	}
}

// reject sets the disk's snapshot aside.
func (s *snapshots) reject(why error) {
	s.rejected.Inc()
	where, err := s.cfg.Disk.SetAside(s.cfg.Now())
	if err != nil {
		where = err.Error()
	}
	s.cfg.Logger.Warn("the snapshot of the partitions is of no use: what no other node has a copy of starts cold",
		"because", why, "aside", where, "do", remedy(why))
}

// age is for how long the disk has not had all there is.
func (s *snapshots) age() time.Duration {
	return max(0, s.cfg.Now().Sub(time.Unix(0, s.wrote.Load())))
}
