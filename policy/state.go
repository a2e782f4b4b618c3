package policy

import (
	"crypto/rand"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/weir-cluster/weir/limiter"
)

// decision begins the plan's decision anew, with the limits as the takes left them.
func (p *plan) decision() *Decision {
	d := p.answer
	*d = Decision{PolicyVersion: p.policy.version, Limits: p.states[:0]}
	for i := range p.takes {
		t, l := &p.takes[i], p.limits[i]
		_, own := p.special.bound(l.name, p.at)
		d.Limits = append(d.Limits, LimitState{
			Name: l.name, Limit: t.Limit.Count, Window: window(t.Limit), Meter: p.domain.meters[l.meter],
			Remaining: t.Remaining, Reset: t.Reset, Wait: t.Wait, Refused: t.Refused,
			Shadow: t.Shadow, InFlight: t.Limit.Algorithm == limiter.Concurrency, Overridden: own,
			Burst: burst(t.Limit), Spill: l.spill, Fallback: fallbackWords[l.fallback],
		})
		if p.explain {
			p.step("limit "+l.name, resultWord(t), fmt.Sprintf("%d %s asked, %d taken, %d left", t.Cost, p.domain.meters[l.meter], t.Taken, t.Remaining))
		}
	}
	return d
}

func resultWord(t *limiter.Take) string {
	switch {
	case t.Refused && t.Shadow:
		return "would refuse"
	case t.Refused:
		return "refuses"
	}
	return "admits"
}

// ids makes the ids of decisions: ULIDs, whose randomness is drawn for many at once.
type ids struct {
	room [64 * 10]byte
	left []byte // of room, what no id has used yet
}

func (s *ids) next(at time.Time) (id ulid.ULID) {
	if len(s.left) == 0 {
		s.left = s.room[:]
		_, _ = rand.Read(s.left) // it never fails
	}
	_ = id.SetTime(ulid.Timestamp(at)) // beyond the year 10889 an id carries no time
	n := copy(id[6:], s.left)
	s.left = s.left[n:]
	return id
}

// burst is a limit's capacity where it is not its count.
func burst(l *limiter.Limit) int64 {
	if l.Burst == l.Count {
		return 0
	}
	return l.Burst
}

// window is the length of a limit's window as LimitState tells it.
func window(l *limiter.Limit) time.Duration {
	if l.Algorithm != limiter.CalendarWindow {
		return l.Period
	}
	switch l.Calendar {
	case limiter.Day:
		return day
	case limiter.Week:
		return 7 * day
	case limiter.Month:
		return 30 * day
	default:
		return 365 * day
	}
}

// terms says what a limit admits, in words.
func (p *plan) terms(i int) string {
	t, l := &p.takes[i], p.limits[i]
	text := "Limit " + l.name + " allows " + strconv.FormatInt(t.Limit.Count, 10) + " " + p.domain.meters[l.meter]
	switch t.Limit.Algorithm {
	case limiter.Concurrency:
		return text + " in flight"
	case limiter.CalendarWindow:
		return text + " per " + t.Limit.Calendar.String()
	}
	return text + " per " + periodWords(t.Limit.Period)
}

func periodWords(d time.Duration) string {
	switch d {
	case time.Second:
		return "second"
	case time.Minute:
		return "minute"
	case time.Hour:
		return "hour"
	case day:
		return "day"
	}
	return waitWords(d)
}

// waitWords rounds a wait up to what people read: whole seconds, or tenths below ten.
func waitWords(d time.Duration) string {
	unit := time.Second
	if d < 10*time.Second {
		unit = 100 * time.Millisecond
	}
	return plainDuration((d + unit - 1) / unit * unit)
}

// plainDuration writes a duration without the zeros that Go ends it with.
func plainDuration(d time.Duration) string {
	text := d.String()
	if short, ok := strings.CutSuffix(text, "m0s"); ok {
		text = short + "m"
	}
	if short, ok := strings.CutSuffix(text, "h0m"); ok {
		text = short + "h"
	}
	return text
}
