package cluster

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/weir-cluster/weir/ring"
)

// sighted is a member as gossip shows it.
func sighted(name, boot string) Sighting {
	return Sighting{Member: Member{Name: name, Boot: boot, Server: name + "/s", Peer: name + ":7947", Voter: true}}
}

// nextView returns the view that fits who is alive, newcomers let in at once, or nil when last does.
func nextView(last *View, alive []Sighting, ended func(name, boot string) bool) (*View, error) {
	e, err := enter(last, alive, ended, func(string) bool { return false })
	if err != nil || !e.urgent && len(e.newcomers) == 0 {
		return nil, err
	}
	return e.planned(last, ring.Moves{Batch: moveBatch})
}

// grown returns the view that follows last when exactly these are alive, and fails if nothing changes.
func grown(t *testing.T, last *View, alive ...Sighting) *View {
	t.Helper()
	next, err := nextView(last, alive, anyEnded{}.Ended)
	if err != nil || next == nil {
		t.Fatalf("next view: %v, %v", next, err)
	}
	return next
}

// homes counts the partitions of each member.
func homes(v *View) map[string]int {
	n := make(map[string]int)
	for p := range uint16(ring.Partitions) {
		if m, ok := v.Home(p); ok {
			n[m.Name]++
		}
	}
	return n
}

func TestViewSurvivesItsEncoding(t *testing.T) {
	v := grown(t, nil, sighted("a", "1"), sighted("b", "2"), sighted("c", "3"))
	v = grown(t, v, sighted("a", "1"), sighted("c", "3"))
	v.Table.Nexts[7], v.Roster[1].Weight, v.Roster[1].Joining = 0, 3, true
	got, err := DecodeView(v.Encode())
	if err != nil {
		t.Fatal(err)
	}
	if next, ok := got.Next(7); !ok || next.Name != "a" || got.Table.Priors == [ring.Partitions]uint64{} {
		t.Errorf("next home %+v, %t; tenures before %d", next, ok, got.Table.Priors[:3])
	}
	if _, ok := got.Next(8); ok {
		t.Error("partition 8 moves")
	}
	if got.Epoch != v.Epoch || got.Cluster != v.Cluster || got.Secret != v.Secret || *got.Table != *v.Table || len(got.Roster) != 3 || got.Roster[1] != v.Roster[1] {
		t.Errorf("decoded %+v, want %+v", got.Roster, v.Roster)
	}
}

// A log, a snapshot or a node of a version without planned moves has views without these columns.
func TestAViewWithoutMovesDecodes(t *testing.T) {
	text := string(grown(t, nil, sighted("a", "1"), sighted("b", "2")).Encode())
	if strings.Contains(text, "nexts") || strings.Contains(text, "priors") {
		t.Error("columns without content are written")
	}
	v, err := DecodeView([]byte(text))
	if err != nil || v.Table.Moving() > 0 || v.Table.Priors != [ring.Partitions]uint64{} {
		t.Errorf("%v", err)
	}
}

func TestDecodeViewRefusesWhatIsNotWhole(t *testing.T) {
	v := grown(t, nil, sighted("a", "1"), sighted("b", "1"))
	v.Table.Nexts[0], v.Table.Priors[0] = 1, 1
	whole := string(v.Encode())
	for name, text := range map[string]string{
		"empty":          "",
		"not JSON":       "{",
		"no epoch":       strings.Replace(whole, `"epoch":1`, `"epoch":0`, 1),
		"short secret":   strings.Replace(whole, `"secret":"`, `"secret":"AAAA","x":"`, 1),
		"short table":    strings.Replace(whole, `"homes":"`, `"homes":"AAAA","x":"`, 1),
		"short nexts":    strings.Replace(whole, `"nexts":"`, `"nexts":"AAAA","x":"`, 1),
		"short priors":   strings.Replace(whole, `"priors":"`, `"priors":"AAAA","x":"`, 1),
		"unknown next":   strings.Replace(whole, `"nexts":"AQ`, `"nexts":"Ag`, 1),
		"unknown member": strings.Replace(whole, `"roster":[`, `"roster":[],"x":[`, 1),
	} {
		if _, err := DecodeView([]byte(text)); err == nil {
			t.Errorf("%s: decoded", name)
		}
	}
}

