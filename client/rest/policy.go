package rest

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// PolicyVersion is a policy that was in force, or is.
type PolicyVersion struct {
	Version uint64    `json:"version"`
	At      time.Time `json:"at,omitzero"` // of the cluster's log
	Note    string    `json:"note,omitempty"`
	Bytes   int       `json:"bytes"`
	Hash    string    `json:"hash"` // of the text
}

// PolicyText returns the policy in force, as it was written, and its version. A cluster without one
// answers a Problem of status 404.
func (c *Client) PolicyText(ctx context.Context) (text []byte, version uint64, err error) {
	return c.policyText(ctx, "/v1/policy")
}

// PolicyTextAt returns the text of a version. One that is not kept any more is a Problem of status 404.
func (c *Client) PolicyTextAt(ctx context.Context, version uint64) ([]byte, error) {
	text, _, err := c.policyText(ctx, "/v1/policy/"+strconv.FormatUint(version, 10))
	return text, err
}

func (c *Client) policyText(ctx context.Context, path string) (text []byte, version uint64, err error) {
	a, err := c.send(ctx, call{method: http.MethodGet, path: path, repeatable: true})
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

// PolicyHistory returns the versions that the cluster keeps, newest first; the first is in force.
func (c *Client) PolicyHistory(ctx context.Context) ([]PolicyVersion, error) {
	h, err := look[struct {
		Versions []PolicyVersion `json:"versions"`
	}](ctx, c, "/v1/policy/history")
	return h.Versions, err
}

// RollbackPolicy puts the text of an earlier version in force again and returns the version it has now. ifMatch
// is as in ApplyPolicy, and so is what an error means.
func (c *Client) RollbackPolicy(ctx context.Context, to uint64, ifMatch string) (uint64, error) {
	q, err := post("/v1/policy:rollback", struct {
		Version uint64 `json:"version"`
	}{to})
	if err != nil {
		return 0, err
	}
	return c.replacePolicy(ctx, q, ifMatch)
}

// ApplyPolicy puts text in force and returns its version. With ifMatch, the version that must be in force
// now, it replaces no other; empty replaces any. The note goes into the history. A policy with mistakes is a Problem that lists them.
// After another error the policy may or may not be in force: ask PolicyText.
func (c *Client) ApplyPolicy(ctx context.Context, text []byte, ifMatch, note string) (uint64, error) {
	q := call{method: http.MethodPut, path: "/v1/policy", body: text, contentType: "application/yaml"}
	if note != "" {
		q.path += "?" + url.Values{"note": {note}}.Encode()
	}
	return c.replacePolicy(ctx, q, ifMatch)
}

func (c *Client) replacePolicy(ctx context.Context, q call, ifMatch string) (uint64, error) {
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
