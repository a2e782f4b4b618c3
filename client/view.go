package client

import "github.com/weir-cluster/weir/ring"

// View is what the cluster agreed on: who is in it and who decides for which partition.
type View struct {
	Epoch         uint64   `json:"epoch"`
	Cluster       string   `json:"cluster"` // its id
	Node          string   `json:"node"`    // the node that answered
	Leader        string   `json:"leader"`  // name of the leading voter, empty while there is none
	PolicyVersion uint64   `json:"policy_version"`
	Hash          string   `json:"hash"` // of accounts to partitions
	Partitions    int      `json:"partitions"`
	Members       []Member `json:"members"`
	Homes         []uint16 `json:"homes"` // by partition: index into Members, 65535 for none
	Deputies      []uint16 `json:"deputies"`
	Domains       []Domain `json:"domains,omitempty"`
}

// Domain is what finds the account of a request, and so its home.
type Domain struct {
	Name     string   `json:"name"`
	Account  []string `json:"account,omitempty"`  // attributes whose values, in this order, name the account; none for an Envoy tree
	Fallback string   `json:"fallback,omitempty"` // share, open or closed if all its limits have the same
}

// Member is a node on the roster. Absent ones stay on it, so that indexes keep their meaning.
type Member struct {
	Name     string `json:"name"`
	Boot     string `json:"boot"` // changes with every start of the node
	HTTP     string `json:"http"` // address of its HTTP API
	GRPC     string `json:"grpc"`
	Peer     string `json:"peer"`
	Zone     string `json:"zone"`
	Standing string `json:"standing"` // steady, leaving, absent
	Alive    bool   `json:"alive"`    // as gossip sees it from the node that answered
	Voter    bool   `json:"voter"`
	Clients  int    `json:"clients,omitempty"`  // that watch the view there
	Weight   int    `json:"weight,omitempty"`   // its share of the partitions, compared with the others'
	Joining  bool   `json:"joining,omitempty"`  // not everyone has heard of it yet
	Arriving int    `json:"arriving,omitempty"` // partitions that are being moved to it
	Epoch    uint64 `json:"epoch,omitempty"`    // that it goes by, as gossip last told
	Version  string `json:"version,omitempty"`  // of its program, as gossip last told
	// LeaseLeftMS is how long it may still decide as home; nil when the node that answered does not know: each knows its own,
	// the leader all.
	LeaseLeftMS *int64 `json:"lease_left_ms,omitempty"`
}

// State is what a person would call its state: steady, joining, leaving, absent, or silent when it has a part in the view and the
// node that answered does not see it.
func (m Member) State() string {
	switch {
	case m.Standing != "absent" && !m.Alive:
		return "silent"
	case m.Standing == "steady" && m.Joining:
		return "joining"
	default:
		return m.Standing
	}
}

// Place is where an account is decided for. Home and Deputy are nil where the view names none.
type Place struct {
	Partition uint16  `json:"partition"`
	Home      *Member `json:"home"`
	Deputy    *Member `json:"deputy"`
}

// Place returns where an account of a domain is decided for under this view. The account is an account
// id: several values are already joined.
func (v View) Place(domain, account string) Place {
	p := ring.Partition(domain, account)
	return Place{Partition: p, Home: v.member(v.Homes, p), Deputy: v.member(v.Deputies, p)}
}

func (v View) member(owners []uint16, p uint16) *Member {
	if int(p) >= len(owners) || int(owners[p]) >= len(v.Members) {
		return nil
	}
	return &v.Members[owners[p]]
}
