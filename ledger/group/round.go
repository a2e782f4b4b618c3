package group

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// askPause is between two questions to a voter that could not be asked.
const askPause = 10 * time.Millisecond

// rounds ask the voters whether this server still leads: each is sent a heartbeat like the library's. The library's own
// VerifyLeader will not do: it counts answers to heartbeats that were sent before it was called, and a leader that was stopped
// for a while and deposed meanwhile may find some. Here an answer speaks only for those who had begun to wait when the
// question was sent. All who wait share the questions, and a voter is asked one at a time.
type rounds struct {
	self   raft.ServerID
	raft   *raft.Raft
	ask    func(term uint64, voter raft.Server) (same bool, err error) // whether the voter knows of no later term
	ending <-chan struct{}
	asking sync.WaitGroup

	mu      sync.Mutex
	closed  bool
	term    uint64 // that what follows is of
	count   uint64 // of those who began to wait; each has a number
	waiting int
	deposed bool // a voter knows of a later term
	voters  map[raft.ServerID]*witness
	news    chan struct{} // closed when there is something to look at
}

// witness is what a voter has said.
type witness struct {
	spoke uint64 // for everybody up to this number
	asked bool   // it is being asked
}

func newRounds(r *raft.Raft, self string, ending <-chan struct{}, ask func(uint64, raft.Server) (bool, error)) *rounds {
	return &rounds{raft: r, self: raft.ServerID(self), ask: ask, ending: ending, news: make(chan struct{})}
}

// heartbeats returns the question that rounds ask.
func heartbeats(t *raft.NetworkTransport, self raft.ServerID, protocol raft.ProtocolVersion) func(uint64, raft.Server) (bool, error) {
	address := t.EncodePeer(self, t.LocalAddr())
	return func(term uint64, voter raft.Server) (bool, error) {
		var said raft.AppendEntriesResponse
		err := t.AppendEntries(voter.ID, voter.Address, &raft.AppendEntriesRequest{
			RPCHeader: raft.RPCHeader{ProtocolVersion: protocol, ID: []byte(self), Addr: address}, Term: term,
		}, &said)
		if err == nil && said.Term <= term && !said.Success {
			err = fmt.Errorf("voter %s did not take a heartbeat", voter.ID)
		}
		return said.Term <= term, err
	}
}

// confirm returns nil when a majority of the voters has said, asked after it was called, that they know of no later term than
// this one, in which this server leads. ErrNotLeader says that it does not any more, ErrBusy that ctx ended first.
func (o *rounds) confirm(ctx context.Context, term uint64) error {
	number, ok := o.enter(term)
	if !ok {
		return ErrNotLeader
	}
	defer o.leave()
	for {
		agree, lost, news := o.agree(term, number)
		if lost || o.raft.State() != raft.Leader || o.raft.CurrentTerm() != term {
			return ErrNotLeader
		}
		if agree {
			return nil
		}
		select {
		case <-news:
		case <-ctx.Done():
			return fmt.Errorf("no majority of the voters has confirmed the leader: %w: %w", ErrBusy, ctx.Err())
		case <-o.ending:
			return ErrStopped
		}
	}
}

// enter gives who begins to wait a number; false: the term is over.
func (o *rounds) enter(term uint64) (number uint64, ok bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if term < o.term {
		return 0, false
	}
	if term > o.term {
		o.term, o.deposed, o.voters = term, false, make(map[raft.ServerID]*witness)
		o.tell()
	}
	o.count++
	o.waiting++
	return o.count, true
}

func (o *rounds) leave() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.waiting--
}

// agree says whether a majority has spoken for a number, and whether the term is over. It has those asked who have not spoken.
func (o *rounds) agree(term, number uint64) (yes, lost bool, news <-chan struct{}) {
	members := o.raft.GetConfiguration().Configuration().Servers
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.term != term || o.deposed {
		return false, true, nil
	}
	spoke, all := 0, 0
	for _, s := range members {
		if s.Suffrage != raft.Voter {
			continue
		}
		all++
		w := o.voters[s.ID]
		if w == nil {
			w = &witness{}
			o.voters[s.ID] = w
		}
		switch {
		case s.ID == o.self || w.spoke >= number:
			spoke++
		case !w.asked && !o.closed:
			w.asked = true
			o.asking.Go(func() { o.question(term, s, w) })
		}
	}
	return 2*spoke > all, false, o.news
}

// question asks a voter as long as anybody waits whom it has not spoken for.
func (o *rounds) question(term uint64, s raft.Server, w *witness) {
	for {
		number, needed := o.needed(term, w)
		if !needed {
			return
		}
		same, err := o.ask(term, s)
		o.hear(term, number, w, same, err)
		if err == nil {
			continue
		}
		pause := time.NewTimer(askPause)
		select {
		case <-pause.C:
		case <-o.ending:
			pause.Stop()
		}
	}
}

// needed returns for whom a voter would speak that is asked now.
func (o *rounds) needed(term uint64, w *witness) (number uint64, needed bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed || o.term != term || o.deposed || o.waiting == 0 || w.spoke >= o.count {
		w.asked = false
		return 0, false
	}
	return o.count, true
}

func (o *rounds) hear(term, number uint64, w *witness, same bool, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case err != nil:
	case same:
		w.spoke = number
	case o.term == term:
		o.deposed = true
	}
	o.tell()
}

// wake has all who wait look again.
func (o *rounds) wake() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.tell()
}

func (o *rounds) tell() {
	close(o.news)
	o.news = make(chan struct{})
}

// close waits until nobody is asked any more. What carries the questions must be closed before.
func (o *rounds) close() {
	o.mu.Lock()
	o.closed = true
	o.mu.Unlock()
	o.asking.Wait()
}
