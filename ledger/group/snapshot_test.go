package group

import (
	"bytes"
	"errors"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

// texts reads a snapshot of texts.
func texts(stream []byte) (map[string]string, restored, error) {
	got := map[string]string{}
	s, err := readSnapshot(bytes.NewReader(stream), func(name string, r io.Reader) error {
		text, err := io.ReadAll(r)
		got[name] = string(text)
		return err
	})
	return got, s, err
}

func TestSnapshotComesBackAsItWas(t *testing.T) {
	t.Parallel()
	want := map[string]string{"empty": "", "ledger": strings.Repeat("weir", frameBytesMax), "view": "v"}
	got, s, err := texts(stack(t, sections(want)))
	if err != nil || !maps.Equal(got, want) {
		t.Errorf("%d sections came back, %v", len(got), err)
	}
	if s.index != 7 || !s.wall.Equal(time.Unix(100, 5)) || s.machines != 3 {
		t.Errorf("head came back as %+v", s)
	}
	if _, s, err := texts(stack(t, &snapshot{index: 1})); err != nil || !s.wall.IsZero() {
		t.Errorf("head without a stamp came back as %+v, %v", s, err)
	}
}

func TestSnapshotWithAnyDamageIsRefused(t *testing.T) {
	t.Parallel()
	good := stack(t, sections(map[string]string{"ledger": "accounts", "view": "members"}))
	for at := range good {
		damaged := slices.Clone(good)
		damaged[at] ^= 0x40
		if _, _, err := texts(damaged); err == nil {
			t.Errorf("byte %d of %d changed and nobody noticed", at, len(good))
		}
		if _, _, err := texts(good[:at]); err == nil || errors.Is(err, io.EOF) {
			t.Errorf("cut after %d of %d bytes: %v", at, len(good), err)
		}
	}
	if _, _, err := texts(append(slices.Clone(good), 0)); !errors.Is(err, errSnapshotBad) {
		t.Errorf("a byte behind: %v", err)
	}
	twice := sections(map[string]string{"view": "members"})
	twice.sections = append(twice.sections, twice.sections[0])
	if _, _, err := texts(stack(t, twice)); !errors.Is(err, errSnapshotBad) {
		t.Errorf("a section that comes twice: %v", err)
	}
}

func TestRestoreMustReadItsSectionToTheEnd(t *testing.T) {
	t.Parallel()
	stream := stack(t, sections(map[string]string{"view": "members"}))
	_, err := readSnapshot(bytes.NewReader(stream), func(_ string, r io.Reader) error {
		_, err := io.ReadFull(r, make([]byte, 3))
		return err
	})
	if !errors.Is(err, errSnapshotBad) {
		t.Errorf("got %v, want %v", err, errSnapshotBad)
	}
}

func TestReplicaRefusesASnapshotOfOtherMachines(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name string
		held map[string]string
		good bool
	}{
		{"the same", map[string]string{"tape": `["1/2 x"]`}, true},
		{"one more", map[string]string{"tape": `[]`, "view": ""}, false},
		{"none", nil, false},
		{"what the machine refuses", map[string]string{"tape": `{`}, false},
	} {
		m := &tape{}
		p := newReplica(map[string]Machine{"tape": m}, func() {})
		err := p.Restore(io.NopCloser(bytes.NewReader(stack(t, sections(row.held)))))
		if (err == nil) != row.good || (p.err() == nil) != row.good {
			t.Errorf("%s: restored with %v, at fault with %v", row.name, err, p.err())
		}
		if row.good && (p.consumed.Load() != 7 || m.count("x") != 1) {
			t.Errorf("%s: consumed up to %d, played %q", row.name, p.consumed.Load(), m.played())
		}
		if err := p.Restore(io.NopCloser(bytes.NewReader(stack(t, sections(map[string]string{"tape": "[]"}))))); err != nil || p.err() != nil {
			t.Errorf("%s: a good one after it: %v, %v", row.name, err, p.err())
		}
	}
}

func TestStampsNeverGoBackNotEvenAfterARestore(t *testing.T) {
	t.Parallel()
	log := func(index uint64, wall int64) *raft.Log {
		return &raft.Log{Index: index, Term: 3, Data: appendEntry(nil, time.Unix(wall, 0), []operation{{"tape", []byte("x")}})}
	}
	first, second := &tape{}, &tape{}
	p := newReplica(map[string]Machine{"tape": first}, func() {})
	for i, wall := range []int64{100, 90, 110, 105} { // as when a leader with a slow clock follows one with a fast clock
		p.Apply(log(uint64(10+i), wall))
	}
	if p.consumed.Load() != 13 {
		t.Errorf("consumed up to %d, want 13", p.consumed.Load())
	}
	taken, err := p.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	q := newReplica(map[string]Machine{"tape": second}, func() {})
	if err := q.Restore(io.NopCloser(bytes.NewReader(stack(t, taken.(*snapshot))))); err != nil {
		t.Fatal(err)
	}
	q.Apply(log(14, 95))
	var seconds []int64
	for _, wall := range append(first.walls, second.walls...) {
		seconds = append(seconds, wall.Unix())
	}
	if !slices.Equal(seconds, []int64{100, 100, 110, 110, 110}) || !slices.Equal(second.played()[3:], []string{"3/13 x", "3/14 x"}) {
		t.Errorf("stamps %v, played %q", seconds, second.played())
	}
}

func FuzzReadSnapshot(f *testing.F) {
	var good bytes.Buffer
	if err := sections(map[string]string{"ledger": "accounts", "view": ""}).writeTo(&good); err != nil {
		f.Fatal(err)
	}
	f.Add(good.Bytes())
	f.Add(good.Bytes()[:good.Len()-1])
	f.Add([]byte(snapshotMagic))
	f.Fuzz(func(t *testing.T, stream []byte) {
		got, s, err := texts(stream)
		if err == nil && s.machines != len(got) {
			t.Errorf("head says %d machines, %d came", s.machines, len(got))
		}
	})
}
