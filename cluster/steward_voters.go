package cluster

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"time"

	"github.com/weir-cluster/weir/ring"
)

const (
	// lostWait is how long a voter must not be seen, or want to leave, before another takes its vote; and how long the other must
	// have been seen. Consul's autopilot waits as long. A restart takes less.
	lostWait = 10 * time.Second
	// voteWait is the least time between two votes taken or given, but while the group grows.
	voteWait = 5 * time.Second
	// lapMax is how long it may take a follower to get what the leader had at one look, gossip included, to count as
	// having caught up (Ongaro's dissertation, 4.2.1).
	lapMax = 2 * time.Second
)

// polls is what the steward remembers of voters, and of who may become one.
type polls struct {
	health  map[string]health
	laps    map[string]lap // of those that follow the log without a vote
	changed time.Time
}

// health is how a member is since when.
type health struct {
	server string
	well   bool // seen, and stays
	since  time.Time
}

// lap is a mark in the log that a follower must reach.
type lap struct {
	server string
	mark   uint64
	began  time.Time
}

// enrol keeps the number of voters, one change at a time: another takes the vote of one that is lost. The other follows the
// log first; it gets its vote when it has caught up, and then the lost one is struck off. Nothing is changed that would leave less
// than a majority of voters that are well.
func (s *Steward) enrol(ctx context.Context, o *office) error {
	voters, staged, err := s.Voters.Electorate()
	if err != nil || s.Gossip.Self().Leaving {
		return err
	}
	c := s.canvass(o, voters, staged)
	ctx, cancel := context.WithTimeout(ctx, actTimeout)
	defer cancel()
	if id := c.struckOff(); id != "" {
		if slices.Contains(slices.Collect(maps.Values(voters)), id) {
			o.polls.changed = o.at
		}
		s.Logger.Info("server struck off the group", "server", id)
		return s.Voters.Remove(ctx, id)
	}
	if id := c.superfluous(s.VotersMax); id != "" && o.at.Sub(o.polls.changed) >= voteWait {
		o.polls.changed = o.at
		s.Logger.Info("voter removed", "server", id)
		return s.Voters.Remove(ctx, id)
	}
	lacking := s.VotersMax - len(c.kept)
	if m, ok := c.caughtUp(o, s.Voters.Committed()); ok && lacking > 0 && o.at.Sub(o.polls.changed) >= voteWait {
		if len(c.lost) > 0 {
			o.polls.changed = o.at
		}
		s.Logger.Info("voter added", "member", m.Name, "server", m.Server)
		return s.Voters.Add(ctx, m.Member)
	}
	if m, ok := c.candidate(); ok && lacking > len(staged) {
		s.Logger.Info("voter staged", "member", m.Name, "server", m.Server)
		return s.Voters.Stage(ctx, m.Server, m.Name)
	}
	if lacking <= 0 && len(staged) > 0 {
		name := slices.Max(slices.Collect(maps.Keys(staged)))
		s.Logger.Info("voter not needed", "member", name)
		return s.Voters.Remove(ctx, staged[name])
	}
	return nil
}

// canvass is how the voters, and those who may become one, are at a look.
type canvass struct {
	self           string
	view           *View
	voters, staged map[string]string
	alive          map[string]Sighting
	health         map[string]health
	at             time.Time
	zones          map[string]int // voters that are kept, and who is staged, in each zone
	kept, lost     []string       // voters by name
	well           int            // voters that are
	laps           map[string]lap
}

func (s *Steward) canvass(o *office, voters, staged map[string]string) *canvass {
	c := &canvass{
		self: s.Gossip.Self().Name, view: s.Views.Current(), voters: voters, staged: staged, alive: make(map[string]Sighting),
		health: make(map[string]health), at: o.at, zones: make(map[string]int), laps: o.polls.laps,
	}
	for _, m := range s.Gossip.Alive() {
		c.alive[m.Name] = m
		c.note(o.polls.health[m.Name], m.Name, m.Server)
	}
	for _, name := range slices.Sorted(maps.Keys(voters)) {
		h := c.note(o.polls.health[name], name, voters[name])
		if h.well {
			c.well++
		}
		if !h.well && o.at.Sub(h.since) >= lostWait {
			c.lost = append(c.lost, name)
			continue
		}
		c.kept = append(c.kept, name)
		c.zones[c.zone(name)]++
	}
	for name, id := range staged {
		c.note(o.polls.health[name], name, id)
		c.zones[c.zone(name)]++
	}
	o.polls.health = c.health
	return c
}

