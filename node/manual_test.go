package node_test

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

func TestEveryMetricIsInTheManual(t *testing.T) {
	manual, err := os.ReadFile("../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	simulate(t, 25, 1, func(s *sim) {
		names := regexp.MustCompile(`(?m)^(weir_\w+?)(_bucket|_sum|_count)?[{ ]`)
		found := names.FindAllStringSubmatch(s.text(s.nodes[0], "/metrics"), -1)
		if len(found) < 30 {
			s.t.Errorf("%d metrics", len(found))
		}
		for _, m := range found {
			if !strings.Contains(string(manual), m[1]+"`") {
				s.t.Errorf("docs/operations.md does not tell of %s", m[1])
			}
		}
	})
}
