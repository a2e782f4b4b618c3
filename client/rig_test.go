package client_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/protobuf/proto"

	weirv1 "github.com/weir-cluster/weir/api/weir/v1"
	"github.com/weir-cluster/weir/chaos/simnet"
	"github.com/weir-cluster/weir/client"
	"github.com/weir-cluster/weir/ring"
)

// rig is a cluster of fake nodes in a bubble. They share one truth, and any of them tells it for the home, as real
// ones do that forward.
type rig struct {
	t       *testing.T
	network *simnet.Network
	nodes   []*fake
	limit   int64 // checks that each account may make
	spill   bool  // credit could buy past the limit

	mu       sync.Mutex // guards what follows
	used     map[string]int64
	fallback weirv1.Fallback
}

// fake is a node.
type fake struct {
	weirv1.UnimplementedAccessServiceServer
	weirv1.UnimplementedLedgerServiceServer

	r        *rig
	name, ip string
	server   *grpc.Server
	serving  sync.WaitGroup

	checks, streams, messages, getViews, watches, settles atomic.Int64

	mu       sync.Mutex // guards what follows
	view     *weirv1.View
	changed  chan struct{}
	decide   func(context.Context, *weirv1.CheckRequest) *weirv1.Outcome // nil is the truth
	settle   func(context.Context, *weirv1.SettleRequest) (*weirv1.SettleResponse, error)
	grant    func(*weirv1.GrantRequest) (*weirv1.Receipt, error)
	lastSeen *weirv1.CheckRequest
	mute     bool // it tells its watchers nothing
}

// bubble runs body over n fake nodes in virtual time.
func bubble(t *testing.T, n int, body func(*testing.T, *rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		t.Helper()
		r := &rig{t: t, network: simnet.New(1), limit: 10, used: map[string]int64{}, fallback: weirv1.Fallback_FALLBACK_SHARE}
		for i := range n {
			r.nodes = append(r.nodes, &fake{r: r, name: fmt.Sprintf("n%d", i+1), ip: fmt.Sprintf("10.0.0.%d", i+1), changed: make(chan struct{})})
		}
		for _, f := range r.nodes {
			f.view = r.viewOf(1)
			f.start()
		}
		defer func() {
			for _, f := range r.nodes {
				f.stop()
			}
			_ = r.network.Close()
			time.Sleep(time.Minute) // dials that hang run out, in virtual time
		}()
		body(t, r)
	})
}

// viewOf is a view in which the home of partition p is node p mod n, and the deputy the next one.
func (r *rig) viewOf(epoch uint64) *weirv1.View {
	v := &weirv1.View{
		Epoch: epoch, Cluster: "c", Hash: "xxhash64", Partitions: ring.Partitions, PolicyVersion: 1,
		Domains: []*weirv1.Domain{{Name: "d", Account: []string{"user"}, Fallback: weirv1.Fallback_FALLBACK_SHARE}},
	}
	for _, f := range r.nodes {
		v.Members = append(v.Members, &weirv1.Member{Name: f.name, Grpc: f.ip + ":8081", Standing: "steady", Alive: true})
	}
	for p := range uint32(ring.Partitions) {
		v.Homes = append(v.Homes, p%uint32(len(r.nodes)))
		v.Deputies = append(v.Deputies, (p+1)%uint32(len(r.nodes)))
	}
	return v
}

// userOf returns a user whose home, by the first view, is node i.
func (r *rig) userOf(i int) string {
	for u := 0; ; u++ {
		if user := fmt.Sprint("user-", u); int(ring.Partition("d", user))%len(r.nodes) == i {
			return user
		}
	}
}

func (f *fake) start() {
	l, err := f.r.network.Host(f.ip).Listen(":8081")
	if err != nil {
		f.r.t.Error(err)
		return
	}
	f.server = grpc.NewServer(grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: time.Second})) // as nodes have it
	weirv1.RegisterAccessServiceServer(f.server, f)
	weirv1.RegisterLedgerServiceServer(f.server, f)
	server := f.server
	f.serving.Go(func() { _ = server.Serve(l) })
}

func (f *fake) stop() {
	f.server.Stop()
	f.serving.Wait()
}

// kill takes a node off the network as a crash does: connections to it are reset, and new ones refused.
func (f *fake) kill() { f.r.network.Crash(f.ip) }

