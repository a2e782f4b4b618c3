package sim

import (
	"context"
	_ "embed"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	weirv1 "github.com/weir-cluster/weir/api/weir/v1"
	"github.com/weir-cluster/weir/chaos"
	"github.com/weir-cluster/weir/client/rest"
)

const (
	domain       = "d"
	checkers     = 8  // clients that check
	bookers      = 3  // clients that write to the ledger
	users        = 10 // zipf: the first gets about a third of the checks
	funded       = 5  // of the users: they have credit to spill into
	zipfExponent = 1.2

	checkTimeout = 500 * time.Millisecond
	bookTimeout  = 3 * time.Second
	bookEvery    = 600 * time.Millisecond // each booker, on average
	policyEvery  = 8 * time.Second
	lookEvery    = 2 * time.Second // at every node's view
	listEvery    = 3 * time.Second // the movements of an account: it keeps the newest only
	entriesPage  = 100
	sampleMicros = 300  // the largest debit or hold
	grantMicros  = 2000 // each grant
	pastMax      = 40   // writes that a booker may repeat
)

// policyText is the policy that the cluster starts with.
//
//go:embed policy.yaml
var policyText string

// kinds are the workload's kinds of checks: each meets the limits of its name.
var kinds = []string{"bucket", "window", "slide", "open", "spill", "both", "strict", "strict-window", "strict-slide", "strict-log"}

// limitsOf returns the limits that a kind of check meets.
func limitsOf(kind string) []string {
	if kind == "both" {
		return []string{"bucket", "window"}
	}
	return []string{kind}
}

// otherPolicy is the policy that the operator changes to and fro: it admits less, never more. It changes no burst, and nothing of
// a strict limit: what raises one gives the difference at once, also where a successor began with nothing left of the lower one.
func otherPolicy() string {
	return strings.ReplaceAll(policyText, "{name: slide, match: {kind: slide}, key: [user], algorithm: sliding_window, limit: 6,",
		"{name: slide, match: {kind: slide}, key: [user], algorithm: sliding_window, limit: 5,")
}

// Rules returns what the checkers must know of the workload's limits. Rates have room for the drift of clocks. What the policy
// calls `takeover: empty` leaves nothing of windows only with `cold_start: drained`, which the strict ones say too.
func Rules(nodes int) []chaos.Limit {
	const drift = 1 + driftMax
	const window = 10 * time.Second
	all := []chaos.Limit{
		{Name: "bucket", Algorithm: "token_bucket", Rate: 0.5 * drift, Burst: 5, Fallback: "share"},
		{Name: "bucket", Algorithm: "token_bucket", Rate: 0.5 * drift, Burst: 3, Fallback: "share"}, // by operate
		{Name: "window", Algorithm: "fixed_window", Limit: 6, Window: window, Fallback: "share"},
		{Name: "slide", Algorithm: "sliding_window", Limit: 6, Window: window, Fallback: "share"},
		{Name: "slide", Algorithm: "sliding_window", Limit: 5, Window: window, Fallback: "share"}, // by otherPolicy
		{Name: "open", Algorithm: "token_bucket", Rate: 0.5 * drift, Burst: 5, Fallback: "open"},
		{Name: "spill", Algorithm: "token_bucket", Rate: 0.2 * drift, Burst: 2, Fallback: "share", Spill: true},
		{Name: "strict", Algorithm: "token_bucket", Rate: 0.5 * drift, Burst: 5, Fallback: "closed", Takeover: "empty"},
		{Name: "strict-window", Algorithm: "fixed_window", Limit: 6, Window: window, Fallback: "closed", Takeover: "empty"},
		{Name: "strict-slide", Algorithm: "sliding_window", Limit: 6, Window: window, Fallback: "closed", Takeover: "empty"},
		{Name: "strict-log", Algorithm: "rolling_log", Limit: 6, Window: window, Fallback: "closed", Takeover: "empty"},
	}
	for i := range all {
		all[i].Roster, all[i].Skew = nodes, 3*offsetMax // two nodes' offsets, and what drifts
		if all[i].Takeover == "" {
			all[i].Takeover = "copy"
		}
	}
	return all
}

