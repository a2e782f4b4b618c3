package cluster

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"
)

// fakePolicies is a store at a revision; learning fails with err.
type fakePolicies struct {
	revision uint64
	err      error
}

func (p *fakePolicies) Revision() (revision, version uint64) { return p.revision, p.revision }
func (p *fakePolicies) State(uint64) []byte                  { return []byte("book") }
func (p *fakePolicies) Changed() <-chan struct{}             { return nil }

func (p *fakePolicies) Learn([]byte) error {
	if p.err == nil {
		p.revision++
	}
	return p.err
}

// sources answers every pull with the same, except at the address that is out of reach.
type sources struct {
	answer Pulled
	dead   string
}

type source struct {
	Peer
	answer Pulled
	err    error
}

func (s sources) Peer(address string) Peer {
	if address == s.dead {
		return source{err: ErrUnreachable}
	}
	return source{answer: s.answer}
}

func (s source) Pull(context.Context, Having) (Pulled, error) { return s.answer, s.err }

// kept runs a keeper for a second, over peers b and c that both gossip epoch 2 and policy 2.
func kept(t *testing.T, peers Peers, policies *fakePolicies, views *Views) {
	t.Helper()
	b, c := sighted("b", "2"), sighted("c", "3")
	for _, m := range []*Sighting{&b, &c} {
		m.Epoch, m.Policy = 2, 2
	}
	k := &Keeper{Gossip: known(b, c), Views: views, Policies: policies, Peers: peers, Logger: slog.New(slog.DiscardHandler)}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if err := k.Run(ctx); err != nil {
		t.Errorf("run: %v", err)
	}
	if s := k.Gossip.Self(); s.Epoch != views.Epoch() && views.Epoch() != 0 {
		t.Errorf("says epoch %d, has %d", s.Epoch, views.Epoch())
	}
}

func second(t *testing.T) []byte {
	t.Helper()
	return grown(t, grown(t, nil, sighted("a", "1")), sighted("a", "1"), sighted("b", "2")).Encode()
}

func TestAPeerOutOfReachKeepsNobodyBehind(t *testing.T) {
	for _, dead := range []string{"b:7947", "c:7947"} {
		synctest.Test(t, func(t *testing.T) {
			views, policies := NewViews(nil), &fakePolicies{revision: 1}
			kept(t, sources{answer: Pulled{View: second(t), Book: []byte("p")}, dead: dead}, policies, views)
			if views.Epoch() != 2 || policies.revision != 2 {
				t.Errorf("%s is out of reach: epoch %d, policy %d", dead, views.Epoch(), policies.revision)
			}
		})
	}
}

func TestAPolicyThatIsNotUnderstoodHoldsUpNoView(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		views := NewViews(nil)
		kept(t, sources{answer: Pulled{View: second(t), Book: []byte("p")}}, &fakePolicies{revision: 1, err: errors.New("newer words")}, views)
		if views.Epoch() != 2 {
			t.Errorf("epoch %d", views.Epoch())
		}
	})
}

func TestANewerPolicyAloneIsPulled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		views, policies := NewViews(nil), &fakePolicies{revision: 1}
		if _, err := views.Learn(grown(t, grown(t, nil, sighted("a", "1")), sighted("a", "1"), sighted("b", "2"))); err != nil {
			t.Fatal(err)
		}
		kept(t, sources{answer: Pulled{Book: []byte("p")}}, policies, views)
		if policies.revision != 2 {
			t.Errorf("policy %d", policies.revision)
		}
	})
}

func TestAPullIsAnsweredWithWhatIsNewerOnly(t *testing.T) {
	views := NewViews(nil)
	k := &Keeper{Views: views, Policies: &fakePolicies{revision: 3}}
	if p := k.Serve(Having{Revision: 3}); p.View != nil || p.Book != nil {
		t.Errorf("nothing is newer: %+v", p)
	}
	if _, err := views.Learn(grown(t, nil, sighted("a", "1"))); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		epoch, revision uint64
		view, book      bool
	}{{0, 2, true, true}, {0, 3, true, false}, {1, 2, false, true}, {1, 3, false, false}, {9, 9, false, false}} {
		if p := k.Serve(Having{Epoch: c.epoch, Revision: c.revision}); (p.View != nil) != c.view || (p.Book != nil) != c.book {
			t.Errorf("beyond epoch %d and revision %d: %d bytes of view, book %q", c.epoch, c.revision, len(p.View), p.Book)
		}
	}
}
