package node

import (
	"context"
	"errors"
	"fmt"
)

// stage is a part of a node that runs until its context ends.
type stage struct {
	name string
	run  func(ctx context.Context) error
}

// running is stages that were started, in the order in which they were.
type running struct {
	parts []*part
	ended chan error // capacity: one for each stage
}

type part struct {
	name   string
	cancel context.CancelFunc
	done   chan struct{}
}

// start runs every stage, each with a context of its own, so that they can be stopped one by one.
func start(stages []stage) *running {
	r := &running{ended: make(chan error, len(stages))}
	for _, s := range stages {
		ctx, cancel := context.WithCancel(context.Background())
		p := &part{name: s.name, cancel: cancel, done: make(chan struct{})}
		r.parts = append(r.parts, p)
		go func() {
			defer close(p.done)
			if err := s.run(ctx); err != nil {
				r.ended <- fmt.Errorf("%s: %w", s.name, err)
			}
		}()
	}
	return r
}

// wait blocks until ctx ends, or returns the error of the first stage that failed.
func (r *running) wait(ctx context.Context) error {
	select {
	case err := <-r.ended:
		return err
	case <-ctx.Done():
		return nil
	}
}

// stop ends the stages in reverse, each before the one it was built on, and returns the errors that wait
// did not.
func (r *running) stop() error {
	var all error
	for i := len(r.parts) - 1; i >= 0; i-- {
		r.parts[i].cancel()
		<-r.parts[i].done
		select {
		case err := <-r.ended:
			all = errors.Join(all, err)
		default:
		}
	}
	return all
}
