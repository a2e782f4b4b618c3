package ledger

import (
	"fmt"
	"slices"
	"strings"
	"time"
	_ "time/tzdata" // zones are part of the state machine: a program brings its own where the system has none
)

// series is a recurring grant. The grants of its periods are made when the account is touched, at most one each time: a
// period that nobody looked at need not have existed, only what it would have rolled over.
type series struct {
	id        string
	kind      Kind
	priority  uint8
	amount    Credits
	rollover  Credits
	every     Every
	zone      string
	anchor    int64 // start of the first period
	ends      int64 // no period goes beyond; never if not limited
	next      int64 // start of the next period to make
	current   string
	appliesTo []Label
}

func (s *series) wire(c *coder) {
	c.text(&s.id, KeyMax)
	c.word((*uint8)(&s.kind), uint8(Overdraft))
	c.byte(&s.priority)
	c.credits(&s.amount)
	c.credits(&s.rollover)
	c.word((*uint8)(&s.every), uint8(everyCount))
	c.text(&s.zone, LabelNameMax)
	c.int(&s.anchor)
	c.instant(&s.ends)
	c.int(&s.next)
	c.text(&s.current, GrantMax)
	list(c, &s.appliesTo, AppliesToMax, (*Label).wire)
}

func (s *series) terms() Terms {
	return Terms{
		ID: s.id, Kind: s.kind, Priority: s.priority, Amount: s.amount, AppliesTo: s.appliesTo, Every: s.every, Zone: s.zone,
		Rollover: s.rollover, Effective: fromNanos(s.anchor, 0), Expires: fromNanos(s.ends, never),
	}
}

// recurs tells whether an id is that of a recurring grant, or could become that of one of its periods.
func (a *account) recurs(id string) bool {
	stem := id
	if i := strings.LastIndexByte(id, '@'); i >= 0 {
		stem = id[:i]
	}
	return slices.ContainsFunc(a.series, func(s series) bool { return s.id == id || s.id == stem })
}

// recur begins a recurring grant.
func (t *tx) recur(g *Grant, id string) (Receipt, error) {
	a := &t.a
	if slices.ContainsFunc(a.grants, func(o grant) bool { return strings.HasPrefix(o.id, id+"@") }) {
		return Receipt{}, fmt.Errorf("%w: account %q has grants named %s@", ErrConflict, a.id, id)
	}
	anchor := toNanos(g.Effective, t.now)
	s := series{
		id: id, kind: g.Kind, priority: g.Priority, amount: g.Amount, rollover: g.Rollover, every: g.Every, zone: g.Zone,
		anchor: anchor, ends: toNanos(g.Expires, never), next: anchor, appliesTo: g.AppliesTo,
	}
	if s.ends <= anchor {
		return Receipt{}, fmt.Errorf("%w: grant %q expires before it is effective", ErrInvalid, id)
	}
	if anchor <= t.now {
		zone, err := t.m.zone(s.zone)
		if err != nil {
			return Receipt{}, err
		}
		s.next = s.start(s.period(t.now, zone), zone) // those before it never were
	}
	a.series = append(a.series, s)
	t.post(Event{Movement: Granting, Key: g.Key, Grant: id, Made: []Terms{s.terms()}})
	t.settle()
	r := t.receipt()
	if made := a.grant(a.series[len(a.series)-1].current); made != nil {
		r.Amount, r.Parts = made.amount, []Part{{made.kind, made.id, made.amount}}
	}
	return r, nil
}

