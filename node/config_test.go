package node

import (
	"slices"
	"strings"
	"testing"
)

func TestASeedWithoutAPortGetsGossips(t *testing.T) {
	c := Config{Join: []string{"10.0.0.1", "10.0.0.2:1", "host", "::1", "[::1]", "[::1]:2"}}
	want := []string{"10.0.0.1:7946", "10.0.0.2:1", "host:7946", "[::1]:7946", "[::1]:7946", "[::1]:2"}
	if got := c.seeds(); !slices.Equal(got, want) {
		t.Errorf("seeds %v, want %v", got, want)
	}
}

func TestHowManyNodesFoundACluster(t *testing.T) {
	for _, c := range []struct{ join, bootstrap, want int }{{0, 0, 1}, {0, 3, 3}, {1, 0, 0}, {1, 3, 3}} {
		if got := (Config{Join: make([]string, c.join), BootstrapExpect: c.bootstrap}).expect(); got != c.want {
			t.Errorf("join %d, bootstrap-expect %d: %d, want %d", c.join, c.bootstrap, got, c.want)
		}
	}
}

func TestABoundOfBucketsThatCannotBeIsSaid(t *testing.T) {
	for most, wrong := range map[int64]string{
		0: "buckets-max 0: 4096 to 1073741824", 4095: "buckets-max 4095", 1<<30 + 1: "buckets-max 1073741825", -5: "buckets-max -5",
		4096: "", 1 << 22: "", 1 << 30: "",
	} {
		c := DefaultConfig()
		c.Name, c.BucketsMax = "n1", most
		if err := c.Validate(); (err == nil) != (wrong == "") || err != nil && !strings.Contains(err.Error(), wrong) {
			t.Errorf("%d: %v, want %q", most, err, wrong)
		}
	}
	if c := DefaultConfig(); c.BucketsMax != 4_194_304 {
		t.Errorf("%d buckets by default, the manual says 4194304", c.BucketsMax)
	}
}
