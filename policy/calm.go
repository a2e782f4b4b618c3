package policy

import "runtime"

// stride is after how many rules a compiler makes way: these take it about a quarter of a millisecond.
const stride = 128

// makeWay lets decisions that wait for a processor go first, after every stride of rules. A decision would else wait
// until the scheduler takes the processor from the compiler, which it does after 10 ms.
func makeWay(rule int) {
	if rule%stride == stride-1 {
		runtime.Gosched()
	}
}

// slab keeps short slices in few long arrays: to the collector, 10,000 rules are then a few dozen objects.
type slab[T any] struct{ last []T }

// keep returns a copy of the elements, nil of none.
func (s *slab[T]) keep(elements []T) []T {
	const least, most = 8, 1024
	if len(elements) == 0 {
		return nil
	}
	if len(s.last)+len(elements) > cap(s.last) {
		s.last = make([]T, 0, max(len(elements), least, min(2*cap(s.last), most)))
	}
	from := len(s.last)
	s.last = append(s.last, elements...)
	return s.last[from:len(s.last):len(s.last)]
}
