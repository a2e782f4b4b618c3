package node

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"github.com/weir-cluster/weir/cluster"
	"github.com/weir-cluster/weir/policy"
)

// limitNamesMax bounds the limits that get a label of their own; the rest is counted as other.
const limitNamesMax = 1000

// checkSeconds are the bounds of the latency histograms, from a decision in memory to one that waited for the
// ledger.
func checkSeconds() []float64 {
	return []float64{0.00001, 0.000025, 0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5}
}

// The paths by which a check is decided, as seen by the node that counts.
const (
	pathHome     = "home"
	pathForward  = "forward"
	pathFallback = "fallback"
)

// gauges is what meters reads at each scrape.
type gauges struct {
	epoch, members, buckets, term, accounts func() float64
	leading                                 func() float64
}

// meters is a node's metrics. Labels are bounded: never an account or a key.
type meters struct {
	set     *metrics.Set
	seconds map[string]*metrics.PrometheusHistogram // by path
	errors  map[string]*metrics.Counter             // by path

	mu        sync.Mutex
	decisions map[decided]*metrics.Counter
	limits    map[string]bool // names that have a label of their own
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
		set: metrics.NewSet(), seconds: make(map[string]*metrics.PrometheusHistogram), errors: make(map[string]*metrics.Counter),
		decisions: make(map[decided]*metrics.Counter), limits: make(map[string]bool),
	}
	for _, path := range []string{pathHome, pathForward, pathFallback} {
		m.seconds[path] = m.set.NewPrometheusHistogramExt(fmt.Sprintf(`weir_check_duration_seconds{path=%q}`, path), checkSeconds())
		m.errors[path] = m.set.NewCounter(fmt.Sprintf(`weir_check_errors_total{path=%q}`, path))
	}
	m.set.NewGauge("weir_view_epoch", g.epoch)
	m.set.NewGauge("weir_members", g.members)
	m.set.NewGauge("weir_buckets", g.buckets)
	m.set.NewGauge("weir_raft_term", g.term)
	m.set.NewGauge("weir_raft_leading", g.leading)
	m.set.NewGauge("weir_ledger_accounts", g.accounts)
	m.set.NewGauge(fmt.Sprintf(`weir_build_info{version=%q}`, version), func() float64 { return 1 })
	return m
}

// write writes the node's metrics and its process's.
func (m *meters) write(w io.Writer) {
	m.set.WritePrometheus(w)
	metrics.WriteProcessMetrics(w)
}

// count notes one check that went a path.
func (m *meters) count(path string, took time.Duration, d policy.Decision, err error) {
	m.seconds[path].Update(took.Seconds())
	if err != nil {
		m.errors[path].Inc()
		return
	}
	m.counter(decided{limit: d.Refusing, path: path, verdict: d.Verdict, reason: d.Reason}).Inc()
}

func (m *meters) counter(k decided) *metrics.Counter {
	m.mu.Lock()
	defer m.mu.Unlock()
	if c := m.decisions[k]; c != nil {
		return c
	}
	if k.limit != "" && !m.limits[k.limit] {
		if len(m.limits) >= limitNamesMax {
			k.limit = "other"
		} else {
			m.limits[k.limit] = true
		}
	}
	c := m.decisions[k]
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
	d.m.count(pathHome, d.now().Sub(began), answer, err)
	return answer, err
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
	f.m.count(pathFallback, f.now().Sub(began), answer, err)
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
	p.m.count(pathForward, p.now().Sub(began), answer, err)
	return answer, err
}
