package transport_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	ratelimitv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/common/ratelimit/v3"
	rlsv3 "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weir-cluster/weir/ledger"
	"github.com/weir-cluster/weir/limiter"
	"github.com/weir-cluster/weir/policy"
	"github.com/weir-cluster/weir/transport"
)

const rlsPolicy = `
version: 1
domains:
  edge:
    envoy:
      descriptors:
        - {key: user, rate_limit: {name: per-user, unit: minute, requests_per_unit: 3}}
        - {key: user, value: bot*, share_threshold: true, rate_limit: {unit: minute, requests_per_unit: 2}}
        - {key: user, value: root, rate_limit: {unlimited: true, replaces: [{name: per-path}]}}
        - {key: path, rate_limit: {name: per-path, unit: hour, requests_per_unit: 10}}
        - {key: login, rate_limit: {unit: day, requests_per_unit: 1, replaces: [{name: per-path}, {name: per-user}, {name: free}]}}
        - {key: free, rate_limit: {name: free, unlimited: true}}
        - {key: shy, shadow_mode: true, rate_limit: {unit: minute, requests_per_unit: 1}}
        - {key: banned, rate_limit: {unit: second, requests_per_unit: 0}}
        - {key: huge, rate_limit: {unit: second, requests_per_unit: 4294967295}}
        - {key: app, descriptors: [{key: user, rate_limit: {unit: week, requests_per_unit: 2}}]}
        - {key: model, value: large, quota_mode: true, metadata: {service: large, tier: 1}, rate_limit: {name: large, unit: day, requests_per_unit: 1}}
        - {key: model, value: small, quota_mode: true, metadata: {service: small, note: cheap}, rate_limit: {unit: day, requests_per_unit: 2}}
        - {key: second, rate_limit: {unit: second, requests_per_unit: 1}}
        - {key: month, rate_limit: {unit: month, requests_per_unit: 1}}
        - {key: year, rate_limit: {unit: year, requests_per_unit: 1}}
  told:
    headers: envoy
    envoy:
      descriptors: [{key: user, rate_limit: {name: per-user, unit: minute, requests_per_unit: 3}}]
  ours:
    account: [user]
    limits:
      - {name: rpm, key: [user], algorithm: fixed_window, limit: 3, window: 1m}
      - {name: burst, key: [user], algorithm: token_bucket, rate: 100/10s, burst: 5}
`

// door is the RLS door before one home that decides everything: a real waterfall with a real store.
type door struct {
	t      *testing.T
	server *transport.RLSServer
	client rlsv3.RateLimitServiceClient
}

// checker wraps what decides.
type checker func(home policy.Checker) policy.Checker

// tried decides at once if it holds what can.
type tried struct{ policy.Checker }

func (c tried) Try(r *policy.Request, d *policy.Decision) (bool, error) {
	if home, ok := c.Checker.(policy.Trier); ok {
		return home.Try(r, d)
	}
	return false, nil
}

func asIs(home policy.Checker) policy.Checker { return home }

// noPurse is a ledger that is never asked.
type noPurse struct{}

// Debit fails.
func (noPurse) Debit(context.Context, ledger.Debit) (ledger.Receipt, error) {
	return ledger.Receipt{}, errors.New("no ledger here")
}

// Return fails.
func (noPurse) Return(context.Context, ledger.Return) (ledger.Receipt, error) {
	return ledger.Receipt{}, errors.New("no ledger here")
}

// rls serves the policy to a gRPC client in a bubble of virtual time, which begins at a full minute.
func rls(t *testing.T, document string, wrap checker, body func(*door)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		t.Helper()
		p, err := policy.Parse("rls.yaml", []byte(document))
		if err != nil {
			t.Fatal(err)
		}
		current := func() *policy.Policy { return p }
		home := policy.NewWaterfall(policy.WaterfallConfig{
			Policy: current, Limits: limiter.NewStore(limiter.DefaultConfig()), Purse: noPurse{}, Now: time.Now,
			Hasher: func() limiter.Hasher { return limiter.NewHasher([16]byte{1}) },
		})
		d := &door{t: t, server: &transport.RLSServer{
			Access: tried{wrap(home)}, Policy: current, Now: time.Now, Jitter: func() float64 { return 0 }, Timeout: time.Second,
		}}
		l := bufconn.Listen(1 << 16)
		s := grpc.NewServer()
		rlsv3.RegisterRateLimitServiceServer(s, d.server)
		served := make(chan error)
		go func() { served <- s.Serve(l) }()
		conn, err := grpc.NewClient("passthrough:///rls", grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return l.DialContext(ctx) }))
		if err != nil {
			t.Fatal(err)
		}
		d.client = rlsv3.NewRateLimitServiceClient(conn)
		body(d)
		_ = conn.Close()
		s.Stop()
		<-served
	})
}

// of makes a descriptor of words: key=value entries and, each at most once, +N or -N hits.
func of(words ...string) *ratelimitv3.RateLimitDescriptor {
	d := &ratelimitv3.RateLimitDescriptor{}
	for _, w := range words {
		var n uint64
		switch key, value, entry := strings.Cut(w, "="); {
		case entry:
			d.Entries = append(d.Entries, &ratelimitv3.RateLimitDescriptor_Entry{Key: key, Value: value})
		default:
			if _, err := fmt.Sscan(w[1:], &n); err != nil {
				panic(err)
			}
			d.HitsAddend, d.IsNegativeHits = wrapperspb.UInt64(n), w[0] == '-'
		}
	}
	return d
}

// ask makes a call of the descriptors to the domain edge.
func (d *door) ask(descriptors ...*ratelimitv3.RateLimitDescriptor) *rlsv3.RateLimitResponse {
	d.t.Helper()
	return d.call(&rlsv3.RateLimitRequest{Domain: "edge", Descriptors: descriptors})
}

func (d *door) call(r *rlsv3.RateLimitRequest) *rlsv3.RateLimitResponse {
	d.t.Helper()
	answer, err := d.client.ShouldRateLimit(d.t.Context(), r)
	if err != nil {
		d.t.Fatal(err)
	}
	return answer
}

// wants asks for one descriptor after the other and compares each answer with its words.
func (d *door) wants(rows ...row) {
	d.t.Helper()
	for i, c := range rows {
		if got := words(d.ask(c.descriptor)); got != c.want {
			d.t.Errorf("step %d: got %s, want %s", i+1, got, c.want)
		}
	}
}

type row struct {
	descriptor *ratelimitv3.RateLimitDescriptor
	want       string
}

// words renders an answer: the overall code, then each status as CODE remaining [count/unit name].
func words(r *rlsv3.RateLimitResponse) string {
	var all []string
	for _, st := range r.GetStatuses() {
		w := fmt.Sprintf("%v %d", st.GetCode(), st.GetLimitRemaining())
		if l := st.GetCurrentLimit(); l != nil {
			w += fmt.Sprintf(" %d/%v", l.GetRequestsPerUnit(), l.GetUnit())
			if m := l.GetUnitMultiplier(); m != nil {
				w += fmt.Sprintf("x%d", m.GetValue())
			}
			if l.GetName() != "" {
				w += " " + l.GetName()
			}
		}
		all = append(all, w)
	}
	return fmt.Sprintf("%v: %s", r.GetOverallCode(), strings.Join(all, ", "))
}

// header returns a response header of an answer, empty when it has none.
func header(r *rlsv3.RateLimitResponse, key string) string {
	for _, h := range r.GetResponseHeadersToAdd() {
		if h.GetKey() == key {
			return h.GetValue()
		}
	}
	return ""
}
