package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// fakeQuorum never leads.
type fakeQuorum struct{ leader string }

func (q fakeQuorum) Propose(context.Context, string, []byte) ([]byte, error) {
	return nil, &NotLeaderError{}
}

func (q fakeQuorum) ProposeAll(context.Context, string, [][]byte) ([][]byte, []error) {
	panic("it does not lead")
}

func (q fakeQuorum) Leading() bool          { return false }
func (q fakeQuorum) Leader() (string, bool) { return q.leader, q.leader != "" }

// scripted is the peers of node a: each offer is noted by name, and answered by one func.
type scripted struct {
	asked  []string
	answer func(ctx context.Context, name string, offer int) ([]byte, error)
}

type scriptedPeer struct {
	Peer
	script *scripted
	name   string
}

func (s *scripted) Peer(address string) Peer { return scriptedPeer{script: s, name: address[:1]} }

func (p scriptedPeer) Propose(ctx context.Context, _ string, _ []byte) ([]byte, error) {
	s := p.script
	s.asked = append(s.asked, p.name)
	return s.answer(ctx, p.name, len(s.asked))
}

// known is a Gossip of node a that sees these members, without a network.
func known(members ...Sighting) *Gossip {
	g := &Gossip{self: sighted("a", "1"), alive: make(map[string]Sighting), changed: make(chan struct{}, 1), renew: make(chan struct{}, 1)}
	for _, m := range members {
		g.alive[m.Name] = m
	}
	return g
}

func propose(s *scripted, leader string, repeat bool, timeout time.Duration) ([]byte, error) {
	mute := sighted("A", "0") // first by name, but it does not vote
	mute.Voter = false
	p := &Proposer{Quorum: fakeQuorum{leader}, Peers: s, Gossip: known(mute, sighted("a", "1"), sighted("b", "2"), sighted("c", "3"))}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	return p.For("m", repeat).Propose(ctx, []byte("x"))
}

func TestAnUnknownOutcomeStaysUnknownWhateverIsRefusedLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &scripted{answer: func(_ context.Context, _ string, offer int) ([]byte, error) {
			if offer == 1 {
				return nil, fmt.Errorf("%w: the leader was lost", ErrUnreachable)
			}
			return nil, &NotLeaderError{}
		}}
		_, err := propose(s, "b", true, time.Second)
		if !errors.Is(err, ErrUnknown) || errors.Is(err, ErrNotApplied) || len(s.asked) < 2 {
			t.Errorf("after %d offers: %v", len(s.asked), err)
		}
	})
}

func TestWhatMayNotBeRepeatedIsOfferedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &scripted{answer: func(context.Context, string, int) ([]byte, error) { return nil, ErrUnreachable }}
		if _, err := propose(s, "b", false, time.Second); !errors.Is(err, ErrUnknown) || len(s.asked) != 1 {
			t.Errorf("after %d offers: %v", len(s.asked), err)
		}
	})
}

func TestWhatNobodyTookIsNotApplied(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &scripted{answer: func(context.Context, string, int) ([]byte, error) { return nil, &NotLeaderError{} }}
		if _, err := propose(s, "", true, time.Second); !errors.Is(err, ErrNotApplied) || errors.Is(err, ErrUnknown) {
			t.Errorf("%v", err)
		}
		if slices.Contains(s.asked, "A") || !slices.Contains(s.asked, "c") {
			t.Errorf("asked %v, want voters only, in turn", s.asked)
		}
	})
}

func TestAProposalFollowsTheHint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &scripted{answer: func(_ context.Context, name string, _ int) ([]byte, error) {
			if name == "c" {
				return []byte("done"), nil
			}
			return nil, &NotLeaderError{Leader: "c"}
		}}
		reply, err := propose(s, "b", true, time.Second)
		if err != nil || string(reply) != "done" || !slices.Equal(s.asked, []string{"b", "c"}) {
			t.Errorf("%s, %v, asked %v", reply, err, s.asked)
		}
	})
}

func TestALeaderThatHangsDoesNotUseUpTheTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &scripted{answer: func(ctx context.Context, _ string, offer int) ([]byte, error) {
			if offer == 1 {
				<-ctx.Done()
				return nil, ctx.Err()
			}
			return []byte("done"), nil
		}}
		began := time.Now()
		if _, err := propose(s, "b", true, time.Minute); err != nil || time.Since(began) > 2*proposeOnce {
			t.Errorf("%v after %s", err, time.Since(began))
		}
	})
}

// fakeReader is a node's own replica.
type fakeReader struct {
	answer func(ctx context.Context, read Read) error
}

func (r fakeReader) Query(ctx context.Context, _ string, _ []byte, read Read) ([]byte, AsOf, error) {
	return []byte("a"), AsOf{Index: 1}, r.answer(ctx, read)
}

func (p scriptedPeer) Query(ctx context.Context, _ string, query []byte, _ Read) ([]byte, AsOf, error) {
	s := p.script
	s.asked = append(s.asked, p.name)
	reply, err := s.answer(ctx, p.name, len(s.asked))
	return append(reply, query...), AsOf{Index: 9}, err
}

