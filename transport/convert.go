package transport

import (
	"time"

	"github.com/oklog/ulid/v2"

	weirv1 "github.com/weir-cluster/weir/api/weir/v1"
	"github.com/weir-cluster/weir/ledger"
	"github.com/weir-cluster/weir/policy"
)

func fromRequest(r *weirv1.CheckRequest) policy.Request {
	q := policy.Request{
		Domain: r.GetDomain(), IdempotencyKey: r.GetIdempotencyKey(), Ticket: r.GetTicket(),
		MaxWait: millis(r.GetMaxWaitMs()), Explain: r.GetExplain(), Cost: fromCost(r.GetCost()),
		Attributes: fromAttributes(r.GetAttributes()),
	}
	q.Charge, q.Refund = r.GetCharge(), r.GetRefund()
	if o := r.GetOverride(); o != nil {
		q.Override = &policy.LimitOverride{Count: o.GetCount(), Window: millis(o.GetWindowMs())}
	}
	q.Mode = fromMode(r.GetMode())
	return q
}

func fromMode(m weirv1.Mode) policy.Mode {
	switch m {
	case weirv1.Mode_MODE_PEEK:
		return policy.Peek
	case weirv1.Mode_MODE_RESERVE:
		return policy.Reserve
	case weirv1.Mode_MODE_UNSPECIFIED, weirv1.Mode_MODE_CONSUME:
		return policy.Consume
	default:
		return policy.Mode(255) // of a newer client: judged invalid, never taken for CONSUME
	}
}

func toRequest(q policy.Request) *weirv1.CheckRequest {
	r := &weirv1.CheckRequest{
		Domain: q.Domain, IdempotencyKey: q.IdempotencyKey, Ticket: q.Ticket,
		MaxWaitMs: q.MaxWait.Milliseconds(), Explain: q.Explain, Cost: toCost(q.Cost),
		Attributes: toAttributes(q.Attributes), Mode: weirv1.Mode_MODE_CONSUME,
	}
	r.Charge, r.Refund = q.Charge, q.Refund
	if o := q.Override; o != nil {
		r.Override = &weirv1.LimitOverride{Count: o.Count, WindowMs: o.Window.Milliseconds()}
	}
	switch q.Mode {
	case policy.Peek:
		r.Mode = weirv1.Mode_MODE_PEEK
	case policy.Reserve:
		r.Mode = weirv1.Mode_MODE_RESERVE
	}
	return r
}

func fromAttributes(in []*weirv1.Attribute) []policy.Attribute {
	out := make([]policy.Attribute, len(in))
	for i, a := range in {
		out[i] = policy.Attribute{Name: a.GetName(), Value: a.GetValue()}
	}
	return out
}

func toAttributes(in []policy.Attribute) []*weirv1.Attribute {
	out := make([]*weirv1.Attribute, len(in))
	for i, a := range in {
		out[i] = &weirv1.Attribute{Name: a.Name, Value: a.Value}
	}
	return out
}

func fromCost(in []*weirv1.Cost) []policy.Cost {
	if len(in) == 0 {
		return nil
	}
	out := make([]policy.Cost, len(in))
	for i, c := range in {
		out[i] = policy.Cost{Meter: c.GetMeter(), Amount: c.GetAmount()}
	}
	return out
}

func toCost(in []policy.Cost) []*weirv1.Cost {
	out := make([]*weirv1.Cost, len(in))
	for i, c := range in {
		out[i] = &weirv1.Cost{Meter: c.Meter, Amount: c.Amount}
	}
	return out
}

func fromSettle(r *weirv1.SettleRequest) policy.Settlement {
	return policy.Settlement{
		Reservation: r.GetReservation(), Actual: fromCost(r.GetActual()), Outcome: r.GetOutcome(),
		Latency: millis(r.GetLatencyMs()), Extend: millis(r.GetExtendMs()), Final: r.GetFinal(),
	}
}

func toSettle(s policy.Settlement) *weirv1.SettleRequest {
	return &weirv1.SettleRequest{
		Reservation: s.Reservation, Actual: toCost(s.Actual), Outcome: s.Outcome,
		LatencyMs: s.Latency.Milliseconds(), ExtendMs: s.Extend.Milliseconds(), Final: s.Final,
	}
}

func fromSettled(r *weirv1.SettleResponse) policy.Settled {
	return policy.Settled{Sources: fromDraws(r.GetSources()), Final: r.GetFinal(), Expires: millis(r.GetExpiresMs())}
}

func toSettled(s policy.Settled) *weirv1.SettleResponse {
	return &weirv1.SettleResponse{Sources: toDraws(s.Sources), Final: s.Final, ExpiresMs: millisUp(s.Expires)}
}

func fromDraws(in []*weirv1.Draw) []policy.Draw {
	out := make([]policy.Draw, len(in))
	for i, d := range in {
		source, _ := policy.ParseSource(d.GetSource())
		out[i] = policy.Draw{
			Source: source, Meter: d.GetMeter(), Amount: d.GetAmount(),
			Credits: ledger.Credits(d.GetCreditsMicros()), Grant: d.GetGrant(),
		}
	}
	return out
}

func toDraws(in []policy.Draw) []*weirv1.Draw {
	out := make([]*weirv1.Draw, len(in))
	for i, d := range in {
		out[i] = &weirv1.Draw{
			Source: d.Source.String(), Meter: d.Meter, Amount: d.Amount,
			CreditsMicros: int64(d.Credits), Grant: d.Grant,
		}
	}
	return out
}

