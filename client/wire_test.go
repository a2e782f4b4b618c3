package client

import (
	"hash/maphash"
	"reflect"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	weirv1 "github.com/weir-cluster/weir/api/weir/v1"
)

func shapeOf(t *testing.T, s shaper, q CheckRequest) uint64 {
	t.Helper()
	r, err := s.encode(&q)
	if err != nil {
		t.Fatal(err)
	}
	return r.shape
}

// A request is written byte for byte as the generated code writes it, in a fixed order.
func TestRequestsAreWrittenAsGenerated(t *testing.T) {
	t.Parallel()
	many := CheckRequest{Domain: "d", Attributes: map[string]string{}, Cost: map[string]int64{}}
	for i := range attributesMax {
		many.Attributes[strings.Repeat("n", i+1)] = strings.Repeat("v", i*8)
	}
	for i := range metersMax {
		many.Cost[strings.Repeat("m", i)] = int64(i)<<(4*i) - 1
	}
	for name, q := range map[string]CheckRequest{
		"a domain":   {Domain: "d"},
		"usual":      {Domain: "bench", Attributes: map[string]string{"user": "u-1", "org": "acme", "model": "groß"}},
		"everything": {Domain: "d", Attributes: map[string]string{"": "", "b": "", "ß": "x"}, Cost: map[string]int64{"": 0, "tokens": 1 << 40, "x": -1}, IdempotencyKey: "k", Ticket: "t", MaxWaitMS: 70_000, Mode: Peek, Explain: true},
		"a reserve":  {Domain: "d", Mode: Reserve},
		"many":       many,
	} {
		m := &weirv1.CheckRequest{Domain: q.Domain, IdempotencyKey: q.IdempotencyKey, Ticket: q.Ticket, MaxWaitMs: q.MaxWaitMS, Explain: q.Explain, Mode: q.mode(), Cost: costsOnWire(q.Cost)}
		for name, value := range q.Attributes {
			m.Attributes = append(m.Attributes, &weirv1.Attribute{Name: name, Value: value})
		}
		slices.SortFunc(m.Attributes, func(a, b *weirv1.Attribute) int { return strings.Compare(a.GetName(), b.GetName()) })
		want, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		got, err := shaper{maphash.MakeSeed()}.encode(&q)
		if err != nil || got.encoded != string(want) {
			t.Errorf("%s: %q, %v, want %q", name, got.encoded, err, want)
		}
	}
}

// decisionOf is a decision read by the generated code.
func decisionOf(d *weirv1.Decision) Decision {
	out := Decision{
		Verdict: verdictWord(d.GetVerdict()), Reason: d.GetReason(), Message: d.GetMessage(), Remedy: d.GetRemedy(),
		RetryAfterMS: d.GetRetryAfterMs(), WaitMS: d.GetWaitMs(), Ticket: d.GetTicket(), Sources: ofDraws(d.GetSources()),
		Limits: []Limit{}, Reservation: d.GetReservation(), PolicyVersion: d.GetPolicyVersion(),
		Home: d.GetHome(), Epoch: d.GetEpoch(), DecisionID: d.GetDecisionId(), Unreplicated: d.GetUnreplicated(),
	}
	for _, l := range d.GetLimits() {
		out.Limits = append(out.Limits, Limit{
			Name: l.GetName(), Limit: l.GetLimit(), Remaining: l.GetRemaining(), ResetMS: l.GetResetMs(), Meter: l.GetMeter(),
			WindowMS: l.GetWindowMs(), Shadow: l.GetShadow(), Overridden: l.GetOverridden(), InFlight: l.GetInFlight(),
			Refused: l.GetRefused(), WaitMS: l.GetWaitMs(), Burst: l.GetBurst(), Spill: l.GetSpill(), Fallback: fallbackWord(l.GetFallback()),
		})
	}
	for _, a := range d.GetDegrade() {
		if out.Degrade == nil {
			out.Degrade = make(map[string]string)
		}
		out.Degrade[a.GetName()] = a.GetValue()
	}
	for _, s := range d.GetExplain() {
		out.Explain = append(out.Explain, Step{Rule: s.GetRule(), Result: s.GetResult(), Detail: s.GetDetail()})
	}
	out.refuse()
	return out
}

// An outcome is read as the generated code reads it, or refused where that refuses it.
func FuzzOutcome(f *testing.F) {
	full := &weirv1.Decision{
		Verdict: weirv1.Verdict_VERDICT_DENY, Reason: "RATE_LIMITED", Message: "genug", Remedy: "wait", RetryAfterMs: 1 << 40, WaitMs: -1, Ticket: "t",
		Degrade: []*weirv1.Attribute{{Name: "model", Value: "small"}, {}}, Sources: []*weirv1.Draw{{Source: "LIMIT", Meter: "m", Amount: 300, CreditsMicros: 4, Grant: "g"}, {}},
		Limits: []*weirv1.LimitState{{}, {
			Name: "l", Limit: 5, Remaining: 4, ResetMs: 3, WindowMs: 2, Meter: "m", Refused: true, WaitMs: -1, Overridden: true, InFlight: true,
			Fallback: weirv1.Fallback_FALLBACK_OPEN, Burst: 200, Spill: true,
		}, {Name: "s", Refused: true, Shadow: true}},
		Reservation: "r", PolicyVersion: 7, Home: "n1", Epoch: 1 << 33, DecisionId: "id", Explain: []*weirv1.Step{{Rule: "a", Result: "b", Detail: "ß"}}, Refusing: "l", Unreplicated: true,
	}
	whole, err := proto.Marshal(&weirv1.Outcome{Decision: full})
	if err != nil {
		f.Fatal(err)
	}
	told, err := proto.Marshal(&weirv1.Outcome{Fault: &weirv1.Fault{Code: 3, Message: "no", Word: "INVALID"}})
	if err != nil {
		f.Fatal(err)
	}
	odd := protowire.AppendFixed64(protowire.AppendTag(nil, 99, protowire.Fixed64Type), 1)
	odd = protowire.AppendGroup(protowire.AppendTag(odd, 98, protowire.StartGroupType), 98, []byte{8, 1})
	for _, seed := range [][]byte{nil, whole, told, append(slices.Clone(whole), whole...), append(slices.Clone(told), told...), append(odd, whole...), whole[:len(whole)-1], {0x0a, 0x03, 0x12, 0x01, 0xff}} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m := new(weirv1.Outcome)
		broken := proto.Unmarshal(b, m)
		d, err := readOutcome("n1", string(b))
		switch {
		case broken != nil || m.GetDecision() == nil && m.GetFault() == nil:
			if err == nil || final(err) {
				t.Errorf("%x: %+v, %v; generated: %v", b, d, err, broken)
			}
		case m.GetFault() != nil:
			if want := ofFault("n1", m.GetFault()); !reflect.DeepEqual(err, error(want)) {
				t.Errorf("%x: %v, want %v", b, err, want)
			}
		default:
			if want := decisionOf(m.GetDecision()); err != nil || !reflect.DeepEqual(d, want) {
				t.Errorf("%x: %+v, %v, want %+v", b, d, err, want)
			}
		}
	})
}
