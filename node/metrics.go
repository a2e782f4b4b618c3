package node

import (
	"context"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"github.com/weir-cluster/weir/cluster"
	"github.com/weir-cluster/weir/policy"
)

// limitNamesMax bounds the limits that get a label of their own; the rest is counted as other.
const limitNamesMax = 1000

// The paths by which a check is decided, as seen by the node that counts.
const (
	pathHome      = "home"
	pathForward   = "forward"
	pathFallback  = "fallback"
	pathDeputy    = "deputy"
	pathLeaseless = "leaseless"
)

var paths = [...]string{pathHome, pathForward, pathFallback, pathDeputy, pathLeaseless}

const durationName = "weir_check_duration_seconds"

// gauges is what meters reads at each scrape.
type gauges struct {
	tally                         func() cluster.Tally
	lost                          func() uint64 // leases
	moves                         func() (done uint64, took time.Duration)
	unreached                     func() float64 // members
	epoch, members, buckets, term func() float64
	books                         map[string]func() float64 // of the ledger, by name
	shares, bound                 func() float64            // buckets of shares; the most of these and of the home's each
	leading                       func() float64
	lease                         func() float64 // seconds
}

// meters is a node's metrics. Labels are bounded: never an account or a key.
type meters struct {
	set     *metrics.Set
	seconds map[string]*histogram       // by path
	errors  map[string]*metrics.Counter // by path
	plain   map[string]*plainCounts     // of decisions that no limit refused, by path

	mu        sync.RWMutex
	decisions map[decided]*metrics.Counter
	limits    map[string]bool // names that have a label of their own
}

// plainCounts finds the counter of most decisions without a lock. A place is filled when it is first asked for.
type plainCounts [4][32]atomic.Pointer[metrics.Counter]

func (c *plainCounts) at(v policy.Verdict, r policy.Reason) *atomic.Pointer[metrics.Counter] {
	if int(v) >= len(c) || int(r) >= len(c[v]) {
		return nil
	}
	return &c[v][r]
}

// decided is what decisions are counted by.
type decided struct {
	limit, path string
	verdict     policy.Verdict
	reason      policy.Reason
}

func newMeters(version string, g gauges) *meters {
	metrics.ExposeMetadata(true) // TYPE lines; the library has one switch for the whole process
	m := &meters{
		set: metrics.NewSet(), seconds: make(map[string]*histogram), errors: make(map[string]*metrics.Counter),
		plain:     make(map[string]*plainCounts),
		decisions: make(map[decided]*metrics.Counter), limits: make(map[string]bool),
	}
	for _, path := range paths {
		m.seconds[path], m.plain[path] = newHistogram(), new(plainCounts)
		m.errors[path] = m.set.NewCounter(fmt.Sprintf(`weir_check_errors_total{path=%q}`, path))
	}
	m.set.NewGauge("weir_view_epoch", g.epoch)
	m.set.NewGauge("weir_lease_seconds", g.lease)
	m.set.NewGauge("weir_members", g.members)
	m.set.NewGauge("weir_buckets", g.buckets)
	m.set.NewGauge("weir_buckets_max", g.bound)
	m.set.NewGauge("weir_share_buckets", g.shares)
	m.set.NewGauge("weir_raft_term", g.term)
	m.set.NewGauge("weir_raft_leading", g.leading)
	for name, of := range map[string]func(cluster.Tally) float64{
		"weir_shipped_parcels_total":          func(t cluster.Tally) float64 { return float64(t.Parcels) },
		"weir_shipped_bytes_total":            func(t cluster.Tally) float64 { return float64(t.Bytes) },
		"weir_moved_bytes_total":              func(t cluster.Tally) float64 { return float64(t.Moved) },
		"weir_shipped_anew_total":             func(t cluster.Tally) float64 { return float64(t.Again) },
		"weir_handed_over_partitions_total":   func(t cluster.Tally) float64 { return float64(t.HandedOver) },
		`weir_tenures_total{start="copy"}`:    func(t cluster.Tally) float64 { return float64(t.Inherited) },
		`weir_tenures_total{start="cold"}`:    func(t cluster.Tally) float64 { return float64(t.Cold) },
		"weir_tenures_found_total":            func(t cluster.Tally) float64 { return float64(t.Found) },
		"weir_copies_behind_seconds":          func(t cluster.Tally) float64 { return t.Behind.Seconds() },
		`weir_moving_partitions{to="others"}`: func(t cluster.Tally) float64 { return float64(t.Leaving) },
		`weir_moving_partitions{to="this"}`:   func(t cluster.Tally) float64 { return float64(t.Awaiting) },
	} {
		m.set.NewGauge(name, func() float64 { return of(g.tally()) })
	}
	m.set.NewGauge("weir_moves_total", func() float64 { done, _ := g.moves(); return float64(done) })
	m.set.NewGauge("weir_moves_seconds_total", func() float64 { _, took := g.moves(); return took.Seconds() })
	m.set.NewGauge("weir_unreached_members", g.unreached)
	for name, of := range g.books {
		m.set.NewGauge(name, of)
	}
	m.set.NewGauge("weir_leases_lost_total", func() float64 { return float64(g.lost()) })
	m.set.NewGauge(fmt.Sprintf(`weir_build_info{version=%q}`, version), func() float64 { return 1 })
	return m
}