// workload is clients at work.
type workload struct {
	c      *cluster
	doors  *doors
	record *recorder
	seed   uint64
	checks int // a second, of all clients together
	desk   desk
}

// hand is one client: it asks one thing at a time.
type hand struct {
	*workload
	id     int
	random *rand.Rand
	keys   int
	newest uint64     // index of the log that it was told
	past   []chaos.Op // the writes it may repeat much later, pastMax at most
	next   []chaos.Op // what it does before it draws again
}

func (w *workload) hand(id int) *hand {
	return &hand{workload: w, id: id, random: rand.New(rand.NewPCG(w.seed, uint64(id)+1<<40))}
}

// run has every client work until ctx ends and waits for what they have under way.
func (w *workload) run(ctx context.Context) {
	var all sync.WaitGroup
	id := 0
	for range checkers {
		h := w.hand(id)
		id++
		every := time.Duration(float64(time.Second) * checkers / float64(max(w.checks, 1)))
		all.Go(func() { h.repeat(ctx, every, h.check) })
	}
	for range bookers {
		h := w.hand(id)
		id++
		all.Go(func() { h.repeat(ctx, bookEvery, h.book) })
	}
	operator := w.hand(id)
	all.Go(func() { operator.repeat(ctx, policyEvery, operator.operate) })
	watcher := w.hand(id + 1)
	all.Go(func() { watcher.watch(ctx) })
	reader, seen := w.hand(id+2), make(map[string]uint64)
	all.Go(func() {
		reader.repeat(ctx, listEvery, func(ctx context.Context) { reader.list(ctx, reader.node(), reader.account(), seen) })
	})
	consumer := w.hand(id + 3)
	all.Go(func() { consumer.consume(ctx) })
	all.Wait()
}

// repeat does something again and again, at times drawn around every.
func (h *hand) repeat(ctx context.Context, every time.Duration, do func(ctx context.Context)) {
	for pause(ctx, time.Duration(h.random.ExpFloat64()*float64(every))) {
		do(ctx)
	}
}

func (h *hand) key(what string) string {
	h.keys++
	return fmt.Sprintf("%s-%d-%d", what, h.id, h.keys)
}

// user draws a user: the first is asked for most.
func (h *hand) user(of int) string {
	var sum float64
	for i := range of {
		sum += math.Pow(float64(i+1), -zipfExponent)
	}
	x := h.random.Float64() * sum
	for i := range of {
		if x -= math.Pow(float64(i+1), -zipfExponent); x < 0 {
			return fmt.Sprint("u", i)
		}
	}
	return "u0"
}

func (h *hand) node() *member {
	all := h.c.all()
	return all[h.random.IntN(len(all))]
}

// check asks any node for a decision; with a key it asks again after an unknown outcome, and now and then without need.
func (h *hand) check(ctx context.Context) {
	kind := kinds[h.random.IntN(len(kinds))]
	of := users
	if kind == "spill" {
		of = funded
	}
	user, mode, key := h.user(of), weirv1.Mode_MODE_CONSUME, ""
	op := chaos.Check
	switch {
	case h.random.IntN(20) == 0:
		mode, op = weirv1.Mode_MODE_PEEK, chaos.Peek
	case h.random.IntN(3) == 0:
		key = h.key("check")
	}
	request := &weirv1.CheckRequest{
		Domain: domain, IdempotencyKey: key, Mode: mode,
		Attributes: []*weirv1.Attribute{{Name: "user", Value: user}, {Name: "kind", Value: kind}},
	}
	for tries := 0; tries < 3; tries++ {
		outcome := h.ask(ctx, h.node(), request, chaos.Op{Kind: op, Account: user, Limits: limitsOf(kind), Key: key, Cost: 1})
		again := outcome != chaos.OK || h.random.IntN(4) == 0
		if key == "" || !again || ctx.Err() != nil {
			return
		}
	}
}

