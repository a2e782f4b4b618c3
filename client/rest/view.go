package rest

import (
	"context"
	"fmt"
	"net/http"
	"net/url"

	"github.com/weir-cluster/weir/client"
	"github.com/weir-cluster/weir/ring"
)

// View returns the view of the node that answers; others may be an epoch ahead or behind for a moment.
func (c *Client) View(ctx context.Context) (client.View, error) {
	a, err := c.send(ctx, call{method: http.MethodGet, path: "/v1/view", repeatable: true})
	if err != nil {
		return client.View{}, err
	}
	if !a.ok() {
		return client.View{}, a.problem()
	}
	v, err := decode[client.View](a)
	if err != nil {
		return client.View{}, err
	}
	if v.Partitions != ring.Partitions || len(v.Homes) != v.Partitions || len(v.Deputies) != v.Partitions {
		return client.View{}, fmt.Errorf("%s: a view of %d partitions, %d homes, %d deputies: expected %d of each",
			a.from, v.Partitions, len(v.Homes), len(v.Deputies), ring.Partitions)
	}
	return v, nil
}

// Home is who decides for an account. Each of Home, Deputy and Next is nil when there is none.
type Home struct {
	Partition uint16 `json:"partition"`
	Home      *Node  `json:"home"`
	Deputy    *Node  `json:"deputy"`
	Next      *Node  `json:"next"`  // to whom it is being moved
	Since     uint64 `json:"since"` // epoch since which the home is it
	Epoch     uint64 `json:"epoch"` // of the view that says so
}

// Node is a member and where it is reached.
type Node struct {
	Name string `json:"name"`
	HTTP string `json:"http"`
	GRPC string `json:"grpc"`
}

// Home returns who decides for an account, by the view of the node that answers.
func (c *Client) Home(ctx context.Context, domain, account string) (Home, error) {
	return look[Home](ctx, c, accountPath(domain, account)+"/home")
}

// RemoveMember takes a member that is gone for good off the roster. It may be repeated after an error: a Problem of status 404 then
// says that it is off.
func (c *Client) RemoveMember(ctx context.Context, name string) error {
	a, err := c.send(ctx, call{method: http.MethodDelete, path: "/v1/members/" + url.PathEscape(name), repeatable: true})
	if err != nil {
		return err
	}
	if !a.ok() {
		return a.problem()
	}
	return nil
}
