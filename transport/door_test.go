package transport

import (
	"context"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	weirv1 "github.com/weir-cluster/weir/api/weir/v1"
	"github.com/weir-cluster/weir/cluster"
	"github.com/weir-cluster/weir/policy"
)

// judged is what decides behind a door: a request whose domain is "at once" in Try, any other in check.
type judged struct {
	Access
	check func(context.Context, policy.Request) (policy.Decision, error)
}

func (j judged) Check(ctx context.Context, q policy.Request) (policy.Decision, error) {
	if j.check == nil {
		return said(q), nil
	}
	return j.check(ctx, q)
}

// Try scribbles over what it does not decide, as it may.
func (judged) Try(q *policy.Request, d *policy.Decision) (bool, error) {
	if q.Domain != "at once" {
		*d = policy.Decision{Message: "not decided"}
		return false, nil
	}
	if q.Mode > policy.Reserve {
		return true, policy.ErrInvalid
	}
	*d = said(*q)
	return true, nil
}

// Forward sends nothing anywhere.
func (judged) Forward(context.Context, *policy.Request, string, time.Duration, func(cluster.Carried, error)) bool {
	return false
}

func (judged) Resume(_ context.Context, _ policy.Request, heard error) (policy.Decision, error) {
	return policy.Decision{}, heard
}

// said decides with what was asked as the message.
func said(q policy.Request) policy.Decision {
	words := []string{q.Domain, q.Mode.String()}
	for _, a := range q.Attributes {
		words = append(words, a.Name+"="+a.Value)
	}
	for _, c := range q.Cost {
		words = append(words, c.Meter)
	}
	return policy.Decision{Verdict: policy.Allow, Message: strings.Join(words, " ")}
}

// knocking serves the access service to a generated client in a bubble of virtual time. It fails if the server does not
// stop when the client hangs up.
func knocking(t *testing.T, j PromptAccess, use func(*testing.T, weirv1.AccessServiceClient), options ...grpc.ServerOption) {
	t.Helper()
	serving(t, j, func(t *testing.T, c weirv1.AccessServiceClient, _ func()) { use(t, c) }, options...)
}

// serving is knocking for who stops the server himself, as a node does.
func serving(t *testing.T, j PromptAccess, use func(t *testing.T, c weirv1.AccessServiceClient, stop func()), options ...grpc.ServerOption) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		l := bufconn.Listen(64 << 10)
		s := grpc.NewServer(append(options, Codec())...)
		closing := make(chan struct{})
		(&AccessServer{Access: j, Timeout: time.Minute, Closing: closing}).Register(s)
		served := make(chan error)
		go func() { served <- s.Serve(l) }()
		conn, err := grpc.NewClient("passthrough:///door", grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return l.DialContext(ctx) }))
		if err != nil {
			t.Fatal(err)
		}
		use(t, weirv1.NewAccessServiceClient(conn), func() {
			close(closing)
			s.GracefulStop()
		})
		_ = conn.Close()
		s.GracefulStop()
		<-served
	})
}

// of is a check of a domain with attributes written as name=value.
func of(domain string, attributes ...string) *weirv1.CheckRequest {
	r := &weirv1.CheckRequest{Domain: domain}
	for _, a := range attributes {
		name, value, _ := strings.Cut(a, "=")
		r.Attributes = append(r.Attributes, &weirv1.Attribute{Name: name, Value: value})
	}
	return r
}

// streamed gives checks the ids 1, 2, ...
func streamed(all ...*weirv1.CheckRequest) *weirv1.CheckStreamRequest {
	m := &weirv1.CheckStreamRequest{}
	for i, c := range all {
		m.Checks = append(m.Checks, &weirv1.StreamedCheck{Id: uint64(i) + 1, Check: c})
	}
	return m
}

// heard is the message of a decision, or the word of a fault.
func heard(o *weirv1.Outcome) string {
	if f := o.GetFault(); f != nil {
		return f.GetWord()
	}
	return o.GetDecision().GetMessage()
}
