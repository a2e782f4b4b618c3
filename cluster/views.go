package cluster

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
)

// viewBytesMax bounds an encoded view: 4,096 partitions and a roster of thousands.
const viewBytesMax = 8 << 20

// Views holds the newest view this node knows. It is the machine that the Raft group drives (Apply,
// Snapshot, Restore), and on nodes outside the group it learns what they pull. It is safe for concurrent
// use, and reading it takes no lock.
type Views struct {
	current atomic.Pointer[View]
	changed chan struct{} // capacity 1

	// applied is the view as of the log. It may lag current on a voter that pulled, and it alone decides what
	// Apply answers: replicas must agree. Only the goroutine that drives the machine touches it.
	applied *View

	mu    sync.Mutex // orders adoptions
	adopt func(previous, next *View)
}

// NewViews returns an empty Views. adopt, unless nil, is called before each new view comes into force, one at
// a time, so that what the node must forget or distrust is settled before it decides under it. It must not
// block nor call Views. previous is nil for the first view.
func NewViews(adopt func(previous, next *View)) *Views {
	if adopt == nil {
		adopt = func(_, _ *View) {}
	}
	return &Views{adopt: adopt, changed: make(chan struct{}, 1)}
}

// Current returns the newest known view, nil before the first.
func (s *Views) Current() *View { return s.current.Load() }

// Epoch returns the epoch of the newest known view, zero before the first.
func (s *Views) Epoch() uint64 { return epochOf(s.current.Load()) }

func epochOf(v *View) uint64 {
	if v == nil {
		return 0
	}
	return v.Epoch
}

// Changed signals that there is a newer view than at the last signal. It is for one reader.
func (s *Views) Changed() <-chan struct{} { return s.changed }

// Learn brings v into force if it is newer than what is known, and says whether it was. A view of another
// cluster is refused with an error.
func (s *Views) Learn(v *View) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	was := s.current.Load()
	if was != nil && was.Cluster != v.Cluster {
		return false, fmt.Errorf("view of cluster %s, this node is of %s: start it with an empty data directory to move it", v.Cluster, was.Cluster)
	}
	if v.Epoch <= epochOf(was) {
		return false, nil
	}
	s.adopt(was, v)
	s.current.Store(v)
	select {
	case s.changed <- struct{}{}:
	default:
	}
	return true, nil
}

// change is the command of the view machine: replace the view of one epoch by the next.
type change struct {
	Expect uint64          `json:"expect"`
	View   json.RawMessage `json:"view"`
}

// errStale is the reply to a change that was planned from a view no longer in force.
var errStale = errors.New("view has changed meanwhile")

const (
	replyDone  = "done"
	replyStale = "stale"
)

func encodeChange(expect uint64, next *View) ([]byte, error) {
	return json.Marshal(change{Expect: expect, View: next.Encode()})
}

func changeReply(reply []byte) error {
	switch string(reply) {
	case replyDone:
		return nil
	case replyStale:
		return errStale
	default:
		return fmt.Errorf("view change: %s", reply)
	}
}

// Apply carries out a change if its author planned from the view in force, and says what came of it.
func (s *Views) Apply(command []byte) []byte {
	var c change
	if err := json.Unmarshal(command, &c); err != nil {
		return []byte("malformed: " + err.Error())
	}
	next, err := DecodeView(c.View)
	if err != nil {
		return []byte("malformed: " + err.Error())
	}
	if c.Expect != epochOf(s.applied) || next.Epoch != c.Expect+1 {
		return []byte(replyStale)
	}
	if s.applied != nil && s.applied.Cluster != next.Cluster {
		return []byte("view of another cluster")
	}
	s.applied = next
	if _, err := s.Learn(next); err != nil {
		return []byte(err.Error())
	}
	return []byte(replyDone)
}

// Snapshot captures the view; the returned function writes it.
func (s *Views) Snapshot() (func(io.Writer) error, error) {
	v := s.applied
	return func(w io.Writer) error {
		if v == nil {
			return nil
		}
		_, err := w.Write(v.Encode())
		return err
	}, nil
}

// Restore reads what a snapshot wrote. A node that has pulled a newer view keeps it.
func (s *Views) Restore(r io.Reader) error {
	b, err := io.ReadAll(io.LimitReader(r, viewBytesMax))
	if err != nil || len(b) == 0 {
		return err
	}
	v, err := DecodeView(b)
	if err != nil {
		return err
	}
	s.applied = v
	_, err = s.Learn(v)
	return err
}
