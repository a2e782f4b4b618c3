package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/weir-cluster/weir/client"
)

// TestALedgerIsVerifiedRunningAtRestAndAsABackup finds a cluster sound that was killed in its work, and then what is damaged by hand.
func TestALedgerIsVerifiedRunningAtRestAndAsABackup(t *testing.T) {
	c := startCluster(t, 3)
	c.fund(t, 0, "alice", 5_000_000)
	for i := range 30 {
		if _, err := c.clients[i%3].Authorize(c.ctx, fmt.Sprint("hold-", i), "alice", client.Hold{AmountMicros: 3000, TTLMS: 3_600_000}); err != nil {
			t.Fatal(err)
		}
		if _, err := c.clients[i%3].Capture(c.ctx, fmt.Sprint("capture-", i), fmt.Sprint("hold-", i), client.Capture{AmountMicros: 2000, Final: i%2 == 0}); err != nil {
			t.Fatal(err)
		}
	}
	c.weir(t, 1, "ledger", "verify").want(t, exitOK, "sound", "open holds  15", "events      62")
	backup := filepath.Join(t.TempDir(), "weir.backup")
	c.weir(t, 1, "ledger", "snapshot", backup).want(t, exitOK)
	weir(t, "ledger", "verify", backup).want(t, exitOK, "sound", "open holds  15")
	weir(t, "ledger", "verify", c.nodes[0].dir()).want(t, exitFailed, "not verified", "stop the node first")
	endAll(t, c.nodes...)
	for _, p := range c.nodes {
		weir(t, "ledger", "verify", p.dir()).want(t, exitOK, "sound", "open holds  15", "1 to 62 were replayed")
	}

	segments, err := filepath.Glob(filepath.Join(c.nodes[0].dir(), "journal", "*"))
	if err != nil || len(segments) == 0 {
		t.Fatalf("no segments: %v", err)
	}
	text, err := os.ReadFile(segments[0])
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.Index(text, []byte("capture-7"))
	text[at] ^= 1
	if err := os.WriteFile(segments[0], text, 0o600); err != nil {
		t.Fatal(err)
	}
	weir(t, "ledger", "verify", c.nodes[0].dir()).want(t, exitDenied, "NOT SOUND")
	if now, err := os.ReadFile(segments[0]); err != nil || !bytes.Equal(now, text) {
		t.Errorf("verifying changed the journal: %v", err)
	}
	weir(t, "ledger", "verify", c.nodes[1].dir()).want(t, exitOK, "sound")

	text, err = os.ReadFile(backup)
	if err != nil {
		t.Fatal(err)
	}
	text[len(text)/2] ^= 1
	weir(t, "ledger", "verify", file(t, "bad.backup", string(text))).want(t, exitFailed, "changed or cut short")
	weir(t, "ledger", "verify", t.TempDir()).want(t, exitFailed, "no Raft log")
}
