package cluster

import (
	"slices"
	"time"
)

const (
	// deafMax renewals of a process that has heard none of the answers to them: it gets no more leases until it has.
	deafMax = 5
	// unreachedWait is for how long most of a member's watchers must not have reached it.
	unreachedWait = 3 * time.Second
)

// fitness is whether a process may have a lease, as its renewals and those of others tell.
type fitness struct {
	duration  time.Duration // for so long it goes by a grant; zero: it does not say
	wait      time.Duration // for so long after it asked must it be taken to hold one, if that is longer than by our own times
	asked     time.Time     // when it last did
	heard     uint64        // answers it has had
	unheard   int           // renewals since it had the last
	unreached []string      // members that it does not reach
	shunned   time.Time     // since when most of its watchers do not reach it; zero: they do
	shut      bool          // it gets no leases
}

// tell notes what a renewal tells of its sender.
func (f *fitness) tell(r Renewal, at time.Time) {
	f.asked, f.unreached = at, r.Unreached[:min(len(r.Unreached), watchMax)]
	f.duration, f.wait = r.Duration, max(f.wait, r.Duration+r.Margin)
	if f.heard != r.Heard || r.Heard == 0 {
		f.heard, f.unheard = r.Heard, 0
		return
	}
	f.unheard++
}

// judge says whether the process gets no lease: since it does not hear the answers, or since most of those who watch it have not
// reached it for a while. Never more than a minority is shut out for that, and never who leads: whoever asks for a lease reaches
// that one. It is let in again when it hears, and when they reach it.
func (l *Lessor) judge(k tenant, t *tenure, v *View) {
	now := l.cfg.Now()
	switch {
	case v == nil || !v.names(k) || k.name == l.cfg.Name || !l.lonely(k, v):
		t.shunned = time.Time{}
	case t.shunned.IsZero():
		t.shunned = now
	}
	lonely := !t.shunned.IsZero() && now.Sub(t.shunned) >= unreachedWait
	t.shut = t.unheard >= deafMax || lonely && l.spared(k, v)
}

// lonely says whether most of the holders of leases that watch a member do not reach it.
func (l *Lessor) lonely(k tenant, v *View) bool {
	all, lacking := 0, 0
	for _, i := range watchers(len(v.Roster), v.Find(k.name)) {
		t, known := l.tenant[tenant{v.Roster[i].Name, v.Roster[i].Boot}]
		if !known || !t.holds || l.ended(t) {
			continue
		}
		all++
		if slices.Contains(t.unreached, k.name) {
			lacking++
		}
	}
	return 2*lacking > all
}

// spared says whether the cluster can do without one more member: then those that are shut out are a minority still of those that
// ask for their leases.
func (l *Lessor) spared(k tenant, v *View) bool {
	all, shut := 0, 1
	for _, m := range v.Roster {
		other := tenant{m.Name, m.Boot}
		t, known := l.tenant[other]
		if !known || t.over || l.cfg.Now().Sub(t.asked) >= l.wait(t) {
			continue
		}
		all++
		if t.shut && other != k {
			shut++
		}
	}
	return 2*shut < all
}

// wait is for how long after it asked must a process be taken to hold a lease. Each is asked for its own times, so that they can
// be changed node by node; whoever was not heard of may have those that the view tells.
func (l *Lessor) wait(t tenure) time.Duration { return max(l.cfg.Times.Held(), t.wait) }

// unheardOf is what must be taken to be so of a process that this leader has not heard of. One that the view does not name may go by
// the times of any that it names.
func (l *Lessor) unheardOf(k tenant) (t tenure) {
	v := l.cfg.Views.Current()
	if v == nil {
		return t
	}
	if v.names(k) {
		return told(v.Roster[v.Find(k.name)])
	}
	for _, m := range v.Roster {
		t.wait = max(t.wait, told(m).wait)
	}
	return t
}

// told is what the view tells of a member's lease.
func told(m Member) (t tenure) {
	t.wait = min(time.Duration(m.LeaseMS)*time.Millisecond, leaseMax)
	return t
}

// Asks says whether a process asks for its lease, and may have it; who does not is home of nothing. A leader that has just been
// elected takes everybody to. Only a leader knows; any other says yes.
func (l *Lessor) Asks(name, boot string) bool {
	term, leading := l.cfg.Terms.Term()
	if !leading {
		return true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.enter(term) {
		return true
	}
	k := tenant{name, boot}
	t, known := l.tenant[k]
	if !known {
		t = l.unheardOf(k)
	}
	return !t.shut && !l.ended(t)
}
