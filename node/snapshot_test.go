package node

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"github.com/weir-cluster/weir/policy"
	"github.com/weir-cluster/weir/ring"
)

func begin() time.Time { return time.Date(2026, 5, 4, 10, 7, 0, 0, time.UTC) }

// remaining is what a user has left of each limit.
func (l *life) remaining(user string) string {
	var s []string
	for _, limit := range l.check(user, peek).Limits {
		s = append(s, fmt.Sprintf("%s %d %s", limit.Name, limit.Remaining, limit.Reset))
	}
	return strings.Join(s, "\n")
}

// What a process wrote, the next one goes on with as the first would have done, at the time that it is then.
func TestASnapshotBringsBackEveryAlgorithmAndRecord(t *testing.T) {
	t.Parallel()
	now := begin()
	dir := SnapshotsIn(t.TempDir())
	was := newLife(t, dir, &now)
	was.sees("c", 3, 3, 2, me)
	parts := map[uint16]bool{}
	var users []string
	for i := range 50 {
		user := fmt.Sprint("user-", i)
		users = append(users, user)
		for range i % 25 {
			was.check(user)
			now = now.Add(time.Second)
		}
		parts[ring.Partition("d", user)] = true
	}
	keyedFirst := was.check("user-1", keyed)
	held := was.check("user-2", reserve)
	for p := range ring.Partitions {
		was.holds(uint16(p), 3, true)
	}
	was.write()

	now = now.Add(7 * time.Minute)
	is := newLife(t, dir, &now)
	is.sees("c", 4, 4, 3, me)
	for p := range parts {
		if !is.snapshots.Recall(p, 3, 4) {
			t.Fatalf("partition %d is not recalled", p)
		}
		if is.snapshots.Recall(p, 3, 4) {
			t.Errorf("partition %d is recalled twice", p)
		}
	}
	for _, ahead := range []time.Duration{0, time.Second, 13 * time.Minute, 70 * time.Minute} {
		now = now.Add(ahead)
		for _, user := range users {
			if got, want := is.remaining(user), was.remaining(user); got != want {
				t.Fatalf("%s after %s has\n%s\nwant\n%s", user, ahead, got, want)
			}
		}
		if ahead > 0 {
			continue
		}
		if again := is.check("user-1", keyed); again.ID != keyedFirst.ID {
			t.Errorf("a repeated check was decided anew: %+v", again)
		}
		settlement := policy.Settlement{Reservation: held.Reservation, Actual: []policy.Cost{{Meter: "requests", Amount: 3}}, Final: true}
		for _, l := range []*life{was, is} {
			if _, err := l.waterfall.Settle(t.Context(), settlement); err != nil {
				t.Errorf("settle: %v", err)
			}
		}
	}
}