// tell puts a view in force at a node.
func (f *fake) tell(v *weirv1.View) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.view = v
	close(f.changed)
	f.changed = make(chan struct{})
}

func (f *fake) told() (*weirv1.View, <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	v := proto.CloneOf(f.view)
	v.Node = f.name
	return v, f.changed
}

// knows gives a node a view of which it tells nobody who does not ask.
func (f *fake) knows(v *weirv1.View) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.view = v
}

func (f *fake) isMute() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.mute
}

// answer has a node decide otherwise than by the truth.
func (f *fake) answer(decide func(context.Context, *weirv1.CheckRequest) *weirv1.Outcome) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.decide = decide
}

func hang(ctx context.Context, _ *weirv1.CheckRequest) *weirv1.Outcome {
	<-ctx.Done()
	return &weirv1.Outcome{Fault: &weirv1.Fault{Word: "TIMEOUT", Message: "late"}}
}

func (f *fake) GetView(context.Context, *weirv1.GetViewRequest) (*weirv1.View, error) {
	f.getViews.Add(1)
	v, _ := f.told()
	return v, nil
}

func (f *fake) WatchView(_ *weirv1.WatchViewRequest, to grpc.ServerStreamingServer[weirv1.View]) error {
	f.watches.Add(1)
	if f.isMute() {
		<-to.Context().Done()
		return nil
	}
	for {
		v, changed := f.told()
		if err := to.Send(v); err != nil {
			return err
		}
		select {
		case <-changed:
		case <-to.Context().Done():
			return nil
		}
	}
}

func (f *fake) CheckStream(s grpc.BidiStreamingServer[weirv1.CheckStreamRequest, weirv1.CheckStreamResponse]) error {
	sending := make(chan struct{}, 1) // a mutex would stop virtual time
	var open sync.WaitGroup
	defer open.Wait()
	f.streams.Add(1)
	for {
		m, err := s.Recv()
		if errors.Is(err, io.EOF) || err != nil {
			return nil
		}
		f.messages.Add(1)
		for _, c := range m.GetChecks() {
			open.Go(func() {
				ctx, cancel := context.WithTimeout(s.Context(), time.Duration(max(c.GetTimeoutMs(), 1))*time.Millisecond)
				defer cancel()
				o := f.outcome(ctx, c.GetCheck())
				sending <- struct{}{}
				defer func() { <-sending }()
				_ = s.Send(&weirv1.CheckStreamResponse{Outcomes: []*weirv1.StreamedOutcome{{Id: c.GetId(), Outcome: o}}})
			})
		}
	}
}

func (f *fake) outcome(ctx context.Context, c *weirv1.CheckRequest) *weirv1.Outcome {
	f.checks.Add(1)
	f.mu.Lock()
	decide := f.decide
	f.lastSeen = c
	f.mu.Unlock()
	if decide != nil {
		return decide(ctx, c)
	}
	return &weirv1.Outcome{Decision: f.truth(c)}
}

// truth takes from the one counter that the account has.
func (f *fake) truth(c *weirv1.CheckRequest) *weirv1.Decision {
	user := ""
	for _, a := range c.GetAttributes() {
		if a.GetName() == "user" {
			user = a.GetValue()
		}
	}
	v, _ := f.told()
	r := f.r
	r.mu.Lock()
	defer r.mu.Unlock()
	allowed := r.used[user] < r.limit
	if allowed {
		r.used[user]++
	}
	d := &weirv1.Decision{
		Verdict: weirv1.Verdict_VERDICT_ALLOW, Reason: "OK", Home: v.GetMembers()[v.GetHomes()[ring.Partition("d", user)]].GetName(),
		Epoch: v.GetEpoch(), PolicyVersion: v.GetPolicyVersion(), DecisionId: "01",
		Limits: []*weirv1.LimitState{{
			Name: "l", Limit: r.limit, Remaining: r.limit - r.used[user], WindowMs: 3_600_000, Meter: "requests",
			Fallback: r.fallback, Refused: !allowed, ResetMs: 3_600_000, Spill: r.spill,
		}},
	}
	if c.GetMode() == weirv1.Mode_MODE_RESERVE && allowed {
		d.Reservation = fmt.Sprintf("r-%04x-01ARZ3NDEKTSV4RRFFQ69G5FAV", ring.Partition("d", user))
	}
	if !allowed {
		d.Verdict, d.Reason, d.RetryAfterMs, d.Limits[0].WaitMs = weirv1.Verdict_VERDICT_DENY, "RATE_LIMITED", 60_000, 60_000
	}
	return d
}