// TestQueryIsAnsweredHereIfItMayBeAndElseByTheLeader: whatever goes wrong on the way, it is asked again, since it changes nothing.
func TestQueryIsAnsweredHereIfItMayBeAndElseByTheLeader(t *testing.T) {
	leads := func(name string) func(context.Context, string, int) ([]byte, error) {
		return func(_ context.Context, asked string, offer int) ([]byte, error) {
			switch {
			case offer == 1:
				return nil, ErrUnreachable
			case asked != name:
				return nil, &NotLeaderError{Leader: name}
			}
			return []byte(asked), nil
		}
	}
	nobody := func(context.Context, string, int) ([]byte, error) { return nil, &NotLeaderError{} }
	hangs := func(ctx context.Context, _ Read) error { <-ctx.Done(); return ErrNotApplied }
	for _, row := range []struct {
		name   string
		read   Read
		here   func(context.Context, Read) error
		peers  func(context.Context, string, int) ([]byte, error)
		leader string // as this node knows
		want   string // the reply; empty: ErrUnreachable
		asked  int    // peers, at most
	}{
		{"stale, and new enough here", Read{MaxStaleness: time.Second}, func(context.Context, Read) error { return nil }, nobody, "b", "a", 0},
		{"stale, and too old here", Read{MaxStaleness: time.Second}, func(context.Context, Read) error { return &NotLeaderError{} }, leads("b"), "b", "b?", 2},
		{"an entry that does not come", Read{MinIndex: 7}, hangs, leads("c"), "", "c?", 3},
		{"linearizable", Read{}, func(context.Context, Read) error { return nil }, leads("c"), "b", "c?", 4},
		{"one is out of reach and the next leads", Read{}, nil, func(_ context.Context, asked string, _ int) ([]byte, error) {
			if asked == "b" {
				return nil, ErrUnreachable
			}
			return []byte(asked), nil
		}, "", "c?", 2},
		{"nobody leads", Read{}, func(context.Context, Read) error { return nil }, nobody, "", "", 1000},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := &scripted{answer: row.peers}
			p := &Proposer{
				Quorum: fakeQuorum{row.leader}, Reader: fakeReader{row.here}, Peers: s,
				Gossip: known(sighted("a", "1"), sighted("b", "2"), sighted("c", "3")),
			}
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			reply, as, err := p.For("m", true).Query(ctx, []byte("?"), row.read)
			if string(reply) != row.want || len(s.asked) > row.asked || (err == nil) != (row.want != "") || (err == nil) != (as.Index > 0) {
				t.Errorf("%s: %q as of %+v, %v, asked %d peers", row.name, reply, as, err, len(s.asked))
			}
			if err != nil && (!errors.Is(err, ErrUnreachable) || errors.Is(err, ErrNotApplied)) {
				t.Errorf("%s: %v", row.name, err)
			}
		})
	}
}

// abdicating leads for as long as it takes to propose some commands together.
type abdicating struct {
	fakeQuorum
	led  *atomic.Bool
	said []error // of these commands
}

func (q abdicating) Leading() bool { return !q.led.Swap(true) }

func (q abdicating) ProposeAll(_ context.Context, _ string, commands [][]byte) ([][]byte, []error) {
	replies := make([][]byte, len(commands))
	for i := range commands {
		if q.said[i] == nil {
			replies[i] = []byte("here")
		}
	}
	return replies, q.said
}

// TestWhatIsProposedTogetherIsSettledOneByOne has a leader do some of what it is given at once, and another one the rest, or nobody.
func TestWhatIsProposedTogetherIsSettledOneByOne(t *testing.T) {
	refused, unknown := error(&NotLeaderError{Leader: "b"}), fmt.Errorf("%w: cut off", ErrUnknown)
	for name, row := range map[string]struct {
		repeat, reached bool
		want            [3]string // of what was done, refused and unknown
	}{
		"another leader, repeating":     {true, true, [3]string{"here", "there", "there"}},
		"another leader, not repeating": {false, true, [3]string{"here", "there", "unknown"}},
		"nobody, repeating":             {true, false, [3]string{"here", "not applied", "unknown"}},
		"nobody, not repeating":         {false, false, [3]string{"here", "not applied", "unknown"}},
	} {
		synctest.Test(t, func(t *testing.T) {
			var mu sync.Mutex
			s := &scripted{answer: func(context.Context, string, int) ([]byte, error) {
				if !row.reached {
					return nil, &NotLeaderError{}
				}
				return []byte("there"), nil
			}}
			p := &Proposer{
				Quorum: abdicating{fakeQuorum{"b"}, new(atomic.Bool), []error{nil, refused, unknown}}, Peers: &locked{Peers: s, mu: &mu},
				Gossip: known(sighted("a", "1"), sighted("b", "2")),
			}
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			var got [3]string
			p.For("m", row.repeat).ProposeAll(ctx, [][]byte{{1}, {2}, {3}}, func(i int, reply []byte, err error) {
				mu.Lock()
				defer mu.Unlock()
				switch got[i] += string(reply); {
				case errors.Is(err, ErrUnknown) && !errors.Is(err, ErrNotApplied):
					got[i] += "unknown"
				case errors.Is(err, ErrNotApplied) && !errors.Is(err, ErrUnknown):
					got[i] += "not applied"
				case err != nil:
					got[i] += err.Error()
				}
			})
			if got != row.want {
				t.Errorf("%s: %q, want %q", name, got, row.want)
			}
		})
	}
}

// locked lets several ask scripted peers at once.
type locked struct {
	Peers
	mu *sync.Mutex
}

type lockedPeer struct {
	Peer
	mu *sync.Mutex
}

func (l *locked) Peer(address string) Peer { return lockedPeer{l.Peers.Peer(address), l.mu} }

func (p lockedPeer) Propose(ctx context.Context, machine string, command []byte) ([]byte, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.Peer.Propose(ctx, machine, command)
}