// The rules of when what the disk kept is of use, and how much of it.
func TestRecallTakesOnlyWhatNobodyHasDecidedSince(t *testing.T) {
	t.Parallel()
	const all, windows, nothing = "all", "windows", "nothing"
	for _, row := range []struct {
		what         string
		own          bool
		prior, since uint64
		away         time.Duration
		cluster      string
		want         string
	}{
		{"its own tenure, the last one", true, 3, 6, 9 * time.Minute, "c", all},
		{"its own tenure, but there was another since", true, 4, 6, time.Second, "c", nothing},
		{"an older one than it has", true, 2, 6, time.Second, "c", nothing},
		{"another cluster's", true, 3, 6, time.Second, "other", nothing},
		{"a copy, and the next view has it", false, 3, 6, 9 * time.Minute, "c", all},
		{"a copy, and a view was between, shortly", false, 3, 7, copyAge, "c", all},
		{"a copy, and a view was between, for long", false, 3, 7, copyAge + 1, "c", windows},
		{"a copy, and there was another home since", false, 4, 6, time.Second, "c", nothing},
	} {
		now := begin()
		dir := SnapshotsIn(t.TempDir())
		was := newLife(t, dir, &now)
		was.sees("c", 5, 3, 2, me)
		for range 30 { // 20 are admitted
			was.check("u")
		}
		first := was.check("k", keyed)
		u, k := ring.Partition("d", "u"), ring.Partition("d", "k")
		was.holds(u, 3, row.own)
		was.holds(k, 3, row.own)
		was.write()

		now = now.Add(row.away)
		is := newLife(t, dir, &now)
		is.sees(row.cluster, row.since, row.since, row.prior, me)
		some := bareLife(t, nil, &now)
		some.check("u")
		is.copies(u, some) // not all there is
		if got := is.snapshots.Recall(u, row.prior, row.since); got != (row.want == all) {
			t.Errorf("%s: recalled %v, want %s", row.what, got, row.want)
		}
		is.snapshots.Recall(k, row.prior, row.since)
		left := map[string]int64{}
		for _, limit := range is.check("u", peek).Limits {
			left[limit.Name] = limit.Remaining
		}
		want := map[string]map[string]int64{
			all:     {"bucket": int64(row.away / time.Minute), "hour": 0, "month": 0},
			windows: {"bucket": 20, "hour": 0, "month": 0},   // that it is cold is for the caller to say
			nothing: {"bucket": 18, "hour": 18, "month": 18}, // one was taken and another one would be
		}[row.want]
		for name, n := range want {
			if left[name] != n {
				t.Errorf("%s: %d left of %s, want %d", row.what, left[name], name, n)
			}
		}
		if again := is.check("k", keyed).ID == first.ID; again != (row.want != nothing) {
			t.Errorf("%s: the remembered check is answered again: %v", row.what, again)
		}
	}
}

// Until a partition begins, the snapshots that are written have what the disk had of it: a node may be ended again before.
func TestWhatIsNotRecalledYetStaysInTheNextSnapshots(t *testing.T) {
	t.Parallel()
	now := begin()
	dir := SnapshotsIn(t.TempDir())
	was := newLife(t, dir, &now)
	was.sees("c", 5, 3, 2, me)
	was.check("u")
	u, idle := ring.Partition("d", "u"), ring.Partition("d", "u")+1
	was.holds(u, 3, true)
	was.holds(idle, 3, true)
	was.write()
	for _, view := range []struct {
		epoch, since, prior uint64
		server              string
		kept                bool
	}{
		{5, 3, 2, me, true},
		{5, 3, 2, "n2/other", true},
		{6, 6, 3, me, true},
		{6, 6, 3, "n2/other", true}, // which is offered it
		{7, 7, 6, "n2/other", false},
		{7, 7, 6, me, false},
	} {
		is := newLife(t, dir, &now)
		is.sees("c", view.epoch, view.since, view.prior, view.server)
		is.write()
		again := newLife(t, dir, &now)
		again.sees("c", 6, 6, 3, me)
		if got := again.snapshots.Recall(u, 3, 6); got != view.kept {
			t.Errorf("%+v: recalled %v", view, got)
		}
		if view.kept && again.check("u", peek).Limits[2].Remaining != 18 {
			t.Errorf("%+v: it is empty", view)
		}
		was.write()
	}

	is := newLife(t, dir, &now) // it begins with one, and has taken more when it writes
	is.sees("c", 6, 6, 3, me)
	if !is.snapshots.Recall(u, 3, 6) {
		t.Fatal("not recalled")
	}
	is.check("u")
	is.holds(u, 6, true)
	is.write()
	again := newLife(t, dir, &now)
	again.sees("c", 7, 7, 6, me)
	if !again.snapshots.Recall(u, 6, 7) || again.check("u", peek).Limits[2].Remaining != 17 {
		t.Error("what was written anew is not what was there")
	}
	if !again.snapshots.Recall(idle, 3, 7) {
		t.Error("what had not begun is lost")
	}
}

