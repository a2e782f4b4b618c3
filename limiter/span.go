package limiter

import "math/bits"

// span is an exact stretch of time, or a moment: ns - back/Count nanoseconds of a limit, 0 <= back < Count.
// So ns is the stretch rounded up, and units of any size add up without an error.
type span struct{ ns, back int64 }

// span returns how long a token bucket takes to gain the units: units * Period / Count. It must be spannable.
func (l *Limit) span(units int64) span {
	hi, lo := bits.Mul64(uint64(units), uint64(l.Period))
	ns, rest := bits.Div64(hi, lo, uint64(l.Count))
	if rest == 0 {
		return span{int64(ns), 0}
	}
	return span{int64(ns) + 1, l.Count - int64(rest)}
}

func (l *Limit) spannable(units int64) bool {
	hi, lo := bits.Mul64(uint64(units), uint64(l.Period))
	if hi >= uint64(l.Count) {
		return false
	}
	ns, _ := bits.Div64(hi, lo, uint64(l.Count))
	return ns < debtMax
}

// units returns how many units a token bucket gains in the span, (ns*Count - back) / Period, rounded down and up; 0 for a
// negative span.
func (l *Limit) units(s span) (whole, begun int64) {
	if s.ns <= 0 {
		return 0, 0
	}
	hi, lo := bits.Mul64(uint64(s.ns), uint64(l.Count))
	lo, borrow := bits.Sub64(lo, uint64(s.back), 0)
	units, rest := bits.Div64(hi-borrow, lo, uint64(l.Period))
	if rest > 0 {
		return int64(units), int64(units) + 1
	}
	return int64(units), int64(units)
}

func (l *Limit) plus(a, b span) span {
	s := span{a.ns + b.ns, a.back + b.back}
	if s.back >= l.Count {
		return span{s.ns - 1, s.back - l.Count}
	}
	return s
}

func (l *Limit) minus(a, b span) span {
	s := span{a.ns - b.ns, a.back - b.back}
	if s.back < 0 {
		return span{s.ns + 1, s.back + l.Count}
	}
	return s
}
