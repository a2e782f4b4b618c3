package bench

import (
	_ "embed"
	"fmt"
	"math/rand/v2"
	"strconv"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	weirv1 "github.com/weir-cluster/weir/api/weir/v1"
	"github.com/weir-cluster/weir/client"
)

// Policy is what a cluster must have in force to be measured.
//
//go:embed policy.yaml
var Policy []byte

// The domains of Policy.
const (
	loadDomain  = "bench"
	auditDomain = "bench-audit"
	edgeDomain  = "bench-edge"
)

// Route says which node a check is sent to.
type Route string

// The routes.
const (
	Home   Route = "home"   // the home of its account
	Any    Route = "any"    // a random one, which forwards
	Single Route = "single" // always the first
	Away   Route = "away"   // never the home: every check is forwarded
)

// peer is a node as the load generator sees it.
type peer struct{ name, http, grpc string }

// target is who is measured: the nodes of a cluster, or a floor, which is home of everything.
type target struct {
	nodes []peer
	view  *client.View // nil for a floor
}

// floorTarget is a process of package floor.
func floorTarget(f Process) target { return target{nodes: []peer{{"floor", f.HTTP, f.GRPC}}} }

// home returns the index of the node that decides for an account.
func (g target) home(domain, account string) int {
	if g.view == nil {
		return 0
	}
	if m := g.view.Place(domain, account).Home; m != nil {
		for i, p := range g.nodes {
			if p.name == m.Name {
				return i
			}
		}
	}
	return 0 // it has none now, and any node may say so
}

// traffic is what is sent, and where to.
type traffic struct {
	to     target
	route  Route
	keys   int
	spread Spread
	batch  int // checks in a message
	seed   uint64
}

func user(key int) string { return "u" + strconv.Itoa(key) }

// attributes are those of the checks for one key, the account's first.
func attributes(key int) []*weirv1.Attribute {
	return []*weirv1.Attribute{{Name: "user", Value: user(key)}, {Name: "org", Value: "acme"}, {Name: "model", Value: "large"}}
}

// directions tells, for each key, the node a check is sent to. It is used by one goroutine.
func (f traffic) directions(domain string, homes []int, seed uint64) (func(key int) int, error) {
	n := len(f.to.nodes)
	switch f.route {
	case Home:
		return func(key int) int { return homes[key] }, nil
	case Away:
		return func(key int) int { return (homes[key] + 1) % n }, nil
	case Any:
		r := rand.New(rand.NewPCG(seed, 2))
		return func(int) int { return r.IntN(n) }, nil
	case Single:
		return func(int) int { return 0 }, nil
	}
	return nil, fmt.Errorf("route %q of domain %s: %s, %s, %s or %s", f.route, domain, Home, Any, Single, Away)
}

// homes returns the home of each key.
func (f traffic) homes(domain string) []int {
	all := make([]int, f.keys)
	for k := range all {
		all[k] = f.to.home(domain, user(k))
	}
	return all
}

// connections are one to each node of a target.
type connections []*grpc.ClientConn

func connect(to target) (connections, error) {
	var all connections
	for _, n := range to.nodes {
		c, err := grpc.NewClient(n.grpc, grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(answerBytesMax)))
		if err != nil {
			all.close()
			return nil, fmt.Errorf("connect to %s at %s: %w", n.name, n.grpc, err)
		}
		all = append(all, c)
	}
	return all, nil
}

const answerBytesMax = 16 << 20

func (c connections) close() {
	for _, one := range c {
		_ = one.Close()
	}
}
