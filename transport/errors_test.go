package transport

import (
	"context"
	"errors"
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	weirv1 "github.com/weir-cluster/weir/api/weir/v1"
	"github.com/weir-cluster/weir/cluster"
	"github.com/weir-cluster/weir/ledger"
	"github.com/weir-cluster/weir/policy"
)

// What a node meant must be what the other finds with errors.Is, over both kinds of calls.
func TestErrorsSurviveTheWire(t *testing.T) {
	for _, sentinel := range []error{
		policy.ErrInvalid, policy.ErrConflict, policy.ErrNoReservation, policy.ErrUnavailable, policy.ErrVersionConflict,
		ledger.ErrTooOld, ledger.ErrFull, cluster.ErrNotApplied, cluster.ErrUnknown, context.DeadlineExceeded,
	} {
		err := fmt.Errorf("tried: %w", sentinel)
		for way, got := range map[string]error{"stream": fromFault(toFault(err)), "unary": fromStatus(toStatus(err))} {
			if !errors.Is(got, sentinel) {
				t.Errorf("%s over %s: %v", sentinel, way, got)
			}
		}
	}
}

func TestAnUnknownOutcomeIsNeverTakenForNotApplied(t *testing.T) {
	for _, err := range []error{cluster.ErrUnknown, context.DeadlineExceeded, errors.New("surprise")} {
		if got := fromStatus(toStatus(err)); errors.Is(got, cluster.ErrNotApplied) {
			t.Errorf("%v became %v", err, got)
		}
	}
	if got := fromStatus(status.Error(14, "connection refused")); !errors.Is(got, cluster.ErrUnreachable) || errors.Is(got, cluster.ErrNotApplied) {
		t.Errorf("a lost call became %v", got)
	}
}

func TestHintsSurviveTheWire(t *testing.T) {
	var leader *cluster.NotLeaderError
	if got := fromStatus(toStatus(&cluster.NotLeaderError{Leader: "n2"})); !errors.As(got, &leader) || leader.Leader != "n2" {
		t.Errorf("leader: %v", got)
	}
	moved := &cluster.NotHomeError{View: []byte("view")}
	for way, got := range map[string]error{"stream": fromFault(toFault(moved)), "unary": fromStatus(toStatus(moved))} {
		var m *cluster.NotHomeError
		if !errors.As(got, &m) || string(m.View) != "view" {
			t.Errorf("view over %s: %v", way, got)
		}
	}
}

func TestMillisRoundUpAndDoNotOverflow(t *testing.T) {
	for in, want := range map[time.Duration]int64{-1: -1, -time.Hour: -1, 0: 0, 1: 1, time.Millisecond: 1, time.Millisecond + 1: 2, math.MaxInt64: math.MaxInt64/1_000_000 + 1} {
		if got := millisUp(in); got != want {
			t.Errorf("millisUp(%d) = %d, want %d", in, got, want)
		}
	}
	for in, want := range map[int64]time.Duration{0: 0, 5: 5 * time.Millisecond, math.MaxInt64: time.Duration(millisMax) * time.Millisecond, math.MinInt64: -time.Millisecond} {
		if got := millis(in); got != want {
			t.Errorf("millis(%d) = %d, want %d", in, got, want)
		}
	}
}

func TestADecisionSurvivesTheWire(t *testing.T) {
	d := policy.Decision{
		Verdict: policy.Deny, Reason: policy.CreditsExhausted, Message: "m", Remedy: policy.RemedyBuy, RetryAfter: time.Second,
		Sources:  []policy.Draw{{Source: policy.FromPromo, Meter: "tokens", Amount: 3, Credits: 7, Grant: "g"}},
		Limits:   []policy.LimitState{{Name: "l", Limit: 5, Window: time.Minute, Meter: "requests", Remaining: 2, Reset: time.Second, Wait: 2 * time.Second, Refused: true, Shadow: true, Overridden: true, InFlight: true}},
		Refusing: "l", Reservation: "r", PolicyVersion: 3, Home: "n1", Epoch: 9, ID: ulid.ULID{1, 2, 3},
		Explain: []policy.Step{{Rule: "a", Result: "b", Detail: "c"}}, Degrade: []policy.Attribute{{Name: "model", Value: "small"}},
	}
	if got := fmt.Sprintf("%+v", fromDecision(toDecision(d))); got != fmt.Sprintf("%+v", d) {
		t.Errorf("got  %s\nwant %+v", got, d)
	}
}

// Any bytes that gRPC would hand over make a request that is judged, never a panic.
func FuzzCheckRequest(f *testing.F) {
	p, err := policy.Parse("demo", policy.Demo())
	if err != nil {
		f.Fatal(err)
	}
	whole, err := proto.Marshal(toRequest(policy.Request{
		Domain: "demo", Attributes: []policy.Attribute{{Name: "user", Value: "u"}}, Cost: []policy.Cost{{Meter: "tokens", Amount: 5}},
		IdempotencyKey: "k", MaxWait: time.Second, Mode: policy.Reserve, Explain: true,
	}))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole)
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		var r weirv1.CheckRequest
		if proto.Unmarshal(b, &r) != nil {
			return
		}
		q := fromRequest(&r)
		if again := fromRequest(toRequest(q)); fmt.Sprintf("%+v", again) != fmt.Sprintf("%+v", q) {
			t.Errorf("%+v does not survive: %+v", q, again)
		}
		if err := p.Validate(q); err != nil && !errors.Is(err, policy.ErrInvalid) {
			t.Errorf("%+v: %v", q, err)
		}
	})
}
