package transport

import (
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	weirv1 "github.com/weir-cluster/weir/api/weir/v1"
	"github.com/weir-cluster/weir/cluster"
	"github.com/weir-cluster/weir/ledger"
	"github.com/weir-cluster/weir/policy"
)

// whole is a check with every field set.
func whole() *weirv1.CheckRequest {
	return &weirv1.CheckRequest{
		Domain: "d", IdempotencyKey: "k", Ticket: "t", MaxWaitMs: 5, Mode: weirv1.Mode_MODE_RESERVE, Explain: true, Refund: true, Charge: true,
		Attributes: []*weirv1.Attribute{{Name: "user", Value: "alice"}, {}, {Name: "größe"}},
		Cost:       []*weirv1.Cost{{Meter: "tokens", Amount: -7}, {}, {Amount: math.MaxInt64}},
		Override:   &weirv1.LimitOverride{Count: math.MaxUint32, WindowMs: 1000},
	}
}

func encoded(tb testing.TB, m proto.Message) []byte {
	tb.Helper()
	b, err := proto.Marshal(m)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// readBoth reads bytes by hand and as generated, and compares what was read.
func readBoth(t *testing.T, data []byte, m *checks) {
	t.Helper()
	want := &weirv1.CheckStreamRequest{}
	wantErr := proto.Unmarshal(data, want)
	if len(want.GetChecks()) > policy.BatchMax {
		return // those that are too many are not looked at
	}
	r := newReader(data)
	m.readAll(&r, true)
	if (wantErr != nil) != r.failed {
		t.Fatalf("%x: read by hand %v, as generated %v", data, r.err(), wantErr)
	}
	if r.failed {
		return
	}
	if m.count != len(want.GetChecks()) || len(m.list) != m.count {
		t.Fatalf("%x: %d checks, want %d", data, m.count, len(want.GetChecks()))
	}
	for i, w := range want.GetChecks() {
		c := &m.list[i]
		if c.id != w.GetId() || c.epoch != w.GetEpoch() || c.timeoutMs != w.GetTimeoutMs() {
			t.Errorf("%x: check %d: %+v, want %v", data, i, c, w)
		}
		same(t, data, c, w.GetCheck())
	}
	same(t, data, &m.common, want.GetCommon())
}

func same(t *testing.T, data []byte, c *check, want *weirv1.CheckRequest) {
	t.Helper()
	got := c.later()
	got.Mode = fromMode(c.mode)
	w := fromRequest(want)
	if len(w.Attributes)+len(got.Attributes) == 0 {
		got.Attributes, w.Attributes = nil, nil
	}
	if len(w.Cost)+len(got.Cost) == 0 {
		got.Cost, w.Cost = nil, nil
	}
	if !reflect.DeepEqual(got, w) {
		t.Errorf("%x: read by hand %+v, as generated %+v", data, got, w)
	}
}

// Any bytes are read as the generated code reads them, by a reader that has read others before.
func FuzzChecksAreReadAsTheGeneratedCodeDoes(f *testing.F) {
	full := encoded(f, &weirv1.CheckStreamRequest{
		Checks: []*weirv1.StreamedCheck{{Id: 1 << 40, Check: whole(), TimeoutMs: 50, Epoch: 9}, {}}, Common: whole(),
	})
	for _, seed := range [][]byte{
		nil, full, full[:len(full)-1], append(full, full...),
		encoded(f, &weirv1.CheckStreamResponse{Outcomes: []*weirv1.StreamedOutcome{{Id: 3}}}),
		{0x0a, 0x02, 0x12, 0x00},
		{0x0a, 0x01, 0x12},
		{0x00},
		{0x0c},
		{0x0b, 0x0c},
		{0x0b},
		{0x13, 0x0b, 0x0c, 0x14}, // no number, groups
		{0x0a, 0x06, 0x12, 0x04, 0x0a, 0x02, 0xff, 0xfe},
		{0x0a, 0x06, 0x12, 0x04, 0x22, 0x02, 0xc3, 0x28}, // not UTF-8
		{0x08, 0x01, 0x0a, 0x04, 0x0a, 0x02, 0x08, 0x01},
		{0x0d, 1, 2, 3, 4, 0x09, 1, 2, 3, 4, 5, 6, 7, 8}, // known fields of other types
		{0x0a, 0x0b, 0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01},
		{0x0a, 0x0b, 0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02},
		{0xf8, 0xff, 0xff, 0xff, 0x0f, 0x01},
		{0x80, 0x80, 0x80, 0x80, 0x10, 0x01},
		{0x8a, 0x00, 0x02, 0x12, 0x00}, // the highest number, beyond, a long tag
		{0x0a, 0x08, 0x12, 0x02, 0x40, 0x01, 0x12, 0x02, 0x40, 0x80},
		{0x12, 0x04, 0x4a, 0x00, 0x4a, 0x00},
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		m := new(checks)
		readBoth(t, data, m)
		readBoth(t, full, m)
		readBoth(t, data, m)
	})
}

// A byte that is not UTF-8 is found wherever it stands, also behind a check that has none.
func TestWhatIsNotUTF8IsFoundWhereverItStands(t *testing.T) {
	const letters = "abcdefghijklmnopqrstuvwxyz"
	for at := range letters {
		for _, bad := range []string{"\xff", "\x80", "ß"} {
			m := &weirv1.CheckStreamRequest{Checks: []*weirv1.StreamedCheck{{Check: of(letters)}, {Check: of(letters)}}}
			data := encoded(t, m)
			copy(data[len(data)-len(letters)+at:], bad)
			readBoth(t, data, new(checks))
		}
	}
}

// text is a string that may be on the wire.
func text() *rapid.Generator[string] { return rapid.StringN(0, 200, 400) }