func FuzzDecodeView(f *testing.F) {
	next, err := nextView(nil, []Sighting{sighted("a", "1"), sighted("b", "2")}, anyEnded{}.Ended)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(next.Encode())
	next.Table.Nexts[3], next.Table.Priors[3] = 1, 1
	f.Add(next.Encode())
	f.Add([]byte(`{"epoch":1}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		v, err := DecodeView(b)
		if err != nil {
			return
		}
		again, err := DecodeView(v.Encode())
		if err != nil || *again.Table != *v.Table {
			t.Fatalf("a decoded view does not survive: %v", err)
		}
		for p := range uint16(ring.Partitions) {
			v.Home(p)
			v.Deputy(p)
			v.Next(p)
		}
	})
}

func TestViewChangesOnlyFromTheOneInForce(t *testing.T) {
	s := NewViews(nil)
	first := grown(t, nil, sighted("a", "1"))
	second := grown(t, first, sighted("a", "1"), sighted("b", "2"))
	put := func(expect uint64, v *View) error {
		t.Helper()
		c, err := encodeChange(expect, v)
		if err != nil {
			t.Fatal(err)
		}
		return changeReply(s.Apply(c))
	}
	if err := put(1, second); !errors.Is(err, errStale) {
		t.Errorf("second before first: %v", err)
	}
	if err := put(0, first); err != nil {
		t.Errorf("first: %v", err)
	}
	if err := put(0, first); !errors.Is(err, errStale) {
		t.Errorf("first again: %v", err)
	}
	if err := put(1, second); err != nil || s.Epoch() != 2 {
		t.Errorf("second: %v, epoch %d", err, s.Epoch())
	}
	other := grown(t, nil, sighted("x", "9"))
	other.Epoch = 3
	third := *second
	third.Epoch = 4
	if err := put(2, &third); !errors.Is(err, errStale) {
		t.Errorf("an epoch left out: %v", err)
	}
	if err := put(2, other); err == nil || errors.Is(err, errStale) {
		t.Errorf("view of another cluster: %v", err)
	}
}

// A voter may pull a view before the log brings it: what its machine answers must not depend on that.
func TestApplyDoesNotDependOnWhatWasPulled(t *testing.T) {
	first := grown(t, nil, sighted("a", "1"))
	second := grown(t, first, sighted("a", "1"), sighted("b", "2"))
	one, err := encodeChange(0, first)
	if err != nil {
		t.Fatal(err)
	}
	two, err := encodeChange(1, second)
	if err != nil {
		t.Fatal(err)
	}
	plain, ahead := NewViews(nil), NewViews(nil)
	if _, err := ahead.Learn(second); err != nil {
		t.Fatal(err)
	}
	for _, c := range [][]byte{one, two} {
		if a, b := plain.Apply(c), ahead.Apply(c); !bytes.Equal(a, b) {
			t.Errorf("replies differ: %s and %s", a, b)
		}
	}
	if ahead.Epoch() != 2 {
		t.Errorf("epoch %d: what was pulled went back", ahead.Epoch())
	}
}

func TestViewsSurviveASnapshot(t *testing.T) {
	s := NewViews(nil)
	c, err := encodeChange(0, grown(t, nil, sighted("a", "1")))
	if err != nil {
		t.Fatal(err)
	}
	s.Apply(c)
	write, err := s.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := write(&b); err != nil {
		t.Fatal(err)
	}
	got := NewViews(nil)
	if err := got.Restore(&b); err != nil || got.Epoch() != 1 {
		t.Errorf("restored epoch %d: %v", got.Epoch(), err)
	}
	next, err := encodeChange(1, grown(t, got.Current(), sighted("a", "1"), sighted("b", "2")))
	if err != nil {
		t.Fatal(err)
	}
	if err := changeReply(got.Apply(next)); err != nil || got.Epoch() != 2 {
		t.Errorf("the log goes on after a snapshot: %v, epoch %d", err, got.Epoch())
	}
	if err := NewViews(nil).Restore(new(bytes.Buffer)); err != nil {
		t.Errorf("an empty snapshot: %v", err)
	}
}

func TestAdoptComesBeforeTheViewIsInForce(t *testing.T) {
	var s *Views
	calls := 0
	s = NewViews(func(previous, next *View) {
		calls++
		if s.Current() != previous || next.Epoch != epochOf(previous)+1 {
			t.Errorf("adopting %d while %d is in force", next.Epoch, s.Epoch())
		}
	})
	first := grown(t, nil, sighted("a", "1"))
	for range 2 {
		if _, err := s.Learn(first); err != nil {
			t.Fatal(err)
		}
	}
	if calls != 1 {
		t.Errorf("adopted %d times", calls)
	}
}

func TestOnlyANewerViewOfTheSameClusterIsLearnt(t *testing.T) {
	s := NewViews(nil)
	first := grown(t, nil, sighted("a", "1"))
	second := grown(t, first, sighted("a", "1"), sighted("b", "2"))
	other := grown(t, grown(t, nil, sighted("x", "1")), sighted("x", "1"), sighted("y", "1"))
	other.Epoch = 9
	for _, c := range []struct {
		view   *View
		learnt bool
	}{{second, true}, {first, false}, {second, false}, {other, false}} {
		learnt, err := s.Learn(c.view)
		if learnt != c.learnt || (err != nil) != (c.view == other) || s.Current() != second {
			t.Errorf("epoch %d: learnt %t, %v", c.view.Epoch, learnt, err)
		}
		select {
		case <-s.Changed():
			if !c.learnt {
				t.Error("nothing new, but signalled")
			}
		default:
			if c.learnt {
				t.Error("new, but not signalled")
			}
		}
	}
}

// A check looks for its home in one table, which is published whole.
func TestFindingTheHomeDoesNotAllocate(t *testing.T) {
	s := NewViews(nil)
	if _, err := s.Learn(grown(t, nil, sighted("a", "1"), sighted("b", "2"), sighted("c", "3"))); err != nil {
		t.Fatal(err)
	}
	p := uint16(0)
	if n := testing.AllocsPerRun(ring.Partitions, func() {
		v := s.Current()
		home, ok := v.Home(p)
		deputy, second := v.Deputy(p)
		if !ok || !second || home.Name == deputy.Name {
			t.Fatal(home, deputy)
		}
		p = (p + 1) % ring.Partitions
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
