package simnet

import (
	"context"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
)

// These tests run the libraries that the node runs, unmodified, over the network.

func TestGRPCOverTheNetwork(t *testing.T) {
	bubble(t, func(t *testing.T, n *Network) {
		l, err := n.Host(beta).Listen(":7000")
		if err != nil {
			t.Fatal(err)
		}
		server := grpc.NewServer()
		healthpb.RegisterHealthServer(server, health.NewServer())
		var wg sync.WaitGroup
		wg.Go(func() { _ = server.Serve(l) })
		near := n.Host(alpha)
		dialed, err := grpc.NewClient("passthrough:///"+beta+":7000", grpc.WithContextDialer(near.Dial),
			grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			t.Fatal(err)
		}
		client := healthpb.NewHealthClient(dialed)
		check := func() (*healthpb.HealthCheckResponse, error) {
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			defer cancel()
			return client.Check(ctx, &healthpb.HealthCheckRequest{}, grpc.WaitForReady(true))
		}
		if reply, err := check(); err != nil || reply.Status != healthpb.HealthCheckResponse_SERVING {
			t.Errorf("check: %v, %v", reply, err)
		}
		n.Cut(alpha, beta)
		if _, err := check(); status.Code(err) != codes.DeadlineExceeded {
			t.Errorf("check over a cut: %v", err)
		}
		n.HealAll()
		if _, err := check(); err != nil {
			t.Errorf("check after the heal: %v", err)
		}
		if err := dialed.Close(); err != nil {
			t.Error(err)
		}
		server.Stop()
		wg.Wait()
	})
}

func TestHTTPOverTheNetwork(t *testing.T) {
	bubble(t, func(t *testing.T, n *Network) {
		l, err := n.Host(beta).Listen(":7000")
		if err != nil {
			t.Fatal(err)
		}
		body := strings.Repeat("weir ", windowBytesMax/2)
		server := &http.Server{
			Handler:           http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) }),
			ReadHeaderTimeout: time.Second, ErrorLog: log.New(io.Discard, "", 0),
		}
		var wg sync.WaitGroup
		wg.Go(func() { _ = server.Serve(l) })
		near := n.Host(alpha)
		transport := &http.Transport{DialContext: func(ctx context.Context, _, address string) (net.Conn, error) {
			return near.Dial(ctx, address)
		}}
		client := &http.Client{Transport: transport, Timeout: 5 * time.Second}
		post := func() (string, error) {
			response, err := client.Post("http://"+beta+":7000/echo", "text/plain", strings.NewReader(body))
			if err != nil {
				return "", err
			}
			defer response.Body.Close()
			got, err := io.ReadAll(response.Body)
			return string(got), err
		}
		for range 2 { // the second time over the kept connection
			if got, err := post(); err != nil || got != body {
				t.Errorf("echo: %d bytes, %v", len(got), err)
			}
		}
		n.Crash(beta)
		_, err = post()
		wantError(t, "post to a crashed host", err, syscall.ECONNREFUSED)
		transport.CloseIdleConnections()
		_ = server.Close()
		wg.Wait()
		time.Sleep(time.Second) // the server lets closed connections linger for half of it
	})
}

// raftLayer is the smallest stream layer there can be.
type raftLayer struct {
	net.Listener
	h *Host
}

func (l raftLayer) Dial(address raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	return l.h.Dial(ctx, string(address))
}

func raftTransport(t *testing.T, n *Network, ip string) *raft.NetworkTransport {
	t.Helper()
	h := n.Host(ip)
	l, err := h.Listen(":7000")
	if err != nil {
		t.Fatal(err)
	}
	return raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		Stream: raftLayer{l, h}, MaxPool: 2, Timeout: time.Second, Logger: hclog.NewNullLogger(),
	})
}

func TestRaftTransportOverTheNetwork(t *testing.T) {
	bubble(t, func(t *testing.T, n *Network) {
		near, far := raftTransport(t, n, alpha), raftTransport(t, n, beta)
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			for {
				select {
				case rpc := <-far.Consumer():
					term := rpc.Command.(*raft.RequestVoteRequest).Term
					rpc.Respond(&raft.RequestVoteResponse{Term: term, Granted: true}, nil)
				case <-ctx.Done():
					return
				}
			}
		})
		ask := func(term uint64) (raft.RequestVoteResponse, error) {
			var reply raft.RequestVoteResponse
			err := near.RequestVote("beta", beta+":7000", &raft.RequestVoteRequest{Term: term}, &reply)
			return reply, err
		}
		if reply, err := ask(7); err != nil || !reply.Granted || reply.Term != 7 {
			t.Errorf("vote: %+v, %v", reply, err)
		}
		n.Cut(alpha, beta)
		if _, err := ask(8); err == nil {
			t.Error("a vote came over the cut")
		}
		n.HealAll()
		if reply, err := ask(9); err != nil || reply.Term != 9 {
			t.Errorf("vote after the heal: %+v, %v", reply, err)
		}
		cancel()
		wg.Wait()
		for _, transport := range []*raft.NetworkTransport{near, far} {
			transport.CloseStreams()
			if err := transport.Close(); err != nil {
				t.Error(err)
			}
		}
		_ = n.Close() // what the handlers still read from
		time.Sleep(time.Second)
	})
}
