package client

import (
	"reflect"
	"testing"

	weirv1 "github.com/weir-cluster/weir/api/weir/v1"
)

// A receipt over gRPC has the status and the reason that it has over HTTP.
func TestARefusedReceiptSaysWhy(t *testing.T) {
	t.Parallel()
	for outcome, want := range map[string]struct {
		status int
		reason string
	}{
		"done": {0, ""}, "insufficient": {402, "CREDITS_EXHAUSTED"}, "unwilling": {402, "UNWILLING"}, "blocked": {403, "BLOCKED"},
		"returned": {409, "RETURNED"}, "hold_exists": {409, "HOLD_EXISTS"}, "hold_expired": {410, "HOLD_EXPIRED"},
		"exceeds_hold": {422, "EXCEEDS_HOLD"}, "refund_exceeds_captured": {422, "REFUND_EXCEEDS_CAPTURED"}, "from_the_future": {409, "FROM_THE_FUTURE"},
	} {
		r := ofReceipt(&weirv1.Receipt{Outcome: outcome})
		if r.Status != want.status || r.Reason != want.reason || r.Refused() != (outcome != "done") || (r.Type == "") != (outcome == "done") {
			t.Errorf("%s: %+v, want %d %s", outcome, r, want.status, want.reason)
		}
	}
}

func TestAReceiptComesWhole(t *testing.T) {
	t.Parallel()
	in := &weirv1.Receipt{
		Outcome: "done", Account: "a", Seq: 1, Event: 2, AmountMicros: 3, BalanceAfterMicros: 4, ForgivenMicros: 5, ExpiredMicros: 6, Late: true,
		Index: 7, Term: 8, Replayed: true, Attempts: 9, Parts: []*weirv1.Part{{Kind: "promo", Grant: "g", AmountMicros: 3}},
		Had:  []*weirv1.Part{{Kind: "promo", AmountMicros: 3}, {Kind: "credit", AmountMicros: 1}},
		Hold: &weirv1.HoldState{Id: "h", State: "open", HeldMicros: 1, CapturedMicros: 2, RefundedMicros: 3, ExpiresInMs: 4},
	}
	want := Receipt{
		Outcome: "done", Account: "a", Seq: 1, Event: 2, AmountMicros: 3, BalanceAfterMicros: 4, ForgivenMicros: 5, ExpiredMicros: 6, Late: true,
		Index: 7, Term: 8, Replayed: true, Attempts: 9, Parts: []Part{{"promo", "g", 3}}, Had: map[string]int64{"promo": 3, "credit": 1},
		Hold: &HoldState{"h", "open", 1, 2, 3, 4},
	}
	if got := ofReceipt(in); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}
