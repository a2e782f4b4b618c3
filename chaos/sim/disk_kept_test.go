package sim

import (
	"errors"
	"io"
	"syscall"
	"testing"
	"time"

	"github.com/weir-cluster/weir/node"
)

// save keeps a text as a process that started just now.
func (d *drive) save(on node.Snapshots, text string) error {
	return on.Save(func(w io.Writer) error {
		_, err := io.WriteString(w, text)
		return err
	})
}

func (d *drive) kept() string {
	d.t.Helper()
	r, err := d.snapshots().Open()
	d.must(err)
	if r == nil {
		return ""
	}
	b, err := io.ReadAll(r)
	d.must(err)
	return string(b)
}

func TestASnapshotOfPartitionsSharesTheFaultsOfItsDisk(t *testing.T) {
	t.Parallel()
	onDisk(t, func(d *drive) {
		first := d.snapshots()
		want := func(when, text string) {
			t.Helper()
			if got := d.kept(); got != text {
				t.Errorf("%s: %q, want %q", when, got, text)
			}
		}
		want("of a new disk", "")
		d.must(d.save(first, "one"))
		d.crash()
		want("after a crash", "one")
		d.must(d.save(first, "two"))
		want("when a killed process writes", "one")
		second := d.snapshots()
		d.fail(full())
		if err := d.save(second, "three"); !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("on a full disk: %v", err)
		}
		want("on a full disk", "one")
		d.repair()
		d.stall()
		time.AfterFunc(time.Minute, d.repair)
		began := time.Now()
		d.must(d.save(second, "four"))
		if took := time.Since(began); took < time.Minute {
			t.Errorf("on a stalled disk it took %s", took)
		}
		want("in the end", "four")
		if where, err := second.SetAside(time.Now()); err != nil || where == "" {
			t.Error(where, err)
		}
		want("set aside", "")
		d.must(d.save(second, "five"))
		d.lose()
		want("of a lost disk", "")
	})
}

func TestALyingDiskMayKeepAPartOfASnapshot(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	onDisk(t, func(d *drive) {
		for range 200 {
			d.repair()
			d.must(d.save(d.snapshots(), "old"))
			d.lie()
			d.must(d.save(d.snapshots(), "new"))
			d.crash()
			seen[d.kept()] = true
		}
	})
	for _, text := range []string{"", "n", "ne", "new", "old"} {
		if !seen[text] {
			t.Errorf("%q was never kept, of %v", text, seen)
		}
	}
	if len(seen) != 5 {
		t.Errorf("kept %v", seen)
	}
}
