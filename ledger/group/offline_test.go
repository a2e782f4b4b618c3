package group

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"
)

// backedUp is a backup of a group of two machines, of which only the tape is kept, and what the tape had played.
func backedUp(t *testing.T) (backup []byte, played []string) {
	t.Helper()
	c := soloConfig(Memory(), map[string]Machine{"tape": &tape{}, "view": &tape{}})
	g, stop := solo(t, c)
	defer stop()
	for i := range 20 {
		if _, err := g.Propose(t.Context(), "tape", fmt.Append(nil, "command-", i)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := g.Propose(t.Context(), "view", []byte("members")); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	l := Label{Cluster: "weir", Epoch: 7, Program: "v1", Taken: time.Unix(100, 0).UTC()}
	if err := g.Backup(t.Context(), &b, l, func(machine string) bool { return machine == "tape" }); err != nil {
		t.Fatal(err)
	}
	return b.Bytes(), c.Machines["tape"].(*tape).played()
}

func TestABackupBeginsAGroupThatGoesOn(t *testing.T) {
	t.Parallel()
	backup, played := backedUp(t)
	for name, storage := range map[string]Storage{"disk": Disk(t.TempDir()), "memory": Memory()} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, state, err := OpenBackup(bytes.NewReader(backup), int64(len(backup)))
			if err != nil || l.Cluster != "weir" || l.Epoch != 7 || l.Program != "v1" || l.Index < 21 || l.Term == 0 || !l.Taken.Equal(time.Unix(100, 0)) {
				t.Fatalf("label %+v, %v", l, err)
			}
			o, err := OpenOffline(storage)
			if err != nil {
				t.Fatal(err)
			}
			if err := o.Restore("n1", l, state, map[string]Machine{"tape": &tape{}, "view": &tape{}}); err != nil {
				t.Fatal(err)
			}
			self, member := o.Self()
			if index, term := o.Last(); index != l.Index || term != l.Term || !member || !self.Voter || self.Name != "n1" || len(o.Servers()) != 1 {
				t.Errorf("restored up to %d of term %d, %+v of %+v", index, term, self, o.Servers())
			}
			if err := o.Restore("n1", l, bytes.NewReader(nil), nil); !errors.Is(err, ErrHasState) {
				t.Errorf("restored twice: %v", err)
			}
			if err := o.Close(); err != nil {
				t.Fatal(err)
			}
			music, view := &tape{}, &tape{}
			g, stop := solo(t, soloConfig(storage, map[string]Machine{"tape": music, "view": view}))
			defer stop()
			if !slices.Equal(music.played(), played) || len(view.played()) != 0 {
				t.Errorf("it begins with %q and %q, want %q and nothing", music.played(), view.played(), played)
			}
			if _, err := g.Propose(t.Context(), "tape", []byte("next")); err != nil || music.count("next") != 1 {
				t.Errorf("it does not go on: %v", err)
			}
			if s := g.Status(); s.LastIndex <= l.Index || s.Term <= l.Term {
				t.Errorf("it goes on at index %d of term %d, behind the backup's %d of %d", s.LastIndex, s.Term, l.Index, l.Term)
			}
		})
	}
}

func TestABackupWithAnyDamageIsRefused(t *testing.T) {
	t.Parallel()
	good, _ := backedUp(t)
	for at := range good {
		bad := slices.Clone(good)
		bad[at] ^= 0x40
		if _, _, err := OpenBackup(bytes.NewReader(bad), int64(len(bad))); !errors.Is(err, ErrBackupBad) && !errors.Is(err, ErrBackupNewer) {
			t.Errorf("byte %d of %d changed: %v", at, len(good), err)
		}
		if _, _, err := OpenBackup(bytes.NewReader(good), int64(at)); !errors.Is(err, ErrBackupBad) {
			t.Errorf("cut after %d of %d bytes: %v", at, len(good), err)
		}
	}
	newer := slices.Clone(good)
	newer[len(backupMagic)-1]++
	if _, _, err := OpenBackup(bytes.NewReader(newer), int64(len(newer))); !errors.Is(err, ErrBackupNewer) {
		t.Errorf("of the next version: %v", err)
	}
}

