package client_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"time"

	"google.golang.org/grpc"

	"github.com/weir-cluster/weir/client"
)

// A client that is open for as long as a program runs, and one check.
func Example() {
	ctx := context.Background()
	seeds, stop := exampleNode() // a program has addresses of its own, such as weir-1.example.com:8081
	defer stop()

	config := client.DefaultConfig()
	config.Seeds, config.Deadline = seeds, 5*time.Second
	weir, err := client.Open(ctx, config)
	if err != nil {
		log.Fatal(err)
	}
	defer weir.Close()

	for range 3 {
		d, err := weir.Check(ctx, client.CheckRequest{Domain: "demo", Attributes: map[string]string{"user": "alice"}})
		switch {
		case err != nil: // nothing was decided: the request is invalid, or ctx was canceled
			log.Fatal(err)
		case d.Allowed():
			fmt.Println("go on:", d.Limits[0].Remaining, "left")
		default:
			fmt.Println("refused:", d.Reason, "for", d.RetryAfter())
		}
	}
	// Output:
	// go on: 1 left
	// go on: 0 left
	// refused: RATE_LIMITED for 30s
}

// What a request costs is known only afterwards: reserve an estimate, and settle what it was.
func ExampleClient_Reserve() {
	ctx := context.Background()
	seeds, stop := exampleNode()
	defer stop()
	weir, err := client.Open(ctx, client.Config{Seeds: seeds, Deadline: 5 * time.Second})
	if err != nil {
		log.Fatal(err)
	}
	defer weir.Close()

	held, d, err := weir.Reserve(ctx, client.CheckRequest{
		Domain: "demo", Attributes: map[string]string{"user": "alice"}, Cost: map[string]int64{"tokens": 1000},
	})
	if err != nil || !d.Allowed() {
		log.Fatal(d.Message, err)
	}
	if err := errors.New("the model is down"); err == nil { // had it answered:
		_, _ = held.Settle(ctx, client.Settlement{Actual: map[string]int64{"tokens": 421}})
		return
	}
	back, err := held.Release(ctx)
	fmt.Println("ended:", back.Final, err)
	// Output:
	// ended: true <nil>
}

// Credit is given with a key: repeated, it is given once.
func ExampleClient_Grant() {
	ctx := context.Background()
	seeds, stop := exampleNode()
	defer stop()
	weir, err := client.Open(ctx, client.Config{Seeds: seeds})
	if err != nil {
		log.Fatal(err)
	}
	defer weir.Close()

	for range 2 {
		receipt, err := weir.Grant(ctx, "invoice-4711", "alice", client.Grant{Kind: "credit", AmountMicros: 5_000_000})
		if errors.Is(err, client.ErrUnknown) {
			continue // nobody knows: the same key again
		}
		fmt.Println(receipt.Outcome, receipt.BalanceAfterMicros, receipt.Replayed, err)
	}
	// Output:
	// done 5000000 false <nil>
	// done 5000000 true <nil>
}

// A web server in front of which Weir decides.
func ExampleGuard() {
	guard := &client.Guard{
		Checker:    twoOnly(), // a program has its *client.Client here
		Domain:     "demo",
		Attributes: func(r *http.Request) map[string]string { return map[string]string{"user": userOf(r)} },
	}
	handler := guard.Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "hello") }))

	for range 3 {
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
		fmt.Printf("%d %s retry after %q\n", w.Code, w.Header().Get("RateLimit"), w.Header().Get("Retry-After"))
	}
	// Output:
	// 200 "rpm";r=1;t=60 retry after ""
	// 200 "rpm";r=0;t=60 retry after ""
	// 429 "rpm";r=0;t=1 retry after "1"
}

// A gRPC server in front of which Weir decides.
func ExampleInterceptor() {
	weir := &client.Interceptor{
		Checker:    twoOnly(), // a program has its *client.Client here
		Domain:     "demo",
		Attributes: func(_ context.Context, method string) map[string]string { return map[string]string{"method": method} },
	}
	server := grpc.NewServer(grpc.UnaryInterceptor(weir.Unary), grpc.StreamInterceptor(weir.Stream))
	defer server.Stop()

	call := &grpc.UnaryServerInfo{FullMethod: "/shop.v1.Cart/Add"}
	for range 3 {
		_, err := weir.Unary(context.Background(), nil, call, func(context.Context, any) (any, error) { return nil, nil })
		fmt.Println(err)
	}
	// Output:
	// <nil>
	// <nil>
	// rpc error: code = ResourceExhausted desc = Too many requests; try again in 1 s.
}
