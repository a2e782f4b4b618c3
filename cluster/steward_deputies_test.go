package cluster

import (
	"testing"
	"time"

	"github.com/weir-cluster/weir/ring"
)

// twoZones are members of two zones: a and b, c and d.
func twoZones() []Sighting {
	all := []Sighting{sighted("a", "1"), sighted("b", "1"), sighted("c", "1"), sighted("d", "1")}
	for i := range all {
		all[i].Zone = [...]string{"x", "x", "y", "y"}[i]
	}
	return all
}

// lag has homes say that they wait for a deputy.
func (c *tended) lag(deputy string, homes ...string) {
	c.now(func() {
		c.behind = nil
		for _, home := range homes {
			c.behind = append(c.behind, link{tenant{home, "1"}, tenant{deputy, "1"}})
		}
	})
}

// served counts the partitions of a home by their deputy.
func served(v *View, home string) map[string]int {
	all := make(map[string]int)
	for p := range uint16(ring.Partitions) {
		if m, _ := v.Home(p); m.Name == home {
			d, _ := v.Deputy(p)
			all[d.Name]++
		}
	}
	return all
}

func TestADeputyThatDoesNotAcknowledgeIsReplaced(t *testing.T) {
	tend(t, func(c *tended) {
		was := c.group.views.Current()
		if n := served(was, "a"); n["c"] == 0 || n["d"] == 0 {
			c.t.Fatalf("at first the deputies of a are %v", n)
		}
		c.fresh()
		c.lag("c", "a")
		views := c.changed(10 * time.Second) // the first replaces it, others give it parts of who else is home, for evenness
		if len(views) == 0 || len(views) > 8 || c.times[0] > time.Second {
			c.t.Fatalf("%d views", len(views))
		}
		if n := served(views[len(views)-1], "a"); n["c"] != 0 {
			c.t.Errorf("in the end the deputies of a are %v", n)
		}
		next := views[0]
		if n := served(next, "a"); n["c"] != 0 || n["b"] != 0 || n["d"] == 0 {
			c.t.Errorf("the deputies of a are %v: it should be one of the other zone", n)
		}
		for p := range uint16(ring.Partitions) {
			home, _ := was.Home(p)
			before, _ := was.Deputy(p)
			after, _ := next.Deputy(p)
			if (home.Name != "a" || before.Name != "c") && before != after {
				c.t.Fatalf("partition %d of %s: deputy %s became %s", p, home.Name, before.Name, after.Name)
			}
		}
		if next.Table.Homes != was.Table.Homes || next.Table.Moving() != 0 {
			c.t.Error("homes changed")
		}
		c.lag("c")
		c.fresh()
		if views := c.changed(30 * time.Second); len(views) != 0 {
			c.t.Errorf("%d views, though nothing happens", len(views))
		}
		c.changed(2 * time.Minute)
		if n := served(c.group.views.Current(), "a"); n["c"] == 0 {
			c.t.Errorf("much later the deputies of a are %v", n)
		}
	}, twoZones()...)
}

func TestANodeThatIsBehindForAllCostsOneView(t *testing.T) {
	tend(t, func(c *tended) {
		c.fresh()
		c.lag("c", "a", "b", "d")
		views := c.changed(30 * time.Second)
		if len(views) != 1 {
			c.t.Fatalf("%d views", len(views))
		}
		for _, home := range []string{"a", "b", "d"} {
			if n := served(views[0], home); n["c"] != 0 {
				c.t.Errorf("the deputies of %s are %v", home, n)
			}
		}
	}, twoZones()...)
}

func TestDeputiesAreReplacedOnceASecondAtMost(t *testing.T) {
	tend(t, func(c *tended) {
		c.fresh()
		for _, pair := range []string{"ca", "cb", "ac", "ad", "da", "db", "bc", "bd"} { // now this one, now that
			c.lag(pair[:1], pair[1:])
			time.Sleep(stewardEvery)
		}
		if views := c.changed(0); len(views) == 0 || len(views) > 4 {
			c.t.Errorf("%d views in less than two seconds", len(views))
		}
	}, twoZones()...)
}

func TestADeputyThatNobodyCanReplaceStays(t *testing.T) {
	tend(t, func(c *tended) {
		c.fresh()
		c.lag("b", "a")
		if views := c.changed(10 * time.Second); len(views) != 0 {
			c.t.Errorf("%d views", len(views))
		}
	}, sighted("a", "1"), sighted("b", "1"))
}

func TestALostDeputyIsReplacedBeforeItsLeaseEnds(t *testing.T) {
	tend(t, func(c *tended) {
		c.now(func() { c.unended["c"] = true })
		c.lose("c")
		c.fresh()
		c.lag("c", "a")
		views := c.changed(2 * time.Second)
		if len(views) != 1 || served(views[0], "a")["c"] != 0 || views[0].Table.Homes != c.group.views.Current().Table.Homes {
			c.t.Errorf("%d views", len(views))
		}
	}, twoZones()...)
}
