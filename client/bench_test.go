package client_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/weir-cluster/weir/api/stream"
	weirv1 "github.com/weir-cluster/weir/api/weir/v1"
	"github.com/weir-cluster/weir/client"
)

// BenchmarkCheck compares a check through the client with the same message on a stream of one's own: what is between
// them is the price of the view, the breaker, the caches and the fallback.
func BenchmarkCheck(b *testing.B) {
	seeds, stop := exampleNode()
	defer stop()
	attributes := map[string]string{"user": "alice", "org": "acme", "model": "large"}
	b.Run("client", func(b *testing.B) {
		weir, err := client.Open(b.Context(), client.Config{Seeds: seeds, Deadline: time.Minute, DenyMax: -1})
		if err != nil {
			b.Fatal(err)
		}
		defer weir.Close()
		crowd(b, func(ctx context.Context) error {
			d, err := weir.Check(ctx, client.CheckRequest{Domain: "demo", Attributes: attributes})
			if err == nil && d.Fallback() {
				err = fmt.Errorf("fell back: %s", d.Message)
			}
			return err
		})
	})
	b.Run("stream", func(b *testing.B) {
		conn, err := grpc.NewClient(seeds[0], grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			b.Fatal(err)
		}
		defer conn.Close()
		checks := stream.NewClient(func(ctx context.Context) (grpc.BidiStreamingClient[weirv1.CheckStreamRequest, weirv1.CheckStreamResponse], error) {
			return weirv1.NewAccessServiceClient(conn).CheckStream(ctx)
		})
		ctx, cancel := context.WithCancel(b.Context())
		ended := make(chan error)
		go func() { ended <- checks.Run(ctx) }()
		crowd(b, func(ctx context.Context) error {
			ctx, cancel := context.WithTimeout(ctx, time.Minute)
			defer cancel()
			r := &weirv1.CheckRequest{Domain: "demo"}
			for name, value := range attributes {
				r.Attributes = append(r.Attributes, &weirv1.Attribute{Name: name, Value: value})
			}
			_, err := checks.Check(ctx, r, 0)
			return err
		})
		cancel()
		<-ended
	})
}

// crowd runs one call at a time on each of many goroutines.
func crowd(b *testing.B, call func(context.Context) error) {
	b.Helper()
	b.ReportAllocs()
	b.SetParallelism(128)
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			if err := call(context.Background()); err != nil {
				b.Error(err)
				return
			}
		}
	})
}
