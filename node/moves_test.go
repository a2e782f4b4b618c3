package node_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/weir-cluster/weir/ledger/group"
)

// load is checks of many users through the nodes that serve, and what came of them: the limit is 10 for each user.
type load struct {
	s       *sim
	random  *rand.Rand
	doors   []*simNode
	allowed map[string]int
	flagged map[string]int // answers by reason that were of no home
	over    int            // allowed beyond the limit
	mayOver bool
}

func newLoad(s *sim) *load {
	return &load{s: s, random: rand.New(rand.NewPCG(7, 7)), doors: s.nodes, allowed: map[string]int{}, flagged: map[string]int{}}
}

// run asks while something goes on, and a moment longer.
func (l *load) run(during func()) {
	l.s.t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		during()
	}()
	for going := true; going; {
		select {
		case <-done:
			going = false
		default:
		}
		for range 20 {
			l.ask()
			time.Sleep(5 * time.Millisecond)
		}
	}
}

func (l *load) ask() {
	l.s.t.Helper()
	user := fmt.Sprint("u", l.random.IntN(300))
	a := l.s.check(l.doors[l.random.IntN(len(l.doors))], fmt.Sprintf(`{"domain":"d","attributes":{"user":%q}}`, user))
	switch {
	case a.Reason != "OK" && a.Reason != "RATE_LIMITED":
		l.flagged[a.Reason]++
		if a.Verdict == "ALLOW" {
			l.allowed[user]++
		}
	case a.Verdict == "ALLOW":
		if l.allowed[user]++; l.allowed[user] > 10 && l.mayOver {
			l.over++
		} else if l.allowed[user] > 10 {
			l.s.t.Errorf("%s was allowed %d of 10 (%+v)", user, l.allowed[user], a)
		}
	case l.allowed[user] < 10:
		l.s.t.Errorf("%s was refused after %d of 10 (%+v)", user, l.allowed[user], a)
	}
}

func (l *load) exact(when string) {
	l.s.t.Helper()
	if len(l.flagged) > 0 {
		l.s.t.Errorf("%s: %v", when, l.flagged)
		l.flagged = map[string]int{}
	}
}

// even says whether each of some nodes is home of its part.
func (s *sim) even(from *simNode, of []*simNode) bool {
	counts := map[int]int{}
	for _, home := range s.view(from).Homes {
		counts[home]++
	}
	for _, n := range counts {
		if n < 4096/len(of)-1 || n > 4096/len(of)+2 {
			return false
		}
	}
	return len(counts) == len(of)
}

func TestPlannedMovesLoseNothingAndAnswerAll(t *testing.T) {
	simulate(t, 21, 3, func(s *sim) {
		l := newLoad(s)
		l.run(func() { time.Sleep(2 * time.Second) })
		l.exact("before")
		var joined []*simNode
		l.run(func() {
			for i := range 2 {
				m := &simNode{name: fmt.Sprint("n", 4+i), ip: fmt.Sprint("10.0.0.", 4+i), storage: group.Memory()}
				joined = append(joined, m)
				s.start(m, 0)
			}
			s.until("five nodes have equal parts", func() bool { return s.even(s.nodes[0], append(joined, s.nodes...)) })
		})
		l.exact("two nodes joined")
		s.nodes = append(s.nodes, joined...)
		l.doors = s.nodes[1:]
		l.run(func() { s.stop(s.nodes[0]) })
		l.exact("one left")
		for _, m := range s.nodes[1:3] {
			l.doors = []*simNode{s.nodes[3], s.nodes[4]}
			l.run(func() {
				s.stop(m)
				s.start(m, 0)
				<-m.node.Ready()
				time.Sleep(3 * time.Second)
			})
			l.exact(m.name + " was restarted")
		}
	})
}

// A home that dies takes no more with it than its last moment; meanwhile its deputy answers.
func TestACrashedHomesDeputyAnswersAndGoesOn(t *testing.T) {
	simulate(t, 22, 3, func(s *sim) {
		l := newLoad(s)
		l.run(func() { time.Sleep(5 * time.Second) })
		l.exact("before")
		l.doors, l.mayOver = s.nodes[:2], true
		l.run(func() {
			s.crash(s.nodes[2])
			time.Sleep(8 * time.Second)
		})
		if l.flagged["FALLBACK_DEPUTY"] == 0 || len(l.flagged) != 1 {
			t.Errorf("while the home is gone: %v", l.flagged)
		}
		l.flagged = map[string]int{}
		l.run(func() { time.Sleep(20 * time.Second) })
		l.exact("two are left")
		if l.over > 5 { // 200 checks a second, a third of them at the home, of the last 150 ms
			t.Errorf("%d were allowed beyond the limit", l.over)
		}
	})
}