func someLimit(t *rapid.T) policy.LimitState {
	ms := rapid.Map(rapid.Int64Range(-1, 1<<40), func(n int64) time.Duration { return time.Duration(n) * time.Millisecond })
	n := rapid.Int64()
	return policy.LimitState{
		Name: text().Draw(t, "name"), Limit: n.Draw(t, "limit"), Window: ms.Draw(t, "window"), Meter: text().Draw(t, "meter"),
		Remaining: n.Draw(t, "remaining"), Reset: ms.Draw(t, "reset") + 1, Wait: ms.Draw(t, "wait"),
		Refused: rapid.Bool().Draw(t, "refused"), Shadow: rapid.Bool().Draw(t, "shadow"), InFlight: rapid.Bool().Draw(t, "in flight"),
		Overridden: rapid.Bool().Draw(t, "overridden"), Burst: n.Draw(t, "burst"), Spill: rapid.Bool().Draw(t, "spill"),
		Fallback: rapid.SampledFrom([]string{"", "share", "open", "closed"}).Draw(t, "fallback"),
	}
}

func someDecision(t *rapid.T) policy.Decision {
	ms := rapid.Map(rapid.Int64Range(-1, 1<<40), func(n int64) time.Duration { return time.Duration(n) * time.Millisecond })
	var id ulid.ULID
	copy(id[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "id"))
	id[0] &= 0x7f
	return policy.Decision{
		Verdict: policy.Verdict(rapid.IntRange(0, 3).Draw(t, "verdict")), Reason: policy.Reason(rapid.IntRange(0, 12).Draw(t, "reason")),
		Message: text().Draw(t, "message"), Remedy: policy.Remedy(rapid.IntRange(0, 3).Draw(t, "remedy")),
		RetryAfter: ms.Draw(t, "retry after"), Wait: ms.Draw(t, "wait"), Ticket: text().Draw(t, "ticket"),
		Degrade: rapid.SliceOfN(rapid.Custom(func(t *rapid.T) policy.Attribute {
			return policy.Attribute{Name: text().Draw(t, "name"), Value: text().Draw(t, "value")}
		}), 0, 3).Draw(t, "degrade"),
		Sources: rapid.SliceOfN(rapid.Custom(func(t *rapid.T) policy.Draw {
			return policy.Draw{
				Source: policy.Source(rapid.IntRange(0, 4).Draw(t, "source")), Meter: text().Draw(t, "meter"), Amount: rapid.Int64().Draw(t, "amount"),
				Credits: ledger.Credits(rapid.Int64().Draw(t, "credits")), Grant: text().Draw(t, "grant"),
			}
		}), 0, 3).Draw(t, "sources"),
		Limits:       rapid.SliceOfN(rapid.Custom(someLimit), 0, 20).Draw(t, "limits"),
		Unreplicated: rapid.Bool().Draw(t, "unreplicated"), Refusing: text().Draw(t, "refusing"), Reservation: text().Draw(t, "reservation"), PolicyVersion: rapid.Uint64().Draw(t, "version"),
		Home: text().Draw(t, "home"), Epoch: rapid.Uint64().Draw(t, "epoch"), ID: id,
		Explain: rapid.SliceOfN(rapid.Custom(func(t *rapid.T) policy.Step {
			return policy.Step{Rule: text().Draw(t, "rule"), Result: text().Draw(t, "result"), Detail: text().Draw(t, "detail")}
		}), 0, 3).Draw(t, "explain"),
	}
}

func TestADecisionWrittenByHandIsReadBackAsGenerated(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d, id := someDecision(t), rapid.Uint64().Draw(t, "stream id")
		before := rapid.SliceOfN(rapid.Byte(), 0, 3).Draw(t, "before")
		b := appendStreamed(before, id, &d, nil)[len(before):]
		got := &weirv1.CheckStreamResponse{}
		if err := proto.Unmarshal(b, got); err != nil {
			t.Fatalf("%x: %v", b, err)
		}
		want := &weirv1.CheckStreamResponse{Outcomes: []*weirv1.StreamedOutcome{{Id: id, Outcome: &weirv1.Outcome{Decision: toDecision(d)}}}}
		if !proto.Equal(got, want) {
			t.Fatalf("got %v, want %v", got, want)
		}
		if n := proto.Size(want); len(b) != n {
			t.Fatalf("%d bytes, the shortest is %d", len(b), n)
		}
		if back := toDecision(fromDecision(got.GetOutcomes()[0].GetOutcome().GetDecision())); !proto.Equal(back, toDecision(d)) {
			t.Fatalf("read as %v, was %v", back, d)
		}
	})
}

func TestAFaultWrittenByHandIsReadBackAsGenerated(t *testing.T) {
	for _, err := range []error{
		policy.ErrInvalid, errors.New("unforeseen"), errors.New(strings.Repeat("long ", 1000)),
		&cluster.NotHomeError{}, &cluster.NotHomeError{View: make([]byte, 200_000)},
	} {
		got := &weirv1.CheckBatchResponse{}
		if e := proto.Unmarshal(appendAnswer(nil, &policy.Decision{}, err), got); e != nil {
			t.Fatal(e)
		}
		if want := (&weirv1.CheckBatchResponse{Outcomes: []*weirv1.Outcome{{Fault: toFault(err)}}}); !proto.Equal(got, want) {
			t.Errorf("%.100v: got %.100v", err, got)
		}
	}
	got := &weirv1.CheckBatchResponse{}
	if err := proto.Unmarshal(appendAnswer(nil, &policy.Decision{}, errors.New("a\xffb")), got); err != nil {
		t.Error("a message that is not UTF-8 makes its whole batch unreadable")
	}
}
