package transport

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/weir-cluster/weir/cluster"
)

// clusterKey is the metadata in which a node says which cluster it is of. An address may have passed from a node
// of one cluster to one of another, which must neither decide nor append for it.
const clusterKey = "weir-cluster"

// SameCluster returns the options of a peer server that refuses calls from nodes of another cluster. own returns
// this node's cluster, empty before it is known.
func SameCluster(own func() string) []grpc.ServerOption {
	same := func(ctx context.Context) error {
		mine := own()
		for _, theirs := range metadata.ValueFromIncomingContext(ctx, clusterKey) {
			if mine != "" && theirs != "" && mine != theirs {
				return toStatus(&cluster.NotHomeError{})
			}
		}
		return nil
	}
	return []grpc.ServerOption{
		grpc.UnaryInterceptor(func(ctx context.Context, request any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
			if err := same(ctx); err != nil {
				return nil, err
			}
			return next(ctx, request)
		}),
		grpc.StreamInterceptor(func(server any, s grpc.ServerStream, _ *grpc.StreamServerInfo, next grpc.StreamHandler) error {
			if err := same(s.Context()); err != nil {
				return err
			}
			return next(server, s)
		}),
	}
}

// ofCluster returns the options of a client that says which cluster it is of.
func ofCluster(own func() string) []grpc.DialOption {
	say := func(ctx context.Context) context.Context {
		return metadata.AppendToOutgoingContext(ctx, clusterKey, own())
	}
	return []grpc.DialOption{
		grpc.WithUnaryInterceptor(func(ctx context.Context, method string, request, reply any, c *grpc.ClientConn, next grpc.UnaryInvoker, o ...grpc.CallOption) error {
			return next(say(ctx), method, request, reply, c, o...)
		}),
		grpc.WithStreamInterceptor(func(ctx context.Context, d *grpc.StreamDesc, c *grpc.ClientConn, method string, next grpc.Streamer, o ...grpc.CallOption) (grpc.ClientStream, error) {
			return next(say(ctx), d, c, method, o...)
		}),
	}
}