// note notes how a member is as the server it should be.
func (c *canvass) note(was health, name, server string) health {
	m, seen := c.alive[name]
	h := health{server: server, well: seen && !m.Leaving && m.Server == server, since: c.at}
	if was.server == server && was.well == h.well {
		h.since = was.since
	}
	c.health[name] = h
	return h
}

func (c *canvass) zone(name string) string {
	if m, seen := c.alive[name]; seen || c.view == nil || c.view.Find(name) < 0 {
		return m.Zone
	}
	return c.view.Roster[c.view.Find(name)].Zone
}

// serves says whether the view lets a member own something: who is held down should not vote either.
func (c *canvass) serves(m Sighting) bool {
	return c.view == nil || c.view.names(tenant{m.Name, m.Boot}) && c.view.Roster[c.view.Find(m.Name)].Standing == ring.Steady
}

// struckOff returns a server that will not come back, since its member has another storage now, or one that was to get a vote and
// cannot any more.
func (c *canvass) struckOff() string {
	for _, name := range slices.Sorted(maps.Keys(c.voters)) {
		if m, seen := c.alive[name]; seen && m.Server != c.voters[name] && c.bears(len(c.voters)-1, c.well) {
			return c.voters[name]
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.staged)) {
		m, seen := c.alive[name]
		if seen && (m.Server != c.staged[name] || m.Leaving || !m.Voter) || !seen && c.at.Sub(c.health[name].since) >= lostWait {
			return c.staged[name]
		}
	}
	return ""
}

// bears says whether so many voters, so many of them well, have a majority that is.
func (c *canvass) bears(voters, well int) bool { return voters > 0 && 2*well > voters }

// superfluous returns a voter's server when there are enough others: a lost one, else one too many, of the zone that has most.
func (c *canvass) superfluous(most int) string {
	if len(c.lost) > 0 && len(c.kept) >= most && c.bears(len(c.voters)-1, c.well) {
		return c.voters[c.lost[0]]
	}
	if len(c.kept) <= most || len(c.lost) > 0 {
		return ""
	}
	name := slices.MaxFunc(c.kept, func(a, b string) int {
		return cmp.Or(
			truth(c.self != a)-truth(c.self != b), truth(!c.health[a].well)-truth(!c.health[b].well),
			c.zones[c.zone(a)]-c.zones[c.zone(b)], cmp.Compare(a, b),
		)
	})
	if !c.bears(len(c.voters)-1, c.well-truth(c.health[name].well)) {
		return ""
	}
	return c.voters[name]
}

func truth(b bool) int {
	if b {
		return 1
	}
	return 0
}

// caughtUp returns a member without a vote that has the log as far as it was agreed a moment ago.
func (c *canvass) caughtUp(o *office, committed uint64) (found Sighting, ok bool) {
	laps := make(map[string]lap, len(c.staged))
	for _, name := range slices.Sorted(maps.Keys(c.staged)) {
		m, l := c.alive[name], c.laps[name]
		reached := m.Log >= l.mark && l.server == c.staged[name]
		if reached && c.at.Sub(l.began) <= lapMax && m.Log > 0 && c.health[name].well && c.bears(len(c.voters)+1, c.well+1) && !ok {
			found, ok = m, true
		}
		if reached || l.server != c.staged[name] {
			l = lap{c.staged[name], committed, c.at}
		}
		laps[name] = l
	}
	o.polls.laps = laps
	return found, ok
}

// candidate returns who should follow the log to get a vote: of the zone with the fewest voters.
func (c *canvass) candidate() (best Sighting, ok bool) {
	for _, name := range slices.Sorted(maps.Keys(c.alive)) {
		m := c.alive[name]
		_, votes := c.voters[name]
		_, staged := c.staged[name]
		steady := len(c.lost) == 0 || c.at.Sub(c.health[name].since) >= lostWait
		if votes || staged || !m.Voter || !c.health[name].well || !steady || !c.serves(m) {
			continue
		}
		if !ok || c.zones[m.Zone] < c.zones[best.Zone] {
			best, ok = m, true
		}
	}
	return best, ok
}
