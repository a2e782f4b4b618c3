package transport

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	weirv1 "github.com/weir-cluster/weir/api/weir/v1"
	"github.com/weir-cluster/weir/cluster"
	"github.com/weir-cluster/weir/policy"
)

// What the generated code can read as an outcome is read alike, and what is carried says the same. More is let pass: what is
// inside a decision is not looked at.
func FuzzAnOutcomeIsCarriedAsTheGeneratedCodeReadsIt(f *testing.F) {
	decision := &weirv1.Outcome{Decision: &weirv1.Decision{
		Verdict: weirv1.Verdict_VERDICT_DENY, Reason: "RATE_LIMITED", Refusing: "rpm", Home: "b", Epoch: 3, Limits: []*weirv1.LimitState{{Name: "rpm"}},
	}}
	full := encoded(f, decision)
	for _, seed := range [][]byte{
		nil, full, full[:len(full)-1], slices.Concat(full, full), encoded(f, &weirv1.Outcome{Fault: toFault(policy.ErrInvalid)}),
		encoded(f, &weirv1.Outcome{Fault: toFault(&cluster.NotHomeError{View: []byte("v")})}), slices.Concat(full, []byte(newer)),
		{0x0a, 0x00},
		{0x12, 0x00},
		{0x0a, 0x02, 0x08, 0x09},
		{0x0a, 0x02, 0x08},
		{0x0a, 0x03, 0x12, 0x01, 0xff},
		{0x12, 0x02, 0x1a, 0x05},
		{0x0a, 0x06, 0x12, 0x01, 'O', 0x12, 0x01, 'K', 0x0a, 0x02, 0x08, 0x01},
		{0x0a, 0x04, 0x8a, 0x01, 0x01, 'x'},
		{0x0b, 0x0c},
		{0x08, 0x01},
		{0x00},
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		want := &weirv1.Outcome{}
		c, err := readOutcome(data)
		if proto.Unmarshal(data, want) != nil {
			return
		}
		if want.GetFault() != nil || want.GetDecision() == nil {
			asError := fromFault(want.GetFault())
			if want.GetFault() == nil {
				asError = cluster.ErrUnreachable
			}
			if err == nil || errors.Is(asError, cluster.ErrUnreachable) != errors.Is(err, cluster.ErrUnreachable) || want.GetFault() != nil && err.Error() != asError.Error() {
				t.Errorf("%x: %v, want %v", data, err, asError)
			}
			return
		}
		d, w := &weirv1.Decision{}, fromDecision(want.GetDecision())
		if err != nil || c.Verdict != w.Verdict || c.Reason != w.Reason || c.Refusing != w.Refusing {
			t.Fatalf("%x: %+v, %v, want %+v", data, c, err, w)
		}
		if err := proto.Unmarshal(c.Encoded, d); err != nil || !proto.Equal(d, want.GetDecision()) {
			t.Errorf("%x: carries %v, %v, want %v", data, d, err, want)
		}
		back := &weirv1.CheckStreamResponse{}
		if err := proto.Unmarshal(appendCarried(nil, 7, c.Encoded), back); err != nil || back.GetOutcomes()[0].GetId() != 7 || !proto.Equal(back.GetOutcomes()[0].GetOutcome().GetDecision(), d) {
			t.Errorf("%x: passed on as %v, %v", data, back, err)
		}
		batch := &weirv1.CheckBatchResponse{}
		if err := proto.Unmarshal(appendCarriedAnswer(nil, c.Encoded), batch); err != nil || !proto.Equal(batch.GetOutcomes()[0].GetDecision(), d) {
			t.Errorf("%x: passed on in a batch as %v, %v", data, batch, err)
		}
	})
}

func someCheck(t *rapid.T) *weirv1.CheckRequest {
	r := &weirv1.CheckRequest{
		Domain: rapid.SampledFrom([]string{"", "d", "e"}).Draw(t, "domain"), IdempotencyKey: text().Draw(t, "key"), Explain: rapid.Bool().Draw(t, "explain"),
		Mode: weirv1.Mode(rapid.Int32Range(0, 4).Draw(t, "mode")), MaxWaitMs: rapid.Int64Range(0, 1<<30).Draw(t, "wait"),
	}
	for range rapid.IntRange(0, 3).Draw(t, "attributes") {
		r.Attributes = append(r.Attributes, &weirv1.Attribute{Name: text().Draw(t, "name"), Value: text().Draw(t, "value")})
	}
	for range rapid.IntRange(0, 2).Draw(t, "costs") {
		r.Cost = append(r.Cost, &weirv1.Cost{Meter: text().Draw(t, "meter"), Amount: rapid.Int64().Draw(t, "amount")})
	}
	return r
}

