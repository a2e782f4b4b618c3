package transport

import (
	"fmt"
	"net/http"

	"github.com/weir-cluster/weir/policy"
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
	Name     string `json:"name"`
	Boot     string `json:"boot"`
	HTTP     string `json:"http"`
	GRPC     string `json:"grpc"`
	Peer     string `json:"peer"`
	Zone     string `json:"zone"`
	Standing string `json:"standing"`
	Alive    bool   `json:"alive"`
	Voter    bool   `json:"voter"`
	Clients  uint32 `json:"clients"`
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
			m.GetStanding(), m.GetAlive(), m.GetVoter(), m.GetClients(),
		}
	}
	for i, d := range t.Domains {
		b.Domains[i] = domainBody{d.Name, append([]string{}, d.Account...), d.Fallback}
	}
	return b
}