// A partition that goes to another tenure while it is copied out may be of neither.
func TestAPartitionThatChangesHandsWhileItIsWrittenIsLeftOut(t *testing.T) {
	t.Parallel()
	now := begin()
	dir := SnapshotsIn(t.TempDir())
	was := newLife(t, dir, &now)
	was.sees("c", 5, 3, 2, me)
	asked := 0
	was.snapshots.cfg.Kept = func(p uint16) (uint64, bool) {
		switch asked++; {
		case p == 0:
			return 3, true
		case p == 1:
			return uint64(asked), true
		case p == 2 && asked < 8: // begun just now
			return 0, false
		case p == 2:
			return 9, true
		}
		return 0, false
	}
	was.write()
	is := newLife(t, dir, &now)
	is.sees("c", 6, 6, 3, me)
	got := is.snapshots.past.sections
	if len(got) != 2 || got[0] == nil || got[0].tenure != 3 || got[2] == nil || got[2].tenure != 9 {
		t.Errorf("%v were written, want the first and the third", got)
	}
}

func TestASnapshotOfNoUseIsSetAsideAndSaysWhatToDo(t *testing.T) {
	t.Parallel()
	now := begin()
	good := t.TempDir()
	was := newLife(t, SnapshotsIn(good), &now)
	was.sees("c", 5, 3, 2, me)
	was.check("u")
	was.holds(ring.Partition("d", "u"), 3, true)
	was.write()
	b := snapshotBytes(t, good)
	cluster, sections, err := readSnapshot(bytes.NewReader(b), me)
	if err != nil {
		t.Fatal(err)
	}
	flipped := slices.Clone(b)
	flipped[len(b)/2] ^= 1
	for _, row := range []struct {
		what  string
		bytes []byte
		say   []string
	}{
		{"cut", b[:len(b)-1], []string{errDamaged.Error(), "look after the disk"}},
		{"empty", nil, []string{errDamaged.Error(), "look after the disk"}},
		{"flipped", flipped, []string{errDamaged.Error()}},
		{"another node's", encoded(t, cluster, "n1/store-2", sections), []string{errForeign.Error(), "n1/store-2", "moved here on purpose"}},
		{"a newer version's", versioned(2), []string{errOtherVersion.Error() + ": 2, this release reads 1", "start the release that wrote it"}},
		{"an older version's", versioned(0), []string{errOtherVersion.Error()}},
	} {
		dir := t.TempDir()
		for range 3 {
			now = now.Add(time.Second)
			if err := os.WriteFile(filepath.Join(dir, snapshotName), row.bytes, 0o600); err != nil {
				t.Fatal(err)
			}
			is := newLife(t, SnapshotsIn(dir), &now)
			is.sees("c", 6, 6, 3, me)
			if is.snapshots.Recall(ring.Partition("d", "u"), 3, 6) {
				t.Errorf("%s: it is taken in", row.what)
			}
			for _, say := range append(row.say, "level=WARN", snapshotName+".bad-2026") {
				if is.log.count(say) != 1 {
					t.Errorf("%s: no %q, or too often, in %s", row.what, say, is.log.text.String())
				}
			}
			if got := gauge(t, is.set, "weir_snapshots_rejected_total"); got != 1 {
				t.Errorf("%s: %v are counted", row.what, got)
			}
			is.write()
		}
		if got := files(t, dir); len(got) != 3 || got[0] != snapshotName || got[2] != snapshotName+".bad-"+now.UTC().Format("20060102T150405.000") {
			t.Errorf("%s: there is %v, want a snapshot and the two newest that were set aside", row.what, got)
		}
	}
}

// gauge is the value of a metric.
func gauge(t testing.TB, set *metrics.Set, name string) (v float64) {
	t.Helper()
	var b bytes.Buffer
	set.WritePrometheus(&b)
	_, after, found := strings.Cut(b.String(), "\n"+name+" ")
	if !found {
		_, after, found = strings.Cut(b.String(), name+" ")
	}
	if _, err := fmt.Sscan(after, &v); err != nil || !found {
		t.Fatalf("no %s in %s: %v", name, b.String(), err)
	}
	return v
}
