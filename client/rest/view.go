package rest

import (
	"context"
	"fmt"
	"net/http"

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
