package sim

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	weirv1 "github.com/weir-cluster/weir/api/weir/v1"
	"github.com/weir-cluster/weir/chaos"
	"github.com/weir-cluster/weir/chaos/simnet"
	"github.com/weir-cluster/weir/client"
	"github.com/weir-cluster/weir/client/rest"
)

// doors is how clients on one host reach the nodes: checks and views over gRPC, the rest over HTTP.
type doors struct {
	host *simnet.Host
	web  *http.Transport

	mu    sync.Mutex
	conns map[string]*grpc.ClientConn // by the node's address
}

func newDoors(n *simnet.Network) *doors {
	d := &doors{host: n.Host(clientIP), conns: make(map[string]*grpc.ClientConn)}
	d.web = &http.Transport{
		DialContext:         func(ctx context.Context, _, address string) (net.Conn, error) { return d.host.Dial(ctx, address) },
		MaxIdleConnsPerHost: 8,
	}
	return d
}

// rest returns a client of one node, which asks no other.
func (d *doors) rest(m *member, timeout time.Duration) (*rest.Client, error) {
	return rest.New(rest.Config{Addr: net.JoinHostPort(m.ip, "8080"), Timeout: timeout, HTTPClient: &http.Client{Transport: d.web}})
}

// access returns the access service of a node.
func (d *doors) access(m *member) (weirv1.AccessServiceClient, error) {
	conn, err := d.conn(m)
	if err != nil {
		return nil, err
	}
	return weirv1.NewAccessServiceClient(conn), nil
}

// ledger returns the ledger service of a node.
func (d *doors) ledger(m *member) (weirv1.LedgerServiceClient, error) {
	conn, err := d.conn(m)
	if err != nil {
		return nil, err
	}
	return weirv1.NewLedgerServiceClient(conn), nil
}

func (d *doors) conn(m *member) (*grpc.ClientConn, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	conn := d.conns[m.ip]
	if conn == nil {
		quick := backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: time.Second}
		var err error
		conn, err = grpc.NewClient("passthrough:///"+net.JoinHostPort(m.ip, "8081"),
			grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDisableServiceConfig(),
			grpc.WithConnectParams(grpc.ConnectParams{Backoff: quick, MinConnectTimeout: 2 * time.Second}),
			grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) { return d.host.Dial(ctx, address) }))
		if err != nil {
			return nil, fmt.Errorf("reach %s: %w", m.name, err)
		}
		d.conns[m.ip] = conn
	}
	return conn, nil
}

func (d *doors) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, conn := range d.conns {
		_ = conn.Close()
	}
	d.web.CloseIdleConnections()
}

// sure are the words of answers that say that nothing was done.
var sure = []string{
	"INVALID", "IDEMPOTENCY_CONFLICT", "TOO_OLD", "NOT_FOUND", "VERSION_CONFLICT", "FULL", "NOT_LEADER", "METHOD_NOT_ALLOWED", "GONE",
}

func isSure(word string) bool {
	for _, w := range sure {
		if w == word {
			return true
		}
	}
	return false
}

// ofGRPC tells from the error of a gRPC call what became of it. An error is taken for a sure one only when the node
// said so, or when gRPC had no connection to send on.
func ofGRPC(err error) chaos.Outcome {
	if err == nil {
		return chaos.OK
	}
	s := status.Convert(err)
	for _, detail := range s.Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok && isSure(info.GetReason()) {
			return chaos.Failed
		}
	}
	if s.Code() == codes.Unavailable && strings.HasPrefix(s.Message(), "connection error: desc = ") {
		return chaos.Failed
	}
	return chaos.Unknown
}

// ofREST is ofGRPC for client/rest, whose own rule says which errors are sure.
func ofREST(err error) chaos.Outcome {
	var p *rest.Problem
	switch {
	case err == nil:
		return chaos.OK
	case errors.Is(err, client.ErrUnreachable), errors.Is(err, client.ErrNoKey):
		return chaos.Failed
	case errors.As(err, &p) && (p.Status < http.StatusInternalServerError || isSure(p.Reason)):
		return chaos.Failed
	default:
		return chaos.Unknown
	}
}

