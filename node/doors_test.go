package node_test

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"

	weirv1 "github.com/weir-cluster/weir/api/weir/v1"
)

// dial opens a gRPC connection to a node from outside the cluster.
func (s *sim) dial(m *simNode) *grpc.ClientConn {
	s.t.Helper()
	outside := s.network.Host("10.0.1.2")
	conn, err := grpc.NewClient("passthrough:///"+m.ip+":8081", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) { return outside.Dial(ctx, address) }))
	if err != nil {
		s.t.Fatal(err)
	}
	return conn
}

func spilling(user string) *weirv1.CheckRequest {
	return &weirv1.CheckRequest{Domain: "d", Attributes: []*weirv1.Attribute{{Name: "user", Value: user}, {Name: "kind", Value: "spill"}}}
}

// Everything that HTTP does, gRPC does, at any node.
func TestEverythingIsServedOverGRPC(t *testing.T) {
	simulate(t, 7, 3, func(s *sim) {
		conn := s.dial(s.nodes[1])
		defer func() { _ = conn.Close() }()
		ctx := s.t.Context()
		ledger, access := weirv1.NewLedgerServiceClient(conn), weirv1.NewAccessServiceClient(conn)
		if _, err := ledger.OpenAccount(ctx, &weirv1.OpenAccountRequest{IdempotencyKey: "o", Account: "eve", UseCredits: true}); err != nil {
			t.Fatal(err)
		}
		if _, err := ledger.Grant(ctx, &weirv1.GrantRequest{IdempotencyKey: "g", Account: "eve", Kind: "promo", AmountMicros: 3_500_000}); err != nil {
			t.Fatal(err)
		}
		batch, err := access.CheckBatch(ctx, &weirv1.CheckBatchRequest{Checks: []*weirv1.CheckRequest{spilling("eve"), spilling("eve"), {Domain: "no"}}})
		if err != nil || len(batch.GetOutcomes()) != 3 || batch.GetOutcomes()[2].GetFault().GetWord() != "INVALID" {
			t.Fatalf("batch: %v, %v", batch, err)
		}
		paid, err := access.Check(ctx, spilling("eve"))
		if err != nil || paid.GetReason() != "OK_CREDIT" || len(paid.GetSources()) != 1 || paid.GetSources()[0].GetSource() != "PROMO" {
			t.Errorf("past the limit: %v, %v", paid, err)
		}
		again, err := ledger.Debit(ctx, &weirv1.DebitRequest{IdempotencyKey: "d", Account: "eve", AmountMicros: 500_000})
		if err != nil || again.GetBalanceAfterMicros() != 2_000_000 {
			t.Errorf("debit: %v, %v", again, err)
		}
		_, err = ledger.Debit(ctx, &weirv1.DebitRequest{IdempotencyKey: "d", Account: "eve", AmountMicros: 1})
		if status.Code(err) != codes.InvalidArgument {
			t.Errorf("the key with other contents: %v", err)
		}
		account, err := ledger.GetAccount(ctx, &weirv1.GetAccountRequest{Account: "eve"})
		if err != nil || account.GetBalanceMicros() != 2_000_000 || account.GetPromoMicros() != 2_000_000 {
			t.Errorf("account: %v, %v", account, err)
		}
		if _, err := ledger.GetAccount(ctx, &weirv1.GetAccountRequest{Account: "nobody"}); status.Code(err) != codes.NotFound {
			t.Errorf("an account that is not: %v", err)
		}
		view, err := access.GetView(ctx, &weirv1.GetViewRequest{})
		if err != nil || len(view.GetHomes()) != 4096 || len(view.GetMembers()) != 3 || view.GetHash() != "xxhash64" {
			t.Errorf("view: %d homes, %v", len(view.GetHomes()), err)
		}
		s.policies(conn)
		s.wellKnown(conn)
	})
}

