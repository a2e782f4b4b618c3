package sim

// expected are invariants that schedules may refute until the step of the plan that brings what keeps them. The table
// shrinks with each step; docs/chaos.md says why each entry is here. Nothing else is excused.
var expected = map[string]string{}