func toDecision(d policy.Decision) *weirv1.Decision {
	out := &weirv1.Decision{
		Verdict: toVerdict(d.Verdict), Reason: d.Reason.String(), Message: d.Message, Remedy: d.Remedy.String(),
		RetryAfterMs: millisUp(d.RetryAfter), WaitMs: millisUp(d.Wait), Ticket: d.Ticket,
		Degrade: toAttributes(d.Degrade), Sources: toDraws(d.Sources), Refusing: d.Refusing,
		Reservation: d.Reservation, PolicyVersion: d.PolicyVersion, Home: d.Home, Epoch: d.Epoch, DecisionId: d.ID.String(), Unreplicated: d.Unreplicated,
		Limits: make([]*weirv1.LimitState, len(d.Limits)), Explain: make([]*weirv1.Step, len(d.Explain)),
	}
	for i, l := range d.Limits {
		out.Limits[i] = &weirv1.LimitState{
			Name: l.Name, Limit: l.Limit, Remaining: l.Remaining, ResetMs: millisUp(l.Reset),
			WindowMs: l.Window.Milliseconds(), Meter: l.Meter, Refused: l.Refused, WaitMs: millisUp(l.Wait),
			Shadow: l.Shadow, Overridden: l.Overridden, InFlight: l.InFlight,
			Fallback: fallbackOf(l.Fallback), Burst: l.Burst, Spill: l.Spill,
		}
	}
	for i, s := range d.Explain {
		out.Explain[i] = &weirv1.Step{Rule: s.Rule, Result: s.Result, Detail: s.Detail}
	}
	return out
}

func fromDecision(in *weirv1.Decision) policy.Decision {
	reason, _ := policy.ParseReason(in.GetReason())
	remedy, _ := policy.ParseRemedy(in.GetRemedy())
	d := policy.Decision{
		Verdict: fromVerdict(in.GetVerdict()), Reason: reason, Message: in.GetMessage(), Remedy: remedy,
		RetryAfter: millis(in.GetRetryAfterMs()), Wait: millis(in.GetWaitMs()), Ticket: in.GetTicket(),
		Degrade: fromAttributes(in.GetDegrade()), Sources: fromDraws(in.GetSources()), Refusing: in.GetRefusing(),
		Reservation: in.GetReservation(), PolicyVersion: in.GetPolicyVersion(), Home: in.GetHome(),
		Epoch: in.GetEpoch(), Unreplicated: in.GetUnreplicated(),
	}
	d.ID, _ = ulid.ParseStrict(in.GetDecisionId()) // one that does not parse names no decision
	for _, l := range in.GetLimits() {
		d.Limits = append(d.Limits, policy.LimitState{
			Name: l.GetName(), Limit: l.GetLimit(), Remaining: l.GetRemaining(), Reset: millis(l.GetResetMs()),
			Window: millis(l.GetWindowMs()), Meter: l.GetMeter(), Refused: l.GetRefused(), Wait: millis(l.GetWaitMs()),
			Shadow: l.GetShadow(), Overridden: l.GetOverridden(), InFlight: l.GetInFlight(),
			Fallback: fallbackWord(l.GetFallback()), Burst: l.GetBurst(), Spill: l.GetSpill(),
		})
	}
	for _, s := range in.GetExplain() {
		d.Explain = append(d.Explain, policy.Step{Rule: s.GetRule(), Result: s.GetResult(), Detail: s.GetDetail()})
	}
	return d
}

func toVerdict(v policy.Verdict) weirv1.Verdict {
	switch v {
	case policy.Allow:
		return weirv1.Verdict_VERDICT_ALLOW
	case policy.Degrade:
		return weirv1.Verdict_VERDICT_DEGRADE
	case policy.Queue:
		return weirv1.Verdict_VERDICT_QUEUE
	default:
		return weirv1.Verdict_VERDICT_DENY
	}
}

func fromVerdict(v weirv1.Verdict) policy.Verdict {
	switch v {
	case weirv1.Verdict_VERDICT_ALLOW:
		return policy.Allow
	case weirv1.Verdict_VERDICT_DEGRADE:
		return policy.Degrade
	case weirv1.Verdict_VERDICT_QUEUE:
		return policy.Queue
	default:
		return policy.Deny
	}
}

// fallbackWord is a fallback as a policy writes it, the reverse of fallbackOf.
func fallbackWord(f weirv1.Fallback) string {
	switch f {
	case weirv1.Fallback_FALLBACK_SHARE:
		return "share"
	case weirv1.Fallback_FALLBACK_OPEN:
		return "open"
	case weirv1.Fallback_FALLBACK_CLOSED:
		return "closed"
	default:
		return ""
	}
}

// millisMax keeps a wire duration from overflowing a time.Duration.
const millisMax = int64(1<<63-1) / int64(time.Millisecond)

func millis(ms int64) time.Duration {
	return time.Duration(min(max(ms, -1), millisMax)) * time.Millisecond
}

// millisUp rounds up: a wait that is cut short would be a lie.
func millisUp(d time.Duration) int64 {
	if d < 0 {
		return -1 // never
	}
	if d == 0 {
		return 0
	}
	return int64((d-1)/time.Millisecond) + 1
}
