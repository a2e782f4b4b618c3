package client

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
)

// PolicyText returns the policy in force, as it was written, and its version. A cluster without one
// answers a Problem of status 404.
func (c *Client) PolicyText(ctx context.Context) (text []byte, version uint64, err error) {
	a, err := c.send(ctx, call{method: http.MethodGet, path: "/v1/policy", repeatable: true})
	if err != nil {
		return nil, 0, err
	}
	if !a.ok() {
		return nil, 0, a.problem()
	}
	version, err = strconv.ParseUint(strings.Trim(a.etag, `"`), 10, 64)
	if err != nil {
		return nil, 0, fmt.Errorf("%s: read the version in ETag %q: %w", a.from, a.etag, err)
	}
	return a.body, version, nil
}

// ApplyPolicy puts text in force and returns its version. With ifMatch, the version that must be in force
// now, it replaces no other; empty replaces any. A policy with mistakes is a Problem that lists them.
// After another error the policy may or may not be in force: ask PolicyText.
func (c *Client) ApplyPolicy(ctx context.Context, text []byte, ifMatch string) (uint64, error) {
	q := call{method: http.MethodPut, path: "/v1/policy", body: text, contentType: "application/yaml"}
	if ifMatch != "" {
		q.ifMatch = strconv.Quote(strings.Trim(ifMatch, `"`))
	}
	a, err := c.send(ctx, q)
	if err != nil {
		return 0, err
	}
	if !a.ok() {
		return 0, a.problem()
	}
	v, err := decode[struct {
		Version uint64 `json:"version"`
	}](a)
	return v.Version, err
}
