package stream

import (
	"bytes"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	weirv1 "github.com/weir-cluster/weir/api/weir/v1"
)

func TestACallWrittenByHandIsReadBackAsGenerated(t *testing.T) {
	now := time.Unix(1, 0)
	rapid.Check(t, func(t *rapid.T) {
		check := &weirv1.CheckRequest{Domain: rapid.StringN(0, 200, 400).Draw(t, "domain"), Explain: rapid.Bool().Draw(t, "explain")}
		encoded, err := proto.Marshal(check)
		if err != nil {
			t.Fatal(err)
		}
		k := &Call{Check: string(encoded), Epoch: rapid.Uint64().Draw(t, "epoch"), Origin: rapid.Uint64().Draw(t, "origin"), id: rapid.Uint64().Draw(t, "id")}
		want := &weirv1.StreamedCheck{Id: k.id, Epoch: k.Epoch, Origin: k.Origin, Check: check}
		if left := rapid.Int64Range(-1, 1<<40).Draw(t, "left"); left >= 0 {
			k.due = now.Add(time.Duration(left) * time.Millisecond)
			want.TimeoutMs = max(1, left)
		}
		before := rapid.SliceOfN(rapid.Byte(), 0, 3).Draw(t, "before")
		b := k.append(before, now)[len(before):]
		got := &weirv1.CheckStreamRequest{}
		if err := proto.Unmarshal(b, got); err != nil || len(got.GetChecks()) != 1 || !proto.Equal(got.GetChecks()[0], want) {
			t.Fatalf("got %v, %v, want %v", got, err, want)
		}
	})
}

// readAll reads outcomes by hand.
func readAll(m []byte) (ids []uint64, outcomes [][]byte, err error) {
	for len(m) > 0 {
		id, outcome, rest, err := nextOutcome(m)
		if err != nil {
			return nil, nil, err
		}
		ids, outcomes, m = append(ids, id), append(outcomes, outcome), rest
	}
	return ids, outcomes, nil
}

// What the generated code can read is read alike; what is inside an outcome is not looked at.
func FuzzOutcomesAreReadAsTheGeneratedCodeDoes(f *testing.F) {
	full, err := proto.Marshal(&weirv1.CheckStreamResponse{Outcomes: []*weirv1.StreamedOutcome{
		{Id: 1 << 40, Outcome: &weirv1.Outcome{Decision: &weirv1.Decision{Home: "a", Epoch: 3}}},
		{Id: 2, Outcome: &weirv1.Outcome{Fault: &weirv1.Fault{Word: "NOT_HOME", View: make([]byte, 300)}}},
		{Id: 3},
		{},
	}})
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range [][]byte{
		nil, full, full[:len(full)-1], slices.Concat(full, full),
		{0x0a, 0x0c, 0x12, 0x04, 0x0a, 0x02, 0x70, 0x05, 0x08, 0x05, 0x12, 0x02, 0x12, 0x00}, // an outcome in two parts
		{0x0a, 0x08, 0x12, 0x02, 0x0a, 0x00, 0x12, 0x02, 0x12, 0x00, 0x08},                   // and cut
		{0x10, 0x01, 0x0a, 0x02, 0x08, 0x01, 0x1a, 0x01, 0xff},                               // unknown fields
		{0x0a, 0x03, 0x0d, 0x01, 0x02},
		{0x0a, 0x05, 0x0d, 1, 2, 3, 4},
		{0x08, 0x80},
		{0x0b, 0x0c},
		{0x0b},
		{0x0c},
		{0x00, 0x00},
		{0x0a, 0x0b, 0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02},
		{0x0a, 0x02, 0x0b, 0x0c},
		{0x0a, 0x04, 0x08, 0x01, 0x08, 0x02},
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		want := &weirv1.CheckStreamResponse{}
		if proto.Unmarshal(data, want) != nil {
			_, _, _ = readAll(data) // it only must not panic
			return
		}
		ids, outcomes, err := readAll(data)
		if err != nil {
			t.Fatalf("%x: %v", data, err)
		}
		for _, w := range want.GetOutcomes() {
			for len(ids) > 0 && (ids[0] != w.GetId() || (outcomes[0] == nil) != (w.GetOutcome() == nil)) && ids[0] == 0 && outcomes[0] == nil {
				ids, outcomes = ids[1:], outcomes[1:] // an unknown field
			}
			if len(ids) == 0 || ids[0] != w.GetId() || (outcomes[0] == nil) != (w.GetOutcome() == nil) {
				t.Fatalf("%x: read %v, want %v", data, ids, w)
			}
			got := &weirv1.Outcome{}
			if err := proto.Unmarshal(outcomes[0], got); err != nil || w.GetOutcome() != nil && !proto.Equal(got, w.GetOutcome()) {
				t.Fatalf("%x: got %v, %v, want %v", data, got, err, w)
			}
			ids, outcomes = ids[1:], outcomes[1:]
		}
	})
}

// An outcome is passed on as it is, so that what this node does not know reaches who does.
func TestUnknownFieldsOfAnOutcomeStay(t *testing.T) {
	inside := []byte{0x0a, 0x03, 0xa2, 0x06, 0x00, 0xaa, 0x06, 0x01, 0x07} // a decision with field 100, and field 101
	m := slices.Concat([]byte{0x0a, byte(len(inside) + 4), 0x08, 0x05, 0x12, byte(len(inside))}, inside)
	id, outcome, rest, err := nextOutcome(m)
	if err != nil || id != 5 || !bytes.Equal(outcome, inside) || len(rest) != 0 {
		t.Errorf("%d, %x, %x, %v", id, outcome, rest, err)
	}
}

func TestTheCallThatIsDueFirstComesFirst(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var d dues
		var all []*Call
		for _, n := range rapid.SliceOfN(rapid.IntRange(-20, 50), 100, 200).Draw(t, "times") {
			if n < 0 && len(all) > 0 {
				i := rapid.IntRange(0, len(all)-1).Draw(t, "out")
				d.remove(all[i])
				d.remove(all[i]) // once is enough
				all = slices.Delete(all, i, i+1)
			} else {
				k := &Call{due: time.Unix(int64(n), 0)}
				d.add(k)
				all = append(all, k)
			}
			if len(d) != len(all) {
				t.Fatalf("%d calls, want %d", len(d), len(all))
			}
		}
		slices.SortStableFunc(all, func(a, b *Call) int { return a.due.Compare(b.due) })
		for _, want := range all {
			if got := d[0]; !got.due.Equal(want.due) {
				t.Fatalf("due at %v, want %v", got.due, want.due)
			}
			d.remove(d[0])
		}
	})
}
