package transport

import (
	"fmt"
	"net/http"

	"github.com/weir-cluster/weir/cluster"
	"github.com/weir-cluster/weir/policy"
	"github.com/weir-cluster/weir/ring"
)

type viewBody struct {
	Epoch         uint64       `json:"epoch"`
	Cluster       string       `json:"cluster"`
	Node          string       `json:"node"`
	Leader        string       `json:"leader"`
	PolicyVersion uint64       `json:"policy_version"`
	Hash          string       `json:"hash"`
	Partitions    uint32       `json:"partitions"`
	Members       []memberBody `json:"members"`
	Homes         []uint32     `json:"homes"`
	Deputies      []uint32     `json:"deputies"`
	Domains       []domainBody `json:"domains"`
}

// domainBody is what a client must know of a domain to find an account's home.
type domainBody struct {
	Name     string   `json:"name"`
	Account  []string `json:"account"`
	Fallback string   `json:"fallback,omitempty"` // that all its limits share
}

type memberBody struct {
	Name        string  `json:"name"`
	Boot        string  `json:"boot"`
	HTTP        string  `json:"http"`
	GRPC        string  `json:"grpc"`
	Peer        string  `json:"peer"`
	Zone        string  `json:"zone"`
	Standing    string  `json:"standing"`
	Alive       bool    `json:"alive"`
	Voter       bool    `json:"voter"`
	Clients     uint32  `json:"clients"`
	Weight      uint32  `json:"weight"`
	Joining     bool    `json:"joining"`
	Arriving    uint32  `json:"arriving"`
	Epoch       uint64  `json:"epoch"`
	Version     string  `json:"version"`
	LeaseLeftMS *uint32 `json:"lease_left_ms,omitempty"` // nil: not known
}

// homeBody is who decides for one account.
type homeBody struct {
	Partition uint16     `json:"partition"`
	Home      *placeBody `json:"home"` // nil for none
	Deputy    *placeBody `json:"deputy"`
	Next      *placeBody `json:"next"`  // to whom it is being moved
	Since     uint64     `json:"since"` // the epoch since which the home is it
	Epoch     uint64     `json:"epoch"`
}

type placeBody struct {
	Name string `json:"name"`
	HTTP string `json:"http"`
	GRPC string `json:"grpc"`
}

func toPlaceBody(m cluster.Member, is bool) *placeBody {
	if !is {
		return nil
	}
	return &placeBody{m.Name, m.HTTP, m.GRPC}
}

// home answers GET /v1/domains/{domain}/accounts/{id}/home.
func (s *HTTPServer) home(w http.ResponseWriter, r *http.Request) {
	v := s.Views.Topology().View
	if v == nil {
		fail(w, fmt.Errorf("%w: this node knows no view yet", policy.ErrUnavailable))
		return
	}
	if current := s.Policy(); current != nil {
		if _, err := current.Domain(r.PathValue("domain")); err != nil {
			fail(w, err)
			return
		}
	}
	p := ring.Partition(r.PathValue("domain"), r.PathValue("id"))
	write(w, http.StatusOK, mediaJSON, homeBody{
		Partition: p, Home: toPlaceBody(v.Home(p)), Deputy: toPlaceBody(v.Deputy(p)), Next: toPlaceBody(v.Next(p)),
		Since: v.Table.Since[p], Epoch: v.Epoch,
	})
}

// view answers GET /v1/view.
func (s *HTTPServer) view(w http.ResponseWriter, _ *http.Request) {
	t := s.Views.Topology()
	if t.View == nil {
		fail(w, fmt.Errorf("%w: this node knows no view yet", policy.ErrUnavailable))
		return
	}
	write(w, http.StatusOK, mediaJSON, toViewBody(t))
}

func toViewBody(t Topology) viewBody {
	v := toView(t)
	b := viewBody{
		Epoch: v.GetEpoch(), Cluster: v.GetCluster(), Node: v.GetNode(), Leader: v.GetLeader(),
		PolicyVersion: v.GetPolicyVersion(), Hash: v.GetHash(), Partitions: v.GetPartitions(),
		Homes: v.GetHomes(), Deputies: v.GetDeputies(), Members: make([]memberBody, len(v.GetMembers())), Domains: make([]domainBody, len(t.Domains)),
	}
	for i, m := range v.GetMembers() {
		b.Members[i] = memberBody{
			m.GetName(), m.GetBoot(), m.GetHttp(), m.GetGrpc(), m.GetPeer(), m.GetZone(),
			m.GetStanding(), m.GetAlive(), m.GetVoter(), m.GetClients(), m.GetWeight(), m.GetJoining(), m.GetArriving(),
			m.GetEpoch(), m.GetVersion(), m.LeaseLeftMs,
		}
	}
	for i, d := range t.Domains {
		b.Domains[i] = domainBody{d.Name, append([]string{}, d.Account...), d.Fallback}
	}
	return b
}