// Whatever a check takes from its message, another node reads the same request as this one did, and keeps what neither knows.
func TestAPortableCheckIsTheOneThatWasRead(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		one := &weirv1.StreamedCheck{Id: 1, Check: someCheck(t)}
		one.GetCheck().ProtoReflect().SetUnknown([]byte(newer))
		m := &weirv1.CheckStreamRequest{Checks: []*weirv1.StreamedCheck{one}}
		if rapid.Bool().Draw(t, "has a common part") {
			m.Common = someCheck(t)
		}
		data, err := proto.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		if rapid.Bool().Draw(t, "in two parts") { // which are one: the generated code appends lists and lets the last value win
			twice := &weirv1.StreamedCheck{Check: someCheck(t)}
			b, err := proto.Marshal(&weirv1.StreamedCheck{Id: 1, Check: one.GetCheck()})
			if err != nil {
				t.Fatal(err)
			}
			more, err := proto.Marshal(twice)
			if err != nil {
				t.Fatal(err)
			}
			whole := append(b, more...)
			data = append(appendVarint([]byte{0x0a}, uint64(len(whole))), whole...)
		}
		var got checks
		r := newReader(data)
		if err := got.read(&r, true); err != nil {
			t.Fatal(err)
		}
		c := &got.list[0]
		if c.err != nil {
			return
		}
		there, here := c.portable(&got.common), c.later()
		q, err := reread(there)
		if err != nil || !equalRequests(q, here) {
			t.Fatalf("%x: read there as %+v, %v, here as %+v", data, q, err, here)
		}
		g := &weirv1.CheckRequest{}
		if err := proto.Unmarshal([]byte(there), g); err != nil || !equalRequests(fromRequest(g), here) || string(g.ProtoReflect().GetUnknown()) != newer {
			t.Fatalf("%x: read there as generated as %v, %v, here as %+v", data, g, err, here)
		}
	})
}

func equalRequests(a, b policy.Request) bool {
	return a.Domain == b.Domain && a.Mode == b.Mode && a.IdempotencyKey == b.IdempotencyKey && a.Explain == b.Explain && a.MaxWait == b.MaxWait &&
		slices.Equal(a.Attributes, b.Attributes) && slices.Equal(a.Cost, b.Cost)
}

// forwardTo forwards a check to a peer and returns what comes of it.
func forwardTo(t *testing.T, p *Peers, address string) (c cluster.Carried, err error) {
	t.Helper()
	times := 0
	p.Peer(address).Forward(t.Context(), 1<<63, string(encoded(t, of("d", "user=u"))), 3, time.Second, func(got cluster.Carried, e error) {
		c, err, times = got, e, times+1
		c.Encoded = slices.Clone(got.Encoded)
	})
	time.Sleep(2 * time.Second)
	synctest.Wait()
	if times != 1 {
		t.Errorf("answered %d times", times)
	}
	return c, err
}

func TestAPeerCarriesWhatItsNodeAnswers(t *testing.T) {
	d := &weirv1.Decision{Verdict: weirv1.Verdict_VERDICT_ALLOW, Reason: "OK", Home: "b"}
	d.ProtoReflect().SetUnknown([]byte(newer))
	for _, row := range []struct {
		outcome *weirv1.Outcome
		want    error
	}{
		{&weirv1.Outcome{Decision: d}, nil},
		{&weirv1.Outcome{}, cluster.ErrUnreachable},
		{&weirv1.Outcome{Fault: toFault(policy.ErrConflict)}, policy.ErrConflict},
	} {
		connected(t, row.outcome, func(t *testing.T, p *Peers, stop context.CancelFunc) {
			c, err := forwardTo(t, p, "10.0.0.1:1")
			got := &weirv1.Decision{}
			if e := proto.Unmarshal(c.Encoded, got); e != nil || !errors.Is(err, row.want) || row.want == nil && (!proto.Equal(got, d) || c.Verdict != policy.Allow || c.Reason != policy.OK) {
				t.Errorf("%v: carried %+v, %v, %v", row.outcome, c, got, err)
			}
			if _, err := forwardTo(t, p, "10.0.0.9:1"); !errors.Is(err, cluster.ErrUnreachable) {
				t.Errorf("where nobody is: %v", err)
			}
			stop()
			for _, address := range []string{"10.0.0.1:1", "10.0.0.8:1"} {
				if _, err := forwardTo(t, p, address); !errors.Is(err, cluster.ErrUnreachable) {
					t.Errorf("%s after the end: %v", address, err)
				}
			}
		})
	}
	connected(t, nil, func(t *testing.T, p *Peers, stop context.CancelFunc) {
		if c, err := forwardTo(t, p, "10.0.0.1:1"); !errors.Is(err, cluster.ErrUnreachable) || !errors.Is(err, context.DeadlineExceeded) || c.Took != time.Second {
			t.Errorf("a node that hangs: %+v, %v", c, err)
		}
		stop()
	})
	moved := &weirv1.Outcome{Fault: toFault(&cluster.NotHomeError{View: []byte("newer")})}
	connected(t, moved, func(t *testing.T, p *Peers, stop context.CancelFunc) {
		var not *cluster.NotHomeError
		if _, err := forwardTo(t, p, "10.0.0.1:1"); !errors.As(err, &not) || string(not.View) != "newer" {
			t.Errorf("not the home: %v", err)
		}
		stop()
	})
}
