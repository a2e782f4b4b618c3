package client

import (
	"fmt"
	"math/rand/v2"
	"slices"

	weirv1 "github.com/weir-cluster/weir/api/weir/v1"
	"github.com/weir-cluster/weir/ring"
)

const (
	hashName = "xxhash64" // of accounts to partitions
	triesMax = 4          // nodes that one call turns to
)

// routes are a view, and the ways to its members. They do not change.
type routes struct {
	view    View
	members []*link // parallel to the view's; nil for one that is not alive
	alive   []*link
	domains map[string]*Domain
}

// ofView reads a view off the wire, or says why it cannot be routed by.
func ofView(v *weirv1.View) (View, error) {
	if v.GetHash() != hashName || v.GetPartitions() != ring.Partitions || len(v.GetHomes()) != ring.Partitions || len(v.GetDeputies()) != ring.Partitions {
		return View{}, fmt.Errorf("a view of %d partitions by %q, %d homes, %d deputies: expected %d by %q", v.GetPartitions(),
			v.GetHash(), len(v.GetHomes()), len(v.GetDeputies()), ring.Partitions, hashName)
	}
	out := View{
		Epoch: v.GetEpoch(), Cluster: v.GetCluster(), Node: v.GetNode(), Leader: v.GetLeader(), PolicyVersion: v.GetPolicyVersion(),
		Hash: v.GetHash(), Partitions: int(v.GetPartitions()), Homes: narrow(v.GetHomes()), Deputies: narrow(v.GetDeputies()),
	}
	for _, m := range v.GetMembers() {
		out.Members = append(out.Members, Member{
			Name: m.GetName(), Boot: m.GetBoot(), HTTP: m.GetHttp(), GRPC: m.GetGrpc(), Peer: m.GetPeer(), Zone: m.GetZone(),
			Standing: m.GetStanding(), Alive: m.GetAlive(), Voter: m.GetVoter(), Clients: int(m.GetClients()),
			Weight: int(m.GetWeight()), Joining: m.GetJoining(), Arriving: int(m.GetArriving()), Epoch: m.GetEpoch(), Version: m.GetVersion(),
		})
	}
	for _, d := range v.GetDomains() {
		out.Domains = append(out.Domains, Domain{Name: d.GetName(), Account: d.GetAccount(), Fallback: fallbackWord(d.GetFallback())})
	}
	return out, nil
}

func narrow(in []uint32) []uint16 {
	out := make([]uint16, len(in))
	for i, x := range in {
		out[i] = uint16(min(x, ring.None))
	}
	return out
}

// newer tells whether v may replace the view in use. One as old may: it can know more of who is alive.
func (v *View) newer(than *View) bool {
	if v.Epoch != than.Epoch {
		return v.Epoch > than.Epoch
	}
	return v.PolicyVersion >= than.PolicyVersion
}

// newRoutes finds the ways to the members of a view.
func newRoutes(v View, way func(address string) (*link, error)) *routes {
	r := &routes{view: v, members: make([]*link, len(v.Members)), domains: make(map[string]*Domain, len(v.Domains))}
	for i := range v.Members {
		if m := &v.Members[i]; m.Alive && m.GRPC != "" {
			if l, err := way(m.GRPC); err == nil {
				r.members[i] = l
				r.alive = append(r.alive, l)
			}
		}
	}
	for i := range v.Domains {
		r.domains[v.Domains[i].Name] = &v.Domains[i]
	}
	return r
}

// account returns the account that a request is for, or an empty one when this view cannot tell.
func (r *routes) account(q *CheckRequest) string {
	d := r.domains[q.Domain]
	if d == nil || len(d.Account) == 0 {
		return ""
	}
	var room [4]string
	values := room[:0]
	for _, name := range d.Account {
		values = append(values, q.Attributes[name])
	}
	id, err := ring.AccountID(values)
	if err != nil {
		return "" // a node says better what is wrong
	}
	return id
}

// living tells whether a node that answers is one that we think is alive.
func (r *routes) living(name string) bool {
	for i := range r.view.Members {
		if m := &r.view.Members[i]; m.Name == name {
			return m.Alive
		}
	}
	return false
}

// clients is how many clients live, as far as the view knows.
func (r *routes) clients() int64 {
	n := int64(0)
	if r != nil {
		for i := range r.view.Members {
			if m := &r.view.Members[i]; m.Alive {
				n += int64(m.Clients)
			}
		}
	}
	return max(n, 1)
}

// way is the nodes to turn to, in order. The first is the home if direct is set.
type way struct {
	nodes  [triesMax]*link
	n      int
	direct bool
}

func (w *way) add(l *link) {
	if l != nil && w.n < triesMax && !slices.Contains(w.nodes[:w.n], l) {
		w.nodes[w.n] = l
		w.n++
	}
}

// toHome is the way of what belongs to a partition: its home, its deputy, any other.
func (r *routes) toHome(partition uint16) way {
	var w way
	w.add(r.member(r.view.Homes[partition]))
	w.direct = w.n == 1
	w.add(r.member(r.view.Deputies[partition]))
	r.others(&w)
	return w
}

// toAny is the way of what every node takes. It starts at a random one.
func (r *routes) toAny() way {
	var w way
	r.others(&w)
	return w
}

func (r *routes) others(w *way) {
	if len(r.alive) == 0 {
		return
	}
	start := rand.IntN(len(r.alive))
	for i := range r.alive {
		w.add(r.alive[(start+i)%len(r.alive)])
	}
}

func (r *routes) member(i uint16) *link {
	if int(i) >= len(r.members) {
		return nil
	}
	return r.members[i]
}
