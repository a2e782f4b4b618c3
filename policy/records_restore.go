package policy

import (
	"fmt"
	"slices"
	"time"

	"github.com/weir-cluster/weir/limiter"
	"github.com/weir-cluster/weir/ring"
)

// logSkew is by how much the clocks of two homes, and the ways that buckets and records took, may differ for a log to get
// its units back: the take is thought to be older by so much, so that it finds its run, or one a moment before.
const logSkew = 250 * time.Millisecond

// Restore takes in a chunk that Changes returned elsewhere, age ago. Of two reservations with one id the one that settlements
// have changed more often stays, of two decisions with one key the later one; a chunk that comes again changes nothing. What
// the policy in force here does not have is left out. At the bound of keys the decisions that would be forgotten next are.
//
// The error says what could not be taken in, and which record: it wraps ErrChunk, and then nothing was changed; or
// ErrUnavailable, when the sender knows a newer policy and nothing was changed, or when there was no room for some reservations.
func (rs *Records) Restore(p uint16, age time.Duration, chunk []byte) error {
	now := rs.c.Now()
	if err := rs.restore(p, now, now.Add(-max(age, 0)), chunk); err != nil {
		return fmt.Errorf("restore records of partition %d: %w", p, err)
	}
	return nil
}

func (rs *Records) restore(p uint16, now, then time.Time, chunk []byte) error {
	form, err := readChunk(p, chunk)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrChunk, err)
	}
	policy := rs.c.Policy()
	if policy == nil {
		return fmt.Errorf("%w: this node has no policy yet", ErrUnavailable)
	}
	in := arrival{rs: rs, policy: policy, now: now, then: then, known: map[place]*limit{}}
	for i := range form.reservations {
		if err := in.reservation(p, &form.reservations[i]); err != nil {
			return err
		}
	}
	for i := range form.firsts {
		if err := in.first(p, &form.firsts[i]); err != nil {
			return err
		}
	}
	if in.unknown != "" && form.version > policy.version {
		return fmt.Errorf("%w: %s is unknown under policy version %d, the chunk is of version %d", ErrUnavailable, in.unknown, policy.version, form.version)
	}
	return in.settle(p)
}

// arrival makes records of what was read.
type arrival struct {
	rs        *Records
	policy    *Policy
	now, then time.Time // then is when the chunk was made, by the clock here
	known     map[place]*limit
	unknown   string // something that the policy does not have
	held      []*reservation
	firsts    []*first
}

// domain returns the domain that a record is of, nil if there is none any more.
func (in *arrival) domain(p uint16, name, account string) (*Domain, error) {
	if at := ring.Partition(name, account); at != p {
		return nil, fmt.Errorf("%w: account %q of domain %q is of partition %d", ErrChunk, short(account), short(name), at)
	}
	d := in.policy.domains[name]
	if d == nil {
		in.unknown = fmt.Sprintf("domain %q", short(name))
	}
	return d, nil
}

func (in *arrival) first(p uint16, f *firstForm) error {
	d, err := in.domain(p, f.key.domain, f.key.account)
	until := in.then.Add(time.Duration(f.left))
	if err != nil || d == nil || !in.now.Before(until) {
		return err
	}
	in.firsts = append(in.firsts, &first{
		note: note{until: until}, partition: p, key: f.key, contents: f.contents, done: in.rs.decided, decision: f.decision,
	})
	return nil
}

func (in *arrival) reservation(p uint16, f *reservationForm) error {
	d, err := in.domain(p, f.domain, f.account)
	until := in.then.Add(time.Duration(f.left))
	if err != nil || d == nil || !in.now.Before(until) {
		return err
	}
	r := &reservation{
		note: note{until: until}, id: reservationID(p, f.id), ulid: f.id, domain: d,
		account: Account{Domain: d.name, ID: f.account, Payer: f.payer, Partition: p},
		order:   f.order, turn: make(chan struct{}, 1), foreign: true,
		state: state{
			revision: f.revision, debits: f.debits, draws: int(f.draws), ended: f.ended, last: f.last, answer: f.answer,
		},
	}
	r.answer.Final = f.ended
	if slices.Equal(r.order, d.order) {
		r.order = d.order
	}
	in.units(r, f)
	for i := range f.limits {
		in.limit(r, f, &f.limits[i])
	}
	in.held = append(in.held, r)
	return nil
}

// units fills in what the reservation has of each meter that the domain still has.
func (in *arrival) units(r *reservation, f *reservationForm) {
	var row price
	under := step{cost: f.cost}
	for _, n := range f.meters {
		m := slices.Index(r.domain.meters, n.name)
		if m < 0 {
			in.unknown = fmt.Sprintf("meter %q of domain %q", short(n.name), short(f.domain))
			continue
		}
		r.charged[m], r.spilled[m], row.per[m], under.more[m], under.short[m] = n.charged, n.spilled, n.price, n.more, n.short
	}
	if f.priced {
		r.row = &row
	}
	if f.cost > 0 {
		r.step = &under
	}
}

// limit adds what the reservation took from a limit, if there still is one that counts in the same bucket.
func (in *arrival) limit(r *reservation, f *reservationForm, n *limitForm) {
	l := in.find(r.domain, n.name)
	if l == nil || l.bound.Algorithm != n.algorithm || r.domain.meters[l.meter] != f.meters[n.meter].name {
		in.unknown = fmt.Sprintf("limit %q of domain %q", short(n.name), short(f.domain))
		return
	}
	t := limiter.Take{
		Key: n.key, Limit: &l.bound, Meter: l.meter, Whole: n.whole, Spill: n.spill, Charge: n.charge, Shadow: n.shadow, Slot: slotOf(f.id),
	}
	if own, is := in.policy.special(f.domain, f.account).bound(l.name, in.now); is {
		t.Limit = own
	}
	end := n.end * int64(time.Millisecond)
	if n.algorithm == limiter.RollingLog {
		end = max(0, in.then.UnixNano()+n.end-int64(logSkew))
	}
	if n.end > 0 && end > 0 {
		in.rs.recall(&t, end)
	} else {
		end = 0
	}
	r.limits, r.takes, r.ends = append(r.limits, l), append(r.takes, t), append(r.ends, end)
}

// find returns a domain's limit by name, nil if there is none.
func (in *arrival) find(d *Domain, name string) *limit {
	at := place{domain: d.name, limit: name}
	l, known := in.known[at]
	if !known {
		d.each(func(o *limit) {
			if l == nil && o.name == name {
				l = o
			}
		})
		in.known[at] = l
	}
	return l
}

// settle puts the records on their shelf.
func (in *arrival) settle(p uint16) error {
	rs := in.rs
	rs.mu.Lock()
	defer rs.mu.Unlock()
	s := &rs.shelves[p]
	refused := 0
	for _, r := range in.held {
		have := s.reservations[r.id]
		switch {
		case have != nil && have.revision >= r.revision:
		case have == nil && !rs.roomLocked(in.now):
			refused++
		default:
			rs.put(r)
		}
	}
	for _, f := range in.firsts {
		if have := s.firsts[f.key]; have != nil {
			if have.place == 0 || have.decision.ID == f.decision.ID || !f.until.After(have.until) {
				continue
			}
			rs.forget(have)
		}
		rs.add(f)
		rs.soonest.push(f)
		rs.note(p, f)
		if rs.keys > rs.c.KeysMax {
			rs.forget(rs.soonest.front())
		}
	}
	if refused > 0 {
		return fmt.Errorf("%w: this node holds %d reservations, as many as it may, and has no room for %d more", ErrUnavailable, rs.reserved, refused)
	}
	return nil
}
