package chaos

import "slices"

// Judge has every checker look at a history and returns what each found, in the order of their ids. rules are of the
// limits that the workload meets; where none are given, what concerns limits is inconclusive.
func Judge(h *History, rules []Limit) []Result {
	s := newStudy(h, rules)
	b := s.books()
	var all []Result
	for _, check := range []func() Result{
		s.overAdmission, s.goodput, s.singleHome, s.epochAgreement, s.honestReplies, s.fallbacks, b.purchases,
		b.conservation, b.floor, b.exactlyOnce, b.sameReply, b.linearizable, b.durable, b.equalReplicas, b.sessionReads, b.noPhantom, b.outbox,
	} {
		all = append(all, check())
	}
	return slices.Concat(all, s.availability(DefaultTargets()), s.harness(DefaultEffort()))
}

// Verdict sums results up: refuted if any is, held if all are, else inconclusive. No result is inconclusive.
func Verdict(results []Result) Status {
	has := func(s Status) bool {
		return slices.ContainsFunc(results, func(r Result) bool { return r.Status == s })
	}
	switch {
	case has(Refuted):
		return Refuted
	case has(Inconclusive) || len(results) == 0:
		return Inconclusive
	}
	return Held
}
