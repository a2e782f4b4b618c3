package sim

import (
	"sync"
	"time"

	"github.com/weir-cluster/weir/chaos"
)

// recorder writes the history of a run, on the one clock of the harness. Any goroutine may use it.
type recorder struct {
	began time.Time

	mu      sync.Mutex
	history chaos.History
}

func newRecorder() *recorder { return &recorder{began: time.Now()} }

// now is the time since the run began.
func (r *recorder) now() time.Duration { return time.Since(r.began) }

// invoke notes that an operation begins, open until it is settled.
func (r *recorder) invoke(op chaos.Op) (index int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	op.Invoked, op.Returned = r.now(), -1
	r.history.Ops = append(r.history.Ops, op)
	return len(r.history.Ops) - 1
}

// settle notes how an operation ended.
func (r *recorder) settle(index int, outcome chaos.Outcome, reply chaos.Reply, err error) chaos.Op {
	r.mu.Lock()
	defer r.mu.Unlock()
	op := &r.history.Ops[index]
	op.Outcome, op.Reply = outcome, reply
	if err != nil {
		op.Err = err.Error()
	}
	if outcome != chaos.Unknown {
		op.Returned = r.now()
	}
	return *op
}

// amend changes an operation that is open.
func (r *recorder) amend(index int, change func(*chaos.Op)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change(&r.history.Ops[index])
}

// note notes an operation that is over as soon as it is known of.
func (r *recorder) note(op chaos.Op) {
	r.mu.Lock()
	defer r.mu.Unlock()
	op.Invoked = r.now()
	op.Returned = op.Invoked
	r.history.Ops = append(r.history.Ops, op)
}

func (r *recorder) event(e chaos.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e.At = r.now()
	r.history.Events = append(r.history.Events, e)
}

func (r *recorder) fault(f chaos.Fault) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.history.Faults = append(r.history.Faults, f)
}
