package group

import (
	"strings"
	"testing"
	"time"

	"github.com/weir-cluster/weir/chaos/simnet"
)

func TestConfigThatCannotWorkIsRefused(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		want   string // part of the error; empty: it is fine
		change func(*Config)
	}{
		{"", func(*Config) {}},
		{"name", func(c *Config) { c.Name = "" }},
		{"network", func(c *Config) { c.Network = nil }},
		{"resolver", func(c *Config) { c.Resolve = nil }},
		{"storage", func(c *Config) { c.Storage = nil }},
		{"clock", func(c *Config) { c.Now = nil }},
		{"logger", func(c *Config) { c.Logger = nil }},
		{"machines", func(c *Config) { c.Machines = nil }},
		{"machine", func(c *Config) { c.Machines = map[string]Machine{strings.Repeat("m", 33): &tape{}} }},
		{"machine", func(c *Config) { c.Machines = map[string]Machine{"view": nil} }},
		{"heartbeat timeout", func(c *Config) { c.HeartbeatTimeout = 0 }},
		{"election timeout", func(c *Config) { c.ElectionTimeout = c.HeartbeatTimeout - 1 }},
		{"leader lease", func(c *Config) { c.LeaderLease = c.HeartbeatTimeout + 1 }},
		{"commit timeout", func(c *Config) { c.CommitTimeout = 0 }},
		{"request timeout", func(c *Config) { c.RequestTimeout = time.Millisecond }},
		{"snapshot interval", func(c *Config) { c.SnapshotInterval = 0 }},
		{"snapshot threshold", func(c *Config) { c.SnapshotThreshold = 0 }},
		{"trailing logs", func(c *Config) { c.TrailingLogs = 10_239 }},
		{"", func(c *Config) { c.TrailingLogs, c.trailingLogsFew = 1, true }},
		{"pack operations", func(c *Config) { c.PackOperations = operationsMax + 1 }},
		{"pack bytes", func(c *Config) { c.PackBytes = entryBytesMax + 1 }},
		{"in flight", func(c *Config) { c.InFlight = 0 }},
		{"one command must fit into pack", func(c *Config) { c.CommandBytes = c.PackBytes - entryOverheadBytes + 1 }},
		{"", func(c *Config) { c.CommandBytes = c.PackBytes - entryOverheadBytes }},
		{"queue operations", func(c *Config) { c.QueueOperations = 0 }},
		{"one command must fit into queue", func(c *Config) { c.QueueBytes = c.CommandBytes - 1 }},
	} {
		cfg := DefaultConfig()
		cfg.Name, cfg.Network, cfg.Resolve, cfg.Storage = "n1", simnet.New(1).Host("10.0.0.1"), resolve, Memory()
		cfg.Machines, cfg.Now = map[string]Machine{"tape": &tape{}}, time.Now
		row.change(&cfg)
		err := cfg.Validate()
		if (err == nil) != (row.want == "") || err != nil && !strings.Contains(err.Error(), row.want) {
			t.Errorf("%v, want %q", err, row.want)
		}
		if _, again := New(cfg); (again == nil) != (err == nil) {
			t.Errorf("New disagrees with Validate: %v, %v", again, err)
		}
	}
}