// write writes the node's metrics and its process's.
func (m *meters) write(w io.Writer) {
	m.set.WritePrometheus(w)
	fmt.Fprintf(w, "# TYPE %s histogram\n", durationName)
	for _, path := range paths {
		m.seconds[path].write(w, durationName, path)
	}
	metrics.WriteProcessMetrics(w)
}

// count notes one check that went a path.
func (m *meters) count(path string, took time.Duration, d *policy.Decision, err error) {
	m.seconds[path].note(took, 1)
	m.tally(path, d, err)
}

// tally counts what became of a check that went a path.
func (m *meters) tally(path string, d *policy.Decision, err error) {
	if err != nil {
		m.errors[path].Inc()
		return
	}
	k := decided{limit: d.Refusing, path: path, verdict: d.Verdict, reason: d.Reason}
	place := m.plain[path].at(k.verdict, k.reason)
	if k.limit != "" || place == nil {
		m.counter(k).Inc()
		return
	}
	c := place.Load()
	if c == nil {
		c = m.counter(k)
		place.Store(c)
	}
	c.Inc()
}

func (m *meters) counter(k decided) *metrics.Counter {
	m.mu.RLock()
	c := m.decisions[k]
	m.mu.RUnlock()
	if c != nil {
		return c
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if k.limit != "" && !m.limits[k.limit] {
		if len(m.limits) >= limitNamesMax {
			k.limit = "other"
		} else {
			m.limits[k.limit] = true
		}
	}
	c = m.decisions[k]
	if c == nil {
		c = m.set.NewCounter(fmt.Sprintf(`weir_decisions_total{limit=%q,verdict=%q,reason=%q,path=%q}`, k.limit, k.verdict, k.reason, k.path))
		m.decisions[k] = c
	}
	return c
}

// metered counts the checks that this node decides as home.
type metered struct {
	cluster.Decider
	m   *meters
	now func() time.Time
}

// Check decides and counts.
func (d metered) Check(ctx context.Context, r policy.Request) (policy.Decision, error) {
	began := d.now()
	answer, err := d.Decider.Check(ctx, r)
	d.m.count(pathHome, d.now().Sub(began), &answer, err)
	return answer, err
}

// timedEach is how many checks that are decided at once stand behind one that is timed, on average: reading the clock
// twice would cost a tenth of deciding.
const timedEach = 16

// Try decides and counts what is decided. Its durations are a sample.
func (d metered) Try(r *policy.Request, answer *policy.Decision) (bool, error) {
	if mathrand.Uint32N(timedEach) > 0 {
		done, err := d.Decider.Try(r, answer)
		if done {
			d.m.tally(pathHome, answer, err)
		}
		return done, err
	}
	began := d.now()
	done, err := d.Decider.Try(r, answer)
	if done {
		d.m.seconds[pathHome].note(d.now().Sub(began), timedEach)
		d.m.tally(pathHome, answer, err)
	}
	return done, err
}

// meteredFallback counts the checks that this node decides without their home.
type meteredFallback struct {
	cluster.Fallback
	m   *meters
	now func() time.Time
}

// Check decides and counts.
func (f meteredFallback) Check(ctx context.Context, r policy.Request, nodes int) (policy.Decision, error) {
	began := f.now()
	answer, err := f.Fallback.Check(ctx, r, nodes)
	f.m.count(pathFallback, f.now().Sub(began), &answer, err)
	return answer, err
}

// Deputise decides and counts.
func (f meteredFallback) Deputise(ctx context.Context, r policy.Request) (policy.Decision, error) {
	began := f.now()
	answer, err := f.Fallback.Deputise(ctx, r)
	f.m.count(pathDeputy, f.now().Sub(began), &answer, err)
	return answer, err
}

// Leaseless decides and counts.
func (f meteredFallback) Leaseless(ctx context.Context, r policy.Request) (policy.Decision, error) {
	began := f.now()
	answer, err := f.Fallback.Leaseless(ctx, r)
	f.m.count(pathLeaseless, f.now().Sub(began), &answer, err)
	return answer, err
}

// meteredPeers counts the checks that this node forwards.
type meteredPeers struct {
	cluster.Peers
	m   *meters
	now func() time.Time
}

// Peer returns the peer, counted.
func (p meteredPeers) Peer(address string) cluster.Peer {
	return meteredPeer{p.Peers.Peer(address), p.m, p.now}
}

type meteredPeer struct {
	cluster.Peer
	m   *meters
	now func() time.Time
}

// Check forwards and counts.
func (p meteredPeer) Check(ctx context.Context, r policy.Request, epoch uint64) (policy.Decision, error) {
	began := p.now()
	answer, err := p.Peer.Check(ctx, r, epoch)
	p.m.count(pathForward, p.now().Sub(began), &answer, err)
	return answer, err
}

// Forward forwards and counts what comes of it.
func (p meteredPeer) Forward(
	ctx context.Context, id uint64, encoded string, epoch uint64, wait time.Duration, answer func(cluster.Carried, error),
) {
	p.Peer.Forward(ctx, id, encoded, epoch, wait, func(c cluster.Carried, err error) {
		p.m.count(pathForward, c.Took, &policy.Decision{Verdict: c.Verdict, Reason: c.Reason, Refusing: c.Refusing}, err)
		answer(c, err)
	})
}