// policies replaces the policy through gRPC: guarded by its version, and in force on every node.
func (s *sim) policies(conn *grpc.ClientConn) {
	s.t.Helper()
	admin := weirv1.NewAdminServiceClient(conn)
	was, err := admin.GetPolicy(s.t.Context(), &weirv1.GetPolicyRequest{})
	if err != nil || string(was.GetText()) != simPolicy {
		s.t.Errorf("policy: %v", err)
	}
	text := []byte(strings.Replace(simPolicy, "limit: 10", "limit: 1", 1))
	if _, err := admin.PutPolicy(s.t.Context(), &weirv1.PutPolicyRequest{Text: text, ExpectVersion: was.GetVersion() + 1}); status.Code(err) != codes.FailedPrecondition {
		s.t.Errorf("put on another version: %v", err)
	}
	put, err := admin.PutPolicy(s.t.Context(), &weirv1.PutPolicyRequest{Text: text, ExpectVersion: was.GetVersion()})
	if err != nil || put.GetVersion() != was.GetVersion()+1 {
		s.t.Errorf("put: %v, %v", put, err)
	}
	s.until("every node is under the new policy", func() bool {
		for i, m := range s.nodes {
			body := fmt.Sprintf(`{"domain":"d","attributes":{"user":"fresh-%d"},"mode":"PEEK","cost":{"requests":2}}`, i)
			if a := s.check(m, body); a.Verdict != "DENY" {
				return false
			}
		}
		return true
	})
}

// wellKnown asks for health and for reflection.
func (s *sim) wellKnown(conn *grpc.ClientConn) {
	s.t.Helper()
	for _, service := range []string{"", "weir.v1.AccessService", "weir.v1.LedgerService"} {
		r, err := grpc_health_v1.NewHealthClient(conn).Check(s.t.Context(), &grpc_health_v1.HealthCheckRequest{Service: service})
		if err != nil || r.GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING {
			s.t.Errorf("health of %q: %v, %v", service, r, err)
		}
	}
	stream, err := grpc_reflection_v1.NewServerReflectionClient(conn).ServerReflectionInfo(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	list := &grpc_reflection_v1.ServerReflectionRequest{MessageRequest: &grpc_reflection_v1.ServerReflectionRequest_ListServices{}}
	if err := stream.Send(list); err != nil {
		s.t.Fatal(err)
	}
	answer, err := stream.Recv()
	if err != nil {
		s.t.Fatal(err)
	}
	var names []string
	for _, service := range answer.GetListServicesResponse().GetService() {
		names = append(names, service.GetName())
	}
	for _, want := range []string{"weir.v1.AccessService", "weir.v1.LedgerService", "weir.v1.AdminService"} {
		if !slices.Contains(names, want) {
			s.t.Errorf("reflection lists %v without %s", names, want)
		}
	}
	_ = stream.CloseSend()
}

// What was reserved is held, settled at its home through any node, and given back as far as it was not used.
func TestAReservationIsSettledThroughAnyNode(t *testing.T) {
	simulate(t, 8, 3, func(s *sim) {
		var conns []*grpc.ClientConn
		for _, m := range s.nodes {
			conns = append(conns, s.dial(m))
		}
		defer func() {
			for _, c := range conns {
				_ = c.Close()
			}
		}()
		access := func(i int) weirv1.AccessServiceClient { return weirv1.NewAccessServiceClient(conns[i]) }
		user := []*weirv1.Attribute{{Name: "user", Value: "zoe"}}
		held, err := access(0).Check(s.t.Context(), &weirv1.CheckRequest{
			Domain: "d", Attributes: user, Mode: weirv1.Mode_MODE_RESERVE, Cost: []*weirv1.Cost{{Meter: "requests", Amount: 8}},
		})
		if err != nil || held.GetReservation() == "" {
			t.Fatalf("reserve: %v, %v", held, err)
		}
		left := func(i int) int64 {
			t.Helper()
			d, err := access(i).Check(s.t.Context(), &weirv1.CheckRequest{Domain: "d", Attributes: user, Mode: weirv1.Mode_MODE_PEEK, Cost: []*weirv1.Cost{{Meter: "requests", Amount: 0}}})
			if err != nil || len(d.GetLimits()) != 1 {
				t.Fatalf("peek: %v, %v", d, err)
			}
			return d.GetLimits()[0].GetRemaining()
		}
		if n := left(1); n != 2 {
			t.Errorf("%d left while 8 of 10 are reserved", n)
		}
		for i := range 3 {
			done, err := access(i).Settle(s.t.Context(), &weirv1.SettleRequest{
				Reservation: held.GetReservation(), Actual: []*weirv1.Cost{{Meter: "requests", Amount: 3}}, Final: true,
			})
			if err != nil || !done.GetFinal() {
				t.Errorf("settle at %s: %v, %v", s.nodes[i].name, done, err)
			}
		}
		if n := left(2); n != 7 {
			t.Errorf("%d left after 3 of 8 were used, settled three times", n)
		}
		if _, err := access(1).Settle(s.t.Context(), &weirv1.SettleRequest{Reservation: "r-0001-nothing", Final: true}); err == nil {
			t.Error("settled what was never reserved")
		}
	})
}
