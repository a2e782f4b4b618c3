package rest

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/weir-cluster/weir/client"
)

// Terms are what an account has instead of a limit's own numbers, as a policy writes them; what is left out stays
// as the policy says. A zero Until is for good.
type Terms struct {
	Rate   string    `json:"rate,omitempty"` // such as 600/min
	Burst  int64     `json:"burst,omitempty"`
	Limit  int64     `json:"limit,omitempty"`
	Window string    `json:"window,omitempty"` // such as 1h
	Until  time.Time `json:"until,omitzero"`
}

// Override is an account's own numbers for the limit Name.
type Override struct {
	Account string `json:"account"`
	Name    string `json:"name"`
	Terms
	Idle string `json:"idle,omitempty"` // why it has no effect under the policy in force; empty when it has
}

// Block refuses everything of an account. A zero Until is for good; Why is a sentence for the user.
type Block struct {
	Account string    `json:"account,omitempty"`
	Why     string    `json:"why,omitempty"`
	Until   time.Time `json:"until,omitzero"`
}

// Special is what holds for some accounts beside the policy.
type Special struct {
	Overrides []Override `json:"overrides"`
	Blocks    []Block    `json:"blocks"`
}

// Standing is how an account stands with every limit that applies to it.
type Standing struct {
	Domain        string         `json:"domain"`
	Account       string         `json:"account"`
	Blocked       *Block         `json:"blocked,omitempty"` // nil when it is not
	Limits        []client.Limit `json:"limits"`
	PolicyVersion uint64         `json:"policy_version"`
	Home          string         `json:"home"` // the node that looked
	Epoch         uint64         `json:"epoch"`
}

// SetOverride gives an account other numbers for a limit. This and the other changes below are agreed by the
// cluster, hold on every node within a second, and return the revision of what is agreed. Setting, unsetting,
// blocking and unblocking may be repeated after an error.
func (c *Client) SetOverride(ctx context.Context, domain, account, limit string, t Terms) (revision uint64, err error) {
	return change(ctx, c, http.MethodPut, overridePath(domain, account, limit), &t)
}

// UnsetOverride lets the policy's own numbers hold again; that there was no override changes nothing.
func (c *Client) UnsetOverride(ctx context.Context, domain, account, limit string) (revision uint64, err error) {
	return change[Terms](ctx, c, http.MethodDelete, overridePath(domain, account, limit), nil)
}

func overridePath(domain, account, limit string) string {
	return accountPath(domain, account) + "/overrides/" + url.PathEscape(limit)
}

func accountPath(domain, account string) string {
	return "/v1/domains/" + url.PathEscape(domain) + "/accounts/" + url.PathEscape(account)
}

// Block refuses everything of an account; b.Account is not looked at.
func (c *Client) Block(ctx context.Context, domain, account string, b Block) (revision uint64, err error) {
	b.Account = ""
	return change(ctx, c, http.MethodPut, accountPath(domain, account)+"/block", &b)
}

// Unblock has an account decided for by its limits again.
func (c *Client) Unblock(ctx context.Context, domain, account string) (revision uint64, err error) {
	return change[Block](ctx, c, http.MethodDelete, accountPath(domain, account)+"/block", nil)
}

// Reset starts the account's buckets of a limit afresh, of every limit when that is empty. A repetition after an
// error may reset once more.
func (c *Client) Reset(ctx context.Context, domain, account, limit string) (revision uint64, err error) {
	type reset struct {
		Limit string `json:"limit,omitempty"`
	}
	return change(ctx, c, http.MethodPost, accountPath(domain, account)+"/resets", &reset{limit})
}

// change sends one change, with a body unless v is nil.
func change[T any](ctx context.Context, c *Client, method, path string, v *T) (uint64, error) {
	q := call{method: method, path: path, repeatable: method != http.MethodPost}
	if v != nil {
		body, err := json.Marshal(v)
		if err != nil {
			return 0, fmt.Errorf("write the request to %s as JSON: %w", path, err)
		}
		q.body, q.contentType = body, "application/json"
	}
	a, err := c.send(ctx, q)
	if err != nil {
		return 0, err
	}
	if !a.ok() {
		return 0, a.problem()
	}
	done, err := decode[struct {
		Revision uint64 `json:"revision"`
	}](a)
	return done.Revision, err
}

// Special returns the overrides and blocks of an account, or of the whole domain when account is empty, as the
// node that answers knows them.
func (c *Client) Special(ctx context.Context, domain, account string) (Special, error) {
	path := "/v1/domains/" + url.PathEscape(domain)
	if account != "" {
		path = accountPath(domain, account)
	}
	return look[Special](ctx, c, path+"/overrides")
}

// Limits returns how an account stands with the limits that apply to it and to a request with these further
// attributes. It takes nothing.
func (c *Client) Limits(ctx context.Context, domain, account string, attributes map[string]string) (Standing, error) {
	q := url.Values{"domain": {domain}}
	for _, name := range slices.Sorted(maps.Keys(attributes)) {
		q.Add("attribute", name+":"+attributes[name])
	}
	return look[Standing](ctx, c, "/v1/accounts/"+url.PathEscape(account)+"/limits?"+q.Encode())
}

// look reads something as JSON.
func look[T any](ctx context.Context, c *Client, path string) (T, error) {
	var none T
	a, err := c.send(ctx, call{method: http.MethodGet, path: path, repeatable: true})
	if err != nil {
		return none, err
	}
	if !a.ok() {
		return none, a.problem()
	}
	return decode[T](a)
}
