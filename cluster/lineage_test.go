package cluster

import (
	"strings"
	"testing"
)

func TestAGenerationBeginsBeyondEveryEpochBefore(t *testing.T) {
	v := grown(t, nil, sighted("a", "1"), sighted("b", "1"))
	if v.Lineage() != v.Cluster {
		t.Errorf("the first generation is %q of %q", v.Lineage(), v.Cluster)
	}
	last := uint64(0)
	names := map[string]bool{v.Lineage(): true}
	for range 3 {
		next := v.NextGeneration()
		if next.Epoch <= v.Epoch+1_000_000 || next.Epoch <= last || names[next.Lineage()] || !strings.HasPrefix(next.Lineage(), v.Cluster+".") {
			t.Errorf("after epoch %d of %s comes %d of %s", v.Epoch, v.Lineage(), next.Epoch, next.Lineage())
		}
		if next.Secret != v.Secret || *next.Table != *v.Table || len(next.Roster) != len(v.Roster) {
			t.Error("what the generation before agreed on is lost")
		}
		names[next.Lineage()], last = true, next.Epoch
		after, err := successor(next)
		if err != nil || after.Lineage() != next.Lineage() {
			t.Errorf("the view after is of %s, %v", after.Lineage(), err)
		}
		after.Table, v = next.Table, after
	}
	decoded, err := DecodeView(v.Encode())
	if err != nil || decoded.Lineage() != v.Lineage() {
		t.Errorf("it came back as %v, %v", decoded, err)
	}
}

func TestGossipTellsAVersionOnlyWhereThereIsRoom(t *testing.T) {
	for _, r := range []struct{ zone, version, want string }{
		{"a", "v1.2.3", "v1.2.3"},
		{"a", strings.Repeat("v", 100), strings.Repeat("v", versionMax)},
	} {
		m := Member{Name: "n", Zone: r.zone}
		g, err := NewGossip(GossipConfig{Self: m, Version: r.version, Lineage: "weir.1"})
		if err != nil {
			t.Fatal(err)
		}
		if s := g.Self(); s.Version != r.want || s.Cluster != "weir.1" {
			t.Errorf("with a zone of %d bytes it tells %q of %q", len(r.zone), s.Version, s.Cluster)
		}
	}
	told := "none was refused"
	for zone := "z"; ; zone += "z" { // as long as there is room at all
		g, err := NewGossip(GossipConfig{Self: Member{Name: "n", Zone: zone}, Version: "v1.2.3"})
		if err != nil {
			break
		}
		told = g.Self().Version
	}
	if told != "" {
		t.Errorf("beside the longest zone it tells %q", told)
	}
}