func (h *hand) ask(ctx context.Context, m *member, request *weirv1.CheckRequest, op chaos.Op) chaos.Outcome {
	access, err := h.doors.access(m)
	if err != nil {
		return chaos.Failed
	}
	op.Client, op.Node = h.id, m.name
	index := h.record.invoke(op)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), checkTimeout)
	defer cancel()
	d, err := access.Check(ctx, request)
	var reply chaos.Reply
	if err == nil {
		reply = ofDecision(d)
	}
	return h.record.settle(index, ofGRPC(err), reply, err).Outcome
}

// operate changes the policy, or what holds for one account beside it. No change admits more than Rules say.
func (h *hand) operate(ctx context.Context) {
	user := fmt.Sprint("u", funded+h.random.IntN(users-funded))
	op := chaos.Op{Kind: chaos.Override, Account: user}
	var what func(ctx context.Context, w *rest.Client) (uint64, error)
	switch h.random.IntN(5) {
	case 0, 1:
		text := policyText
		if h.random.IntN(2) == 0 {
			text = otherPolicy()
		}
		op = chaos.Op{Kind: chaos.Policy}
		what = func(ctx context.Context, w *rest.Client) (uint64, error) {
			return w.ApplyPolicy(ctx, []byte(text), "", "")
		}
	case 2:
		what = func(ctx context.Context, w *rest.Client) (uint64, error) {
			return w.SetOverride(ctx, domain, user, "bucket", rest.Terms{Burst: 3})
		}
	case 3:
		what = func(ctx context.Context, w *rest.Client) (uint64, error) {
			return w.Block(ctx, domain, user, rest.Block{Why: "a drill"})
		}
	default:
		what = func(ctx context.Context, w *rest.Client) (uint64, error) { return w.Unblock(ctx, domain, user) }
	}
	h.send(ctx, h.node(), op, func(ctx context.Context, w *rest.Client) (chaos.Reply, error) {
		version, err := what(ctx, w)
		return chaos.Reply{PolicyVersion: version}, err
	})
}

// watch looks at every node's view, again and again.
func (h *hand) watch(ctx context.Context) {
	said := make(map[string]chaos.Event)
	for pause(ctx, lookEvery) {
		for _, m := range h.c.all() {
			h.look(ctx, m, said)
		}
	}
}

// look notes what a node's view is, and as events what of it is new.
func (h *hand) look(ctx context.Context, m *member, said map[string]chaos.Event) (leader string, epoch uint64) {
	access, err := h.doors.access(m)
	if err != nil {
		return "", 0
	}
	index := h.record.invoke(chaos.Op{Client: h.id, Node: m.name, Kind: chaos.View})
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), checkTimeout)
	defer cancel()
	v, err := access.GetView(ctx, &weirv1.GetViewRequest{})
	outcome := ofGRPC(err)
	if outcome == chaos.Unknown {
		outcome = chaos.Failed // a look changes nothing
	}
	h.record.settle(index, outcome, chaos.Reply{Epoch: v.GetEpoch(), PolicyVersion: v.GetPolicyVersion(), Detail: v.GetLeader()}, err)
	if err != nil {
		return "", 0
	}
	was := said[m.name]
	if was.Epoch != v.GetEpoch() {
		h.record.event(chaos.Event{Node: m.name, What: "epoch", Epoch: v.GetEpoch()})
	}
	if was.Detail != v.GetLeader() {
		h.record.event(chaos.Event{Node: m.name, What: "leader", Detail: v.GetLeader()})
	}
	said[m.name] = chaos.Event{Epoch: v.GetEpoch(), Detail: v.GetLeader()}
	return v.GetLeader(), v.GetEpoch()
}
