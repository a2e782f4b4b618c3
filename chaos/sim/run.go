package sim

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weir-cluster/weir/chaos"
	"github.com/weir-cluster/weir/client"
)

const (
	formWithin     = time.Minute      // for a cluster to form
	convergeWithin = 90 * time.Second // for it to be one again after all is healed: a node that flapped is held down for a minute
	settleFor      = 5 * time.Second  // before the audit: what is under way ends
	forgetAfter    = 90 * time.Second // at the end: timers of calls and of processes that crashed run out
	openMicros     = 20_000           // an account's first grant
	fillers        = 4                // that read at once to fill the log

	// Delays of a link that is not faulty, as of a LAN.
	lanShortest = 100 * time.Microsecond
	lanLongest  = time.Millisecond
)

// The phases of a run, as events of its history say them.
const (
	PhaseSafety   = "safety"
	PhaseLiveness = "liveness" // its Detail goes on with the names of the core
	PhaseRecovery = "recovery"
	PhaseAudit    = "audit"
)

// Run carries a schedule out in a bubble of its own and returns its history, whatever the nodes did. It fails t only
// when there was no run: a cluster that did not form, or goroutines that are left. logger gets the nodes' logs.
func Run(t *testing.T, s Schedule, logger *slog.Logger) *chaos.History {
	t.Helper()
	if err := s.Validate(); err != nil {
		t.Fatal(err)
	}
	var history chaos.History
	synctest.Test(t, func(t *testing.T) {
		t.Helper()
		r := newRun(s, logger)
		if err := r.whole(t.Context()); err != nil {
			t.Errorf("seed %d: %v", s.Seed, err)
		}
		r.doors.close()
		r.c.close()
		time.Sleep(forgetAfter)
		history = r.record.history
	})
	return &history
}

// run is one schedule under way.
type run struct {
	s       Schedule
	c       *cluster
	record  *recorder
	doors   *doors
	nemesis *nemesis
	work    *workload
}

func newRun(s Schedule, logger *slog.Logger) *run {
	record := newRecorder()
	c := newCluster(s.Seed, s.Nodes, []byte(policyText), record, logger)
	c.network.SetDelay(lanShortest, lanLongest)
	r := &run{s: s, c: c, record: record, doors: newDoors(c.network), nemesis: &nemesis{c: c, seed: s.Seed, record: record}}
	for _, account := range accounts() {
		record.history.Overdrafts = append(record.history.Overdrafts, chaos.Overdraft{Account: account, Micros: overdraftOf(account)})
	}
	r.work = &workload{c: c, doors: r.doors, record: record, seed: s.Seed, checks: s.Checks}
	return r
}

// whole is a run from its beginning to its end.
func (r *run) whole(ctx context.Context) error {
	if err := r.form(ctx); err != nil {
		return err
	}
	working, stop := context.WithCancel(ctx)
	var all sync.WaitGroup
	all.Go(func() { r.work.run(working) })

	r.phase(PhaseSafety, nil)
	breaking, calm := context.WithTimeout(ctx, r.s.Safety)
	r.nemesis.run(breaking, r.s)
	<-breaking.Done()
	calm()

	if r.s.Liveness > 0 {
		r.phase(PhaseLiveness, r.nemesis.core())
		time.Sleep(r.s.Liveness)
	}
	r.phase(PhaseRecovery, nil)
	r.nemesis.healWhere(func(*injected) bool { return true })
	r.converge(ctx)
	stop()
	all.Wait()

	time.Sleep(settleFor)
	r.phase(PhaseAudit, nil)
	r.audit(ctx)
	return nil
}

func (r *run) phase(name string, core []string) {
	r.record.event(chaos.Event{What: "phase", Detail: strings.TrimSpace(name + " " + strings.Join(core, " "))})
}

// form starts the nodes and opens the accounts that have credit.
func (r *run) form(ctx context.Context) error {
	for _, m := range r.c.all() {
		if err := r.c.start(m); err != nil {
			return err
		}
	}
	if err := until(formWithin, func() bool { return r.ready(r.c.all()) }); err != nil {
		return fmt.Errorf("the cluster did not form: %w", err)
	}
	first := r.c.all()[0]
	opener := r.work.hand(-1)
	w, err := r.doors.rest(first, bookTimeout)
	if err != nil {
		return err
	}
	for _, account := range accounts() {
		err := until(formWithin, func() bool {
			_, err := w.OpenAccount(ctx, "open-"+account, client.Account{ID: account, UseCredits: true, OverdraftMicros: overdraftOf(account)})
			return err == nil
		})
		if err != nil {
			return fmt.Errorf("open %s: %w", account, err)
		}
		key := "first-" + account
		op := chaos.Op{Kind: chaos.Grant, Account: account, Key: key, Cost: openMicros - (openMicros-shortMicros)*min(1, overdraftOf(account)), Ask: chaos.Ask{Credit: "promo"}}
		err = until(formWithin, func() bool { return opener.write(ctx, first, op) == chaos.OK })
		if err != nil {
			return fmt.Errorf("grant to %s: %w", account, err)
		}
	}
	return r.fill(ctx)
}

// fill makes the log as long as the schedule wants it, by writes that repeat one: each is an entry, or shares one with others.
func (r *run) fill(ctx context.Context) error {
	short := func() bool {
		_, top, _ := r.c.all()[0].disk.log()
		return top < uint64(r.s.Log)
	}
	var writers sync.WaitGroup
	for i := range fillers {
		writers.Go(func() {
			w, err := r.doors.rest(r.c.all()[i%r.s.Nodes], bookTimeout)
			for err == nil && short() {
				_, err = w.OpenAccount(ctx, "open-u0", client.Account{ID: "u0", UseCredits: true})
			}
		})
	}
	writers.Wait()
	if short() {
		return errors.New("the log did not fill: writes failed")
	}
	return nil
}

// ready says whether a process of each of them runs and was ready.
func (r *run) ready(members []*member) bool {
	for _, m := range members {
		if _, ready := r.c.up(m); !ready {
			return false
		}
	}
	return true
}

// converge waits until every node that runs, after all was healed, says the same of the view and the leader.
func (r *run) converge(ctx context.Context) {
	looker := r.work.hand(1000)
	said := make(map[string]chaos.Event)
	err := until(convergeWithin, func() bool {
		for _, m := range r.c.all() {
			if _, ready := r.c.up(m); r.c.serves(m) && !ready {
				return false
			}
		}
		_, agreed := r.agreed(ctx, looker, said)
		return agreed
	})
	if err != nil {
		r.record.event(chaos.Event{What: "diverged", Detail: fmt.Sprint("not one view after ", convergeWithin)})
		return
	}
	r.record.event(chaos.Event{What: "converged"})
}

// agreed looks at every node that runs, and says whether all have the same view and leader.
func (r *run) agreed(ctx context.Context, looker *hand, said map[string]chaos.Event) (leader string, agreed bool) {
	leaders, epochs := make(map[string]bool), make(map[uint64]bool)
	for _, m := range r.c.all() {
		if runs, _ := r.c.up(m); runs {
			name, epoch := looker.look(ctx, m, said)
			leaders[name], epochs[epoch] = true, true
			leader = name
		}
	}
	return leader, len(leaders) == 1 && len(epochs) == 1 && leader != "" && !epochs[0]
}
