package transport

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"

	weirv1 "github.com/weir-cluster/weir/api/weir/v1"
	"github.com/weir-cluster/weir/chaos/simnet"
	"github.com/weir-cluster/weir/cluster"
	"github.com/weir-cluster/weir/policy"
)

// pulled is a peer service that answers every pull.
type pulled struct {
	weirv1.UnimplementedPeerServiceServer
}

func (pulled) Pull(context.Context, *weirv1.PullRequest) (*weirv1.PullResponse, error) {
	return &weirv1.PullResponse{}, nil
}

// A node answers no node of another cluster, whichever way it is asked.
func TestNodesOfAnotherClusterAreRefused(t *testing.T) {
	for _, c := range []struct {
		asker, asked string
		refused      bool
	}{{"x", "x", false}, {"", "x", false}, {"x", "", false}, {"x", "y", true}} {
		synctest.Test(t, func(t *testing.T) {
			network := simnet.New(1)
			l, err := network.Host("10.0.0.1").Listen("10.0.0.1:1")
			if err != nil {
				t.Fatal(err)
			}
			s := grpc.NewServer(SameCluster(func() string { return c.asked })...)
			weirv1.RegisterPeerServiceServer(s, pulled{})
			go func() { _ = s.Serve(l) }()
			links := NewPeers(network.Host("10.0.0.2"), func() string { return c.asker })
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error)
			go func() { done <- links.Run(ctx) }()
			_, err = links.Peer("10.0.0.1:1").Pull(ctx, cluster.Having{})
			moved := (*cluster.NotHomeError)(nil)
			if errors.As(err, &moved) != c.refused {
				t.Errorf("%q asks %q: %v", c.asker, c.asked, err)
			}
			if c.refused {
				if _, err := links.Peer("10.0.0.1:1").Check(ctx, policy.Request{}, 1); !errors.Is(err, cluster.ErrUnreachable) {
					t.Errorf("a check: %v", err)
				}
			}
			cancel()
			<-done
			s.Stop()
			_ = network.Close()
			time.Sleep(time.Minute)
		})
	}
}