func (f *fake) Settle(ctx context.Context, q *weirv1.SettleRequest) (*weirv1.SettleResponse, error) {
	f.settles.Add(1)
	f.mu.Lock()
	settle := f.settle
	f.mu.Unlock()
	if settle != nil {
		return settle(ctx, q)
	}
	return &weirv1.SettleResponse{Final: q.GetFinal(), ExpiresMs: q.GetExtendMs()}, nil
}

func (f *fake) Grant(_ context.Context, g *weirv1.GrantRequest) (*weirv1.Receipt, error) {
	f.mu.Lock()
	grant := f.grant
	f.mu.Unlock()
	if grant != nil {
		return grant(g)
	}
	return &weirv1.Receipt{Outcome: "done", Account: g.GetAccount(), Seq: 2, AmountMicros: g.GetAmountMicros(), BalanceAfterMicros: g.GetAmountMicros()}, nil
}

// GetAccount tells how it was asked in what is held and in the index.
func (f *fake) GetAccount(_ context.Context, q *weirv1.GetAccountRequest) (*weirv1.Account, error) {
	return &weirv1.Account{
		Id: q.GetAccount(), BalanceMicros: 7, PromoMicros: 7, Labels: []*weirv1.Label{{Name: "tier", Value: "gold"}},
		HeldMicros: q.GetMaxStalenessMs(), Index: q.GetMinIndex(),
	}, nil
}

// config is of a client that knows one seed, the last node, and lives on a host of its own.
func (r *rig) config() client.Config {
	c := client.DefaultConfig()
	c.Seeds = []string{r.nodes[len(r.nodes)-1].ip + ":8081"}
	c.Dial = r.network.Host("10.0.1.1").Dial
	c.Logger = slog.New(slog.NewTextHandler(r.t.Output(), nil))
	return c
}

// open returns a client that runs; done closes it.
func (r *rig) open(change ...func(*client.Config)) (k *client.Client, done func()) {
	r.t.Helper()
	c := r.config()
	for _, f := range change {
		f(&c)
	}
	k, err := client.Open(r.t.Context(), c)
	if err != nil {
		r.t.Fatal(err)
	}
	return k, func() {
		r.t.Helper()
		if err := k.Close(); err != nil {
			r.t.Error(err)
		}
	}
}

// check asks for one request of a user, which must not fail nor take longer than the default deadline.
func (r *rig) check(k *client.Client, user string) client.Decision {
	r.t.Helper()
	began := time.Now()
	d, err := k.Check(r.t.Context(), ask(user))
	if took := time.Since(began); err != nil || took > 50*time.Millisecond {
		r.t.Fatalf("%s: %+v, %v after %v", user, d, err, took)
	}
	return d
}

func ask(user string) client.CheckRequest {
	return client.CheckRequest{Domain: "d", Attributes: map[string]string{"user": user}}
}

// until waits for a condition, within a generous deadline in virtual time.
func (r *rig) until(what string, is func() bool) {
	r.t.Helper()
	for range 600 {
		if is() {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	r.t.Fatalf("not within a minute: %s", what)
}

// sum adds up a count of all nodes.
func (r *rig) sum(of func(*fake) *atomic.Int64) (n int64) {
	for _, f := range r.nodes {
		n += of(f).Load()
	}
	return n
}

func checksOf(f *fake) *atomic.Int64   { return &f.checks }
func streamsOf(f *fake) *atomic.Int64  { return &f.streams }
func messagesOf(f *fake) *atomic.Int64 { return &f.messages }
func viewsOf(f *fake) *atomic.Int64    { return &f.getViews }
func watchesOf(f *fake) *atomic.Int64  { return &f.watches }
func settlesOf(f *fake) *atomic.Int64  { return &f.settles }

// reservation is an id that partition p could have given.
func reservation(p int) string { return fmt.Sprintf("r-%04x-01ARZ3NDEKTSV4RRFFQ69G5FAV", p) }

func (f *fake) onGrant(grant func(*weirv1.GrantRequest) (*weirv1.Receipt, error)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.grant = grant
}

func (f *fake) Debit(_ context.Context, d *weirv1.DebitRequest) (*weirv1.Receipt, error) {
	return &weirv1.Receipt{Outcome: "insufficient", Account: d.GetAccount()}, nil
}
