package node

import (
	"slices"
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