// renew makes the period that it is now, if it is not made. Between it and the last one that was made n-1 periods
// may have passed by. Each would have rolled over min(what it got + amount, rollover), which over all of them is
// min(what the last one left + (n-1) amount, rollover). What that is beyond what the last one left is issued now.
func (t *tx) renew(s *series) {
	if s.next > t.now {
		return
	}
	zone, err := t.m.zone(s.zone)
	if err != nil {
		t.fail(fmt.Errorf("zone of grant %q: %w", s.id, err))
		return
	}
	last, n := s.period(s.next, zone), s.period(t.now, zone)
	start, end := s.start(n, zone), min(s.start(n+1, zone), s.ends)
	s.next = s.start(n+1, zone)
	if start >= s.ends {
		return
	}
	var left Credits
	if old := t.a.grant(s.current); old != nil {
		left = old.available
	}
	carry := s.rollover
	if passed := Credits(n - last); passed <= s.rollover/s.amount {
		carry = min(left+passed*s.amount, s.rollover)
	}
	from := min(left, carry)
	made := grant{
		id: s.id + "@" + time.Unix(0, start).In(zone).Format(time.DateOnly), kind: s.kind, priority: s.priority,
		effective: start, expires: end, created: t.a.seq + 1, amount: s.amount + carry, arrived: true, appliesTo: s.appliesTo,
	}
	postings := []Posting{{Book: Issued, Amount: from - made.amount}}
	if from > 0 {
		postings = append(postings, Posting{Available, s.current, -from})
	}
	if -t.a.books[Issued]+made.amount-from > issuedMax {
		return // it has been granted all that an account can be in its life
	}
	s.current = made.id
	t.a.add(made)
	t.post(Event{
		Movement: Granting, Grant: made.id, Made: []Terms{made.terms()},
		Postings: append(postings, Posting{Available, made.id, made.amount}),
	})
}

// start returns when the n-th period begins. A day that the month does not have is its last.
func (s *series) start(n int, zone *time.Location) int64 {
	t := time.Unix(0, s.anchor).In(zone)
	year, month, day := t.Date()
	switch s.every {
	case Daily:
		day += n
	case Weekly:
		day += 7 * n
	default:
		months := n
		if s.every == Yearly {
			months = 12 * n
		}
		first := time.Date(year, month+time.Month(months), 1, 0, 0, 0, 0, time.UTC)
		lastDay := first.AddDate(0, 1, -1).Day()
		year, month, day = first.Year(), first.Month(), min(day, lastDay)
	}
	begins := time.Date(year, month, day, t.Hour(), t.Minute(), t.Second(), t.Nanosecond(), zone)
	if begins.Year() > 2261 { // beyond what nanoseconds can count
		return never
	}
	return begins.UnixNano()
}

// period returns which period it is at a time that is not before the anchor.
func (s *series) period(now int64, zone *time.Location) int {
	from, to := time.Unix(0, s.anchor).In(zone), time.Unix(0, now).In(zone)
	var n int
	switch s.every {
	case Daily:
		n = int(to.Sub(from) / (24 * time.Hour))
	case Weekly:
		n = int(to.Sub(from) / (7 * 24 * time.Hour))
	default:
		n = 12*(to.Year()-from.Year()) + int(to.Month()-from.Month())
		if s.every == Yearly {
			n /= 12
		}
	}
	for n > 0 && s.start(n, zone) > now {
		n--
	}
	for s.start(n+1, zone) <= now {
		n++
	}
	return n
}

// zoneOf returns the zone of an IANA name; none is UTC. What it knows may change with the system or the program: the
// digests of replicas that then differ do so at the next comparison.
func zoneOf(name string) (*time.Location, error) {
	if name == "Local" {
		return nil, fmt.Errorf("%w: zone %q is another one on each node", ErrInvalid, name)
	}
	zone, err := time.LoadLocation(name)
	if err != nil {
		return nil, fmt.Errorf("%w: unknown time zone %.64q", ErrInvalid, name)
	}
	return zone, nil
}

// zone remembers what zoneOf found.
func (m *Machine) zone(name string) (*time.Location, error) {
	if zone := m.zones[name]; zone != nil {
		return zone, nil
	}
	zone, err := zoneOf(name)
	if err == nil {
		m.zones[name] = zone
	}
	return zone, err
}
