package main

import (
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/weir-cluster/weir/client"
)

// TestAStalledDiskOfTheLeaderCostsNothingAcknowledged freezes the file system that the leader writes to: a real one, on a loop
// device, whose writers hang in the kernel.
func TestAStalledDiskOfTheLeaderCostsNothingAcknowledged(t *testing.T) {
	stall, bar := 5*time.Second, 30*time.Second // the machine may be busy with other tests
	if drills() > 0 {
		stall, bar = 30*time.Second, 6*time.Second
	}
	c := startCluster(t, 3)
	mounts := c.onLoops(t)
	c.fund(t, 0, "dana", 1_000_000)

	victim := c.leader(t)
	other := (victim + 1) % 3
	freeze(t, mounts[c.nodes[victim].name], stall)
	began := time.Now()
	c.until(t, "another leader", func() bool {
		v, err := c.clients[other].View(c.ctx)
		return err == nil && v.Leader != "" && v.Leader != c.nodes[victim].name
	})
	led := time.Since(began)
	debits, first := 0, time.Duration(0)
	for ; time.Since(began) < stall || debits == 0; debits++ {
		key := fmt.Sprint("during-", debits)
		c.until(t, "debit "+key, func() bool { // the same key until it is answered
			_, err := c.clients[(victim+1+debits%2)%3].Debit(c.ctx, key, "dana", client.Debit{AmountMicros: 1})
			return err == nil
		})
		if debits == 0 {
			first = time.Since(began)
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Logf("another leader after %v, the first debit after %v, %d debits in %v", led, first, debits, stall)
	if led > bar {
		t.Errorf("another leader after %v, at most %v", led, bar)
	}
	thaw(t, mounts[c.nodes[victim].name])
	if err := c.nodes[victim].awaitReady(c.ctx); err != nil {
		t.Fatal(err)
	}
	for i := range c.nodes {
		if got, want := c.balance(t, i, "dana"), int64(1_000_000-debits); got != want {
			t.Errorf("%s tells a balance of %d, want %d", c.nodes[i].name, got, want)
		}
	}
}

// onLoops gives each process a file system of its own for its data, in turn, and returns where they are mounted.
func (c *cluster) onLoops(t *testing.T) map[string]string {
	t.Helper()
	mounts := map[string]string{}
	for _, p := range c.nodes {
		if err := p.terminate(); err != nil {
			t.Fatal(err)
		}
		mounts[p.name] = moveToLoop(t, p.dir())
		c.again(t, p)
	}
	return mounts
}

// moveToLoop puts what is in a folder on a file system of its own that is mounted there. It skips where that cannot be done.
func moveToLoop(t *testing.T, dir string) string {
	t.Helper()
	for _, tool := range []string{"mkfs.ext4", "mount", "umount", "fsfreeze"} {
		if _, err := exec.LookPath(tool); err != nil || os.Getuid() != 0 {
			t.Skipf("freezes a file system, which takes root and %s", tool)
		}
	}
	image, old := dir+".img", dir+".old"
	for _, step := range []func() error{
		func() error { return os.Rename(dir, old) },
		func() error { return os.Mkdir(dir, 0o700) },
		func() error { return os.WriteFile(image, nil, 0o600) },
		func() error { return os.Truncate(image, 256<<20) },
		exec.Command("mkfs.ext4", "-q", image).Run,
	} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
	if said, err := exec.Command("mount", "-o", "loop", image, dir).CombinedOutput(); err != nil {
		t.Skipf("mounts a file system: %v: %s", err, said)
	}
	t.Cleanup(func() { _ = exec.Command("umount", "-l", dir).Run() }) // the node may still be there
	if said, err := exec.Command("cp", "-a", old+"/.", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, said)
	}
	return dir
}

// freeze stops all writes to a file system. It thaws by itself some time after the test wanted it to, for a process that hangs
// in it cannot even be killed.
func freeze(t *testing.T, dir string, stall time.Duration) {
	t.Helper()
	if said, err := exec.Command("fsfreeze", "-f", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, said)
	}
	guard := exec.Command("sh", "-c", fmt.Sprintf("sleep %d; fsfreeze -u \"$0\" 2>/dev/null", int(stall.Seconds())+60), dir)
	if err := guard.Start(); err != nil {
		thaw(t, dir)
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = exec.Command("fsfreeze", "-u", dir).Run() // an error says that it was not frozen any more
		_ = guard.Process.Kill()
		_ = guard.Wait()
	})
}

func thaw(t *testing.T, dir string) {
	t.Helper()
	if said, err := exec.Command("fsfreeze", "-u", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, said)
	}
}