// ofDecision takes what the checkers look at from a decision.
func ofDecision(d *weirv1.Decision) chaos.Reply {
	r := chaos.Reply{
		Verdict: strings.TrimPrefix(d.GetVerdict().String(), "VERDICT_"), Reason: d.GetReason(), Home: d.GetHome(), Epoch: d.GetEpoch(),
		PolicyVersion: d.GetPolicyVersion(), RetryAfter: time.Duration(d.GetRetryAfterMs()) * time.Millisecond, Decision: d.GetDecisionId(),
	}
	for _, l := range d.GetLimits() {
		r.Limits = append(r.Limits, chaos.LimitReply{
			Name: l.GetName(), Limit: l.GetLimit(), Remaining: l.GetRemaining(), Capacity: l.GetBurst(),
			Reset: time.Duration(l.GetResetMs()) * time.Millisecond, Refused: l.GetRefused(),
		})
	}
	for _, s := range d.GetSources() {
		r.Sources = append(r.Sources, chaos.SourceReply{
			Source: s.GetSource(), Amount: s.GetAmount(), CreditsMicros: s.GetCreditsMicros(), Grant: s.GetGrant(),
		})
	}
	return r
}

// ofReceipt takes what the checkers look at from a receipt, and a sum over all that a repetition must tell again.
func ofReceipt(r client.Receipt) chaos.Reply {
	reply := chaos.Reply{
		Verdict: r.Outcome, Seq: r.Seq, Event: r.Event, Index: r.Index, Term: r.Term, AmountMicros: r.AmountMicros,
		BalanceAfterMicros: r.BalanceAfterMicros, Replayed: r.Replayed, ForgivenMicros: r.ForgivenMicros, ExpiredMicros: r.ExpiredMicros, Late: r.Late,
	}
	if r.Hold != nil {
		reply.Hold = chaos.HoldReply{State: r.Hold.State, Held: r.Hold.HeldMicros, Captured: r.Hold.CapturedMicros, Refunded: r.Hold.RefundedMicros}
	}
	r.Replayed, r.Attempts = false, 0
	if text, err := json.Marshal(r); err == nil && r.Outcome != "" {
		reply.Sum = digest(text)
	}
	return reply
}

func ofEntries(entries []client.Entry) []chaos.EntryReply {
	var all []chaos.EntryReply
	for _, e := range entries {
		r := chaos.EntryReply{
			Event: e.Event, Seq: e.Seq, Index: e.Index, Term: e.Term, Movement: e.Movement, Key: e.IdempotencyKey, Memo: e.Memo,
			Hold: e.Hold, Charge: e.Charge, Grant: e.Grant, Forgiven: e.ForgivenMicros, Written: e.WrittenOffMicros, Late: e.Late,
		}
		for _, p := range e.Postings {
			r.Postings = append(r.Postings, chaos.PostingReply{Book: p.Book, Grant: p.Grant, AmountMicros: p.AmountMicros})
		}
		all = append(all, r)
	}
	return all
}

func ofEvents(events []*weirv1.Event) []chaos.EntryReply {
	var all []chaos.EntryReply
	for _, e := range events {
		r := chaos.EntryReply{
			Event: e.GetSeq(), Prev: e.GetPrev(), Account: e.GetAccount(), Seq: e.GetAccountSeq(), Index: e.GetIndex(), Term: e.GetTerm(),
			Movement: e.GetMovement(), Key: e.GetIdempotencyKey(), Memo: e.GetMemo(), Hold: e.GetHold(), Charge: e.GetCharge(), Grant: e.GetGrant(),
			Forgiven: e.GetForgivenMicros(), Written: e.GetWrittenOffMicros(), Late: e.GetLate(),
		}
		for _, p := range e.GetPostings() {
			r.Postings = append(r.Postings, chaos.PostingReply{Book: p.GetBook(), Grant: p.GetGrant(), AmountMicros: p.GetAmountMicros()})
		}
		all = append(all, r)
	}
	return all
}
