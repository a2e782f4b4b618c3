package ring

import "testing"

func TestAMemberThatOwnsNothingIsTakenOut(t *testing.T) {
	t.Parallel()
	roster := members(3)
	roster[1].Standing = Absent
	last := mustPlan(t, nil, roster, 1)
	last.Nexts[7] = 2
	last.Homes[7], last.Deputies[7] = 0, None
	kept := *last
	next, err := last.Without(1)
	if err != nil {
		t.Fatal(err)
	}
	if *last != kept {
		t.Error("the table was modified")
	}
	move := map[uint16]uint16{0: 0, 2: 1, None: None}
	for p := range Partitions {
		if next.Homes[p] != move[last.Homes[p]] || next.Deputies[p] != move[last.Deputies[p]] || next.Nexts[p] != move[last.Nexts[p]] {
			t.Fatalf("partition %d: %d, %d, %d", p, next.Homes[p], next.Deputies[p], next.Nexts[p])
		}
	}
	if next.Since != last.Since || next.Priors != last.Priors {
		t.Error("tenures changed")
	}
	for m := range uint16(3) {
		if _, err := last.Without(m); (err == nil) != (m == 1) {
			t.Errorf("member %d: %v", m, err)
		}
	}
	alone := &Table{}
	for p := range Partitions {
		alone.Deputies[p], alone.Nexts[p] = None, None
	}
	alone.Nexts[Partitions-1] = 1
	if _, err := alone.Without(1); err == nil {
		t.Error("a next home was taken out")
	}
}