func TestOnlyALeaderMakesABackupAndOneAtATime(t *testing.T) {
	bubble(t, 3, nil, func(t *testing.T, c *cluster) {
		leader := c.leader()
		all := func(string) bool { return true }
		if err := c.others(leader)[0].g.Backup(t.Context(), io.Discard, Label{}, all); !errors.Is(err, ErrNotLeader) {
			t.Errorf("a follower: %v", err)
		}
		leader.g.backups <- struct{}{}
		if err := leader.g.Backup(t.Context(), io.Discard, Label{}, all); !errors.Is(err, ErrBusy) {
			t.Errorf("a second one: %v", err)
		}
		<-leader.g.backups
		var b bytes.Buffer
		if err := leader.g.Backup(t.Context(), &b, Label{}, all); err != nil || b.Len() == 0 { // of a group that has done nothing
			t.Errorf("%d bytes, %v", b.Len(), err)
		}
		for _, s := range c.others(leader) {
			c.net.Cut(leader.ip, s.ip)
		}
		if err := leader.g.Backup(t.Context(), io.Discard, Label{}, all); err == nil {
			t.Error("a leader that nobody hears vouches for what is agreed")
		}
	})
}

func TestOneSurvivorGoesOnWithAllOfItsLog(t *testing.T) {
	bubble(t, 3, nil, func(t *testing.T, c *cluster) {
		for i := range 30 {
			c.propose(c.leader(), fmt.Sprintf("command-%d", i))
		}
		want := c.agree(30)
		survivor := c.servers[2]
		for _, s := range c.servers {
			if err := s.halt(); err != nil {
				t.Fatal(err)
			}
		}
		o, err := OpenOffline(survivor.cfg.Storage)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := OpenOffline(survivor.cfg.Storage); !errors.Is(err, ErrInUse) {
			t.Errorf("opened twice: %v", err)
		}
		if self, member := o.Self(); !member || self.Name != "n3" || len(o.Servers()) != 3 {
			t.Errorf("%+v of %+v", self, o.Servers())
		}
		if err := errors.Join(o.SetLineage("weir.1"), o.Recover("n3", map[string]Machine{"tape": &tape{}})); err != nil {
			t.Fatal(err)
		}
		if len(o.Servers()) != 1 || o.Servers()[0].ID != survivor.g.ID() {
			t.Errorf("recovered as %+v", o.Servers())
		}
		if err := o.Close(); err != nil {
			t.Fatal(err)
		}
		c.run(survivor)
		c.leader(survivor)
		if got := survivor.tape.played(); !slices.Equal(got, want) || survivor.g.Lineage() != "weir.1" {
			t.Errorf("it begins with %q of %q, want %q", got, survivor.g.Lineage(), want)
		}
		c.propose(survivor, "next")
		if s := survivor.g.Status(); s.Voters != 1 || survivor.tape.count("next") != 1 {
			t.Errorf("%+v, played %s", s, strings.Join(survivor.tape.played(), ", "))
		}
	})
}

func TestALineageIsRememberedWithTheStorage(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if kept, err := Kept(dir); err != nil || kept {
		t.Errorf("an empty directory is a storage: %v", err)
	}
	for _, r := range []struct{ before, after string }{{"", "weir"}, {"weir", "weir.1"}, {"weir.1", "weir.1"}} {
		g, stop := solo(t, soloConfig(Disk(dir), map[string]Machine{"tape": &tape{}}))
		if g.Lineage() != r.before {
			t.Errorf("it came back as of %q, want %q", g.Lineage(), r.before)
		}
		if err := g.SetLineage(r.after); err != nil || g.Lineage() != r.after {
			t.Errorf("%q after %q: %v", g.Lineage(), r.after, err)
		}
		stop()
	}
	if kept, err := Kept(dir); err != nil || !kept {
		t.Errorf("the directory is no storage: %v", err)
	}
}

func FuzzOpenBackup(f *testing.F) {
	var b bytes.Buffer
	var snapshot bytes.Buffer
	if err := sections(map[string]string{"ledger": "accounts", "view": "members"}).writeTo(&snapshot); err != nil {
		f.Fatal(err)
	}
	if err := writeBackup(&b, Label{Cluster: "weir"}, &snapshot, 1, func(machine string) bool { return machine == "ledger" }); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	f.Add(b.Bytes()[:b.Len()-1])
	f.Add([]byte(backupMagic))
	f.Fuzz(func(t *testing.T, file []byte) {
		_, state, err := OpenBackup(bytes.NewReader(file), int64(len(file)))
		if err != nil {
			return
		}
		if got, _, err := texts(readAll(t, state)); err == nil && len(got) > sectionsMax {
			t.Errorf("%d sections", len(got))
		}
	})
}

func readAll(t *testing.T, r io.Reader) []byte {
	t.Helper()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
