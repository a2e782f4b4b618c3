package group

import (
	"bytes"
	"errors"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

// texts reads a snapshot of texts.
func texts(stream []byte) (map[string]string, head, error) {
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
	if was := sections(want).head; s.As != was.As || s.elapsed != was.elapsed || s.machines != 3 {
		t.Errorf("head came back as %+v", s)
	}
	if _, s, err := texts(stack(t, &snapshot{head: head{As: As{Index: 1}}})); err != nil || !s.Wall.IsZero() {
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
		if row.good && (p.newest.Load().Index != 7 || m.count("x") != 1) {
			t.Errorf("%s: consumed up to %d, played %q", row.name, p.newest.Load().Index, m.played())
		}
		if err := p.Restore(io.NopCloser(bytes.NewReader(stack(t, sections(map[string]string{"tape": "[]"}))))); err != nil || p.err() != nil {
			t.Errorf("%s: a good one after it: %v, %v", row.name, err, p.err())
		}
	}
}

func TestStampsNeverGoBackNotEvenAfterARestore(t *testing.T) {
	t.Parallel()
	log := func(index uint64, wall int64) *raft.Log {
		return &raft.Log{Index: index, Term: 3, Data: appendEntry(nil, heading{wall: time.Unix(wall, 0)}, []operation{{"tape", []byte("x")}})}
	}
	first, second := &tape{}, &tape{}
	p := newReplica(map[string]Machine{"tape": first}, func() {})
	for i, wall := range []int64{100, 90, 110, 105} { // as when a leader with a slow clock follows one with a fast clock
		p.Apply(log(uint64(10+i), wall))
	}
	if p.newest.Load().Index != 13 {
		t.Errorf("consumed up to %d, want 13", p.newest.Load().Index)
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

// TestSnapshotOfTheVersionBeforeIsRead: testdata/snapshot-v1 was written by the program that knew no other.
func TestSnapshotOfTheVersionBeforeIsRead(t *testing.T) {
	t.Parallel()
	old, err := os.ReadFile("testdata/snapshot-v1")
	if err != nil {
		t.Fatal(err)
	}
	got, s, err := texts(old)
	want := head{As: As{Index: 7, Wall: time.Date(2026, 11, 23, 18, 0, 0, 5, time.UTC)}, machines: 3}
	if err != nil || s != want || got["ledger"] != "state of ledger" || got["view"] != "state of view" {
		t.Errorf("read %+v, %q, %v", s, got, err)
	}
	for at := range old {
		damaged := slices.Clone(old)
		damaged[at] ^= 0x40
		if _, _, err := texts(damaged); err == nil {
			t.Errorf("byte %d of %d changed and nobody noticed", at, len(old))
		}
	}
}

func TestSnapshotOfANewerVersionIsRefusedAndSaysSo(t *testing.T) {
	t.Parallel()
	newer := stack(t, sections(nil))
	newer[len(snapshotMagic)] = snapshotVersion + 1
	_, _, err := texts(newer)
	if !errors.Is(err, errSnapshotNewer) || !strings.Contains(err.Error(), "version 3") || !strings.Contains(err.Error(), "upgrade") {
		t.Errorf("got %v", err)
	}
	s, err := Memory().Open()
	if err != nil {
		t.Fatal(err)
	}
	sink, err := s.Snapshots.Create(raft.SnapshotVersionMax, 7, 3, raft.Configuration{}, 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := sink.Write(newer); err != nil {
		t.Fatal(err)
	}
	if err := sink.Close(); err != nil {
		t.Fatal(err)
	}
	s.Close = func() error { return nil }
	g, err := New(soloConfig(held{s}, map[string]Machine{"tape": &tape{}}))
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Run(t.Context()); !errors.Is(err, errSnapshotNewer) {
		t.Errorf("a server that starts with it: %v", err)
	}
}

// held is a storage that is open.
type held struct{ Stores }

func (h held) Open() (Stores, error) { return h.Stores, nil }

func FuzzReadSnapshot(f *testing.F) {
	var good bytes.Buffer
	if err := sections(map[string]string{"ledger": "accounts", "view": ""}).writeTo(&good); err != nil {
		f.Fatal(err)
	}
	f.Add(good.Bytes())
	f.Add(good.Bytes()[:good.Len()-1])
	if old, err := os.ReadFile("testdata/snapshot-v1"); err == nil {
		f.Add(old)
	}
	f.Add([]byte(snapshotMagic))
	f.Fuzz(func(t *testing.T, stream []byte) {
		got, s, err := texts(stream)
		if err != nil {
			return
		}
		if s.machines != len(got) {
			t.Errorf("head says %d machines, %d came", s.machines, len(got))
		}
		var again bytes.Buffer
		if err := s.writeTo(&again); err != nil {
			t.Fatal(err)
		}
		if stream[len(snapshotMagic)] == snapshotVersion && !bytes.HasPrefix(stream, again.Bytes()) {
			t.Errorf("head %x was read, but would be written as %x", stream[:again.Len()], again.Bytes())
		}
	})
}
