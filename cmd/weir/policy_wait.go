package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/weir-cluster/weir/client"
	"github.com/weir-cluster/weir/client/rest"
)

// lookAgain is how long a node that is behind is left alone before it is asked again.
const lookAgain = 20 * time.Millisecond

// waitFlag is for how long a change of the policy is awaited. A policy is in force where it was put when the call returns,
// and on the other nodes as soon as they have learnt and compiled it, which is mostly 0.1 s later.
type waitFlag struct {
	Wait time.Duration `default:"2s" placeholder:"DURATION" help:"Wait at most this long until every node that is alive goes by it; 0s does not wait."`
}

// inForce waits until every node that is alive goes by a version of the policy, and returns the names of those that do
// not, or cannot be asked from here, when the wait is over. It tells about them on standard error: the change is agreed all
// the same.
func (f waitFlag) inForce(ctx context.Context, s *shell, weir *rest.Client, version uint64) (behind []string) {
	if f.Wait <= 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, f.Wait)
	defer cancel()
	v, err := weir.View(ctx)
	if err != nil {
		fmt.Fprintf(s.stderr, "weir: version %d is agreed; whether every node goes by it cannot be told: %v\n", version, err)
		return nil
	}
	var (
		asked sync.WaitGroup
		mu    sync.Mutex // guards behind
	)
	for _, m := range v.Members {
		if !m.Alive {
			continue
		}
		asked.Go(func() {
			if !reaches(ctx, m, f.Wait, version) {
				mu.Lock()
				defer mu.Unlock()
				behind = append(behind, m.Name)
			}
		})
	}
	asked.Wait()
	slices.Sort(behind)
	if len(behind) > 0 {
		fmt.Fprintf(s.stderr, "weir: version %d is agreed; after %v these nodes do not go by it yet, or cannot be reached from here: %s\n",
			version, f.Wait, strings.Join(behind, ", "))
	}
	return behind
}

// reaches asks a node again and again until it goes by a version of the policy; false when ctx ends before.
func reaches(ctx context.Context, m client.Member, timeout time.Duration, version uint64) bool {
	node, err := rest.New(rest.Config{Addr: m.HTTP, Timeout: timeout})
	if err != nil {
		return false
	}
	for {
		if v, err := node.View(ctx); err == nil && v.PolicyVersion >= version {
			return true
		}
		select {
		case <-time.After(lookAgain):
		case <-ctx.Done():
			return false
		}
	}
}
