package node

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"github.com/weir-cluster/weir/cluster"
	"github.com/weir-cluster/weir/limiter"
	"github.com/weir-cluster/weir/policy"
	"github.com/weir-cluster/weir/ring"
)

const snapshotPolicy = `
version: 1
domains:
  d:
    account: [user]
    limits:
      - {name: bucket, key: [user], algorithm: token_bucket, rate: 60/h, burst: 20}
      - {name: drained, key: [user], algorithm: token_bucket, rate: 60/h, burst: 20, takeover: empty}
      - {name: hour, key: [user], algorithm: fixed_window, limit: 20, window: 1h}
      - {name: month, key: [user], algorithm: calendar_window, limit: 20, window: month}
      - {name: slide, key: [user], algorithm: sliding_window, limit: 20, window: 1h}
      - {name: log, key: [user], algorithm: rolling_log, limit: 20, window: 1h}
      - {name: slots, key: [user], algorithm: concurrency, limit: 20, ttl: 30m}
`

// life is what a process has in memory, and its snapshots.
type life struct {
	t         testing.TB
	now       *time.Time
	views     *cluster.Views
	buckets   *limiter.Store
	records   *policy.Records
	decider   policy.Trier
	waterfall *policy.Waterfall
	snapshots *snapshots
	set       *metrics.Set
	log       *lines

	mu   sync.Mutex
	kept map[uint16]keptAs
}

type keptAs struct {
	tenure uint64
	own    bool
}

// lines collects what is logged.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *lines) count(what string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), what)
}

const me = "n1/store-1"

// newLife starts a process that has read what the disk kept.
func newLife(t testing.TB, disk Snapshots, now *time.Time) *life {
	t.Helper()
	l := bareLife(t, disk, now)
	l.snapshots.load(me, l.set)
	return l
}

// bareLife is one that has not.
func bareLife(t testing.TB, disk Snapshots, now *time.Time) *life {
	t.Helper()
	p, err := policy.Parse("test.yaml", []byte(snapshotPolicy))
	if err != nil {
		t.Fatal(err)
	}
	clock := func() time.Time { return *now }
	current := func() *policy.Policy { return p.WithVersion(1) }
	l := &life{
		t: t, now: now, views: cluster.NewViews(nil), buckets: limiter.NewStore(limiter.DefaultConfig()), kept: map[uint16]keptAs{},
		set: metrics.NewSet(), log: &lines{}, records: policy.NewRecords(policy.RecordsConfig{Policy: current, Now: clock}),
	}
	l.waterfall = policy.NewWaterfall(policy.WaterfallConfig{
		Policy: current, Limits: l.buckets, Hasher: func() limiter.Hasher { return limiter.NewHasher([16]byte{1}) }, Now: clock, Records: l.records,
	})
	l.decider = policy.Idempotent(l.waterfall, policy.IdempotentConfig{Policy: current, Now: clock, Records: l.records})
	l.snapshots = newSnapshots(snapshotsConfig{
		Disk: disk, Every: 5 * time.Second, Views: l.views, Buckets: l.buckets, Records: l.records, Now: clock, Kept: l.keeps,
		Logger: slog.New(slog.NewTextHandler(l.log, nil)),
	})
	return l
}

func (l *life) keeps(p uint16) (uint64, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.kept[p].tenure, l.kept[p].own
}

// holds says that the process is home or deputy of a partition.
func (l *life) holds(p uint16, tenure uint64, own bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.kept[p] = keptAs{tenure, own}
}

// sees brings a view into force in which this node or another is home of all.
func (l *life) sees(name string, epoch, since, prior uint64, server string) {
	l.t.Helper()
	table := new(ring.Table)
	for p := range table.Homes {
		table.Deputies[p], table.Nexts[p], table.Since[p], table.Priors[p] = ring.None, ring.None, since, prior
	}
	v := &cluster.View{Epoch: epoch, Cluster: name, Roster: []cluster.Member{{Name: "n1", Server: server}}, Table: table}
	if _, err := l.views.Learn(v); err != nil {
		l.t.Fatal(err)
	}
}

func (l *life) check(user string, with ...func(*policy.Request)) policy.Decision {
	l.t.Helper()
	r := policy.Request{Domain: "d", Attributes: []policy.Attribute{{Name: "user", Value: user}}, Explain: true}
	for _, change := range with {
		change(&r)
	}
	d, err := l.decider.Check(l.t.Context(), r)
	if err != nil {
		l.t.Fatal(err)
	}
	return d
}

func peek(r *policy.Request)    { r.Mode = policy.Peek }
func reserve(r *policy.Request) { r.Mode = policy.Reserve }
func keyed(r *policy.Request)   { r.IdempotencyKey = "once" }

// write writes a snapshot as Run would.
func (l *life) write() {
	l.t.Helper()
	if err := l.snapshots.write(); err != nil {
		l.t.Fatal(err)
	}
}

// copies takes in, as a deputy, some of a partition: what another process has of it.
func (l *life) copies(p uint16, from *life) {
	l.t.Helper()
	b, _, _ := from.buckets.Export(p, l.now.UnixNano(), limiter.Cursor{Sequence: 1 << 32}, 1<<20)
	if err := l.buckets.Restore(p, l.now.UnixNano(), 0, b); err != nil {
		l.t.Fatal(err)
	}
}

// brokenDisk fails, or waits, while it is told to.
type brokenDisk struct {
	Snapshots
	mu     sync.Mutex
	err    error
	stall  chan struct{} // nil: none
	writes int           // that ended well
}

func (d *brokenDisk) set(err error, stall chan struct{}) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.err, d.stall = err, stall
}

func (d *brokenDisk) Save(write func(io.Writer) error) error {
	d.mu.Lock()
	err, stall := d.err, d.stall
	d.mu.Unlock()
	if stall != nil {
		<-stall
	}
	if err == nil {
		err = d.Snapshots.Save(write)
	} else {
		_ = write(io.Discard) // it breaks at the end
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if err == nil {
		d.writes++
	}
	return err
}

func (d *brokenDisk) wrote() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.writes
}

var errDisk = errors.New("no space left on the test's disk")

// files are the names of what is in a directory, sorted.
func files(t testing.TB, dir string) []string {
	t.Helper()
	all, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	for i := range all {
		all[i] = filepath.Base(all[i])
	}
	slices.Sort(all)
	return all
}

func snapshotBytes(t testing.TB, dir string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, snapshotName))
	if err != nil {
		t.Fatal(err)
	}
	return b
}
