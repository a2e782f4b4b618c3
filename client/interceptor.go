package client

import (
	"context"
	"net/http"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"
)

const errorDomain = "weir.v1" // of ErrorInfo

// Interceptor asks before a gRPC method is called, as Guard does for HTTP. A refusal is RESOURCE_EXHAUSTED,
// PERMISSION_DENIED or UNAVAILABLE, with the reason as ErrorInfo, and RetryInfo when waiting helps.
type Interceptor struct {
	Checker Checker
	Domain  string
	// Attributes tells who asks for what; ctx is the call's, method its full name.
	Attributes func(ctx context.Context, method string) map[string]string
	// Cost is meter to units. Nil is one request.
	Cost func(ctx context.Context, method string) map[string]int64
}

// Unary is a grpc.UnaryServerInterceptor.
func (i *Interceptor) Unary(ctx context.Context, request any, call *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	ctx, err := i.admit(ctx, call.FullMethod)
	if err != nil {
		return nil, err
	}
	return handler(ctx, request)
}

// Stream is a grpc.StreamServerInterceptor. It asks once, when the stream is opened.
func (i *Interceptor) Stream(service any, stream grpc.ServerStream, call *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	ctx, err := i.admit(stream.Context(), call.FullMethod)
	if err != nil {
		return err
	}
	return handler(service, admitted{stream, ctx})
}

// admitted is a stream that was let through.
type admitted struct {
	grpc.ServerStream

	ctx context.Context
}

// Context is the stream's, with the decision.
func (a admitted) Context() context.Context { return a.ctx }

func (i *Interceptor) admit(ctx context.Context, method string) (context.Context, error) {
	q := CheckRequest{Domain: i.Domain, Attributes: i.Attributes(ctx, method)}
	if i.Cost != nil {
		q.Cost = i.Cost(ctx, method)
	}
	d, err := i.Checker.Check(ctx, q)
	switch {
	case err != nil && ctx.Err() != nil:
		return nil, status.FromContextError(ctx.Err()).Err()
	case err != nil:
		return nil, refusal(undecided(err))
	case !d.Allowed():
		return nil, refusal(d)
	}
	return context.WithValue(ctx, decisionKey{}, d), nil
}

// refusal is a refusing decision as a gRPC error.
func refusal(d Decision) error {
	code := codes.Unavailable
	switch d.Status {
	case http.StatusTooManyRequests, http.StatusPaymentRequired:
		code = codes.ResourceExhausted
	case http.StatusForbidden:
		code = codes.PermissionDenied
	case http.StatusBadRequest:
		code = codes.InvalidArgument
	}
	s := status.New(code, d.Message)
	details := []protoadapt.MessageV1{&errdetails.ErrorInfo{Reason: d.Reason, Domain: errorDomain}}
	if wait := max(d.RetryAfter(), time.Duration(d.WaitMS)*time.Millisecond); wait > 0 {
		details = append(details, &errdetails.RetryInfo{RetryDelay: durationpb.New(wait)})
	}
	if detailed, err := s.WithDetails(details...); err == nil {
		s = detailed
	}
	return s.Err()
}
