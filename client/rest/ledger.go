package rest

import (
	"context"
	"net/http"
	"net/url"
	"strconv"

	"github.com/weir-cluster/weir/client"
)

// OpenAccount opens an account. For this and the other writes: the key makes a repetition the same
// write. ErrNoKey, ErrUnreachable and a Problem below status 500 mean that nothing was written; after any
// other error the outcome is unknown, and the caller repeats with the same key.
func (c *Client) OpenAccount(ctx context.Context, key string, a client.Account) (client.Receipt, error) {
	return write(ctx, c, "/v1/accounts", key, a)
}

// Grant gives credit to an account.
func (c *Client) Grant(ctx context.Context, key, account string, g client.Grant) (client.Receipt, error) {
	return write(ctx, c, "/v1/accounts/"+url.PathEscape(account)+"/grants", key, g)
}

// Debit takes credit from an account. Too little credit is a Receipt that is Refused, not an error.
func (c *Client) Debit(ctx context.Context, key, account string, d client.Debit) (client.Receipt, error) {
	return write(ctx, c, "/v1/accounts/"+url.PathEscape(account)+"/debits", key, d)
}

// Account returns an account as the ledger has it now (linearizable).
func (c *Client) Account(ctx context.Context, id string) (client.Statement, error) {
	a, err := c.send(ctx, call{method: http.MethodGet, path: "/v1/accounts/" + url.PathEscape(id), repeatable: true})
	if err != nil {
		return client.Statement{}, err
	}
	if !a.ok() {
		return client.Statement{}, a.problem()
	}
	return decode[client.Statement](a)
}

// Entries lists up to limit (1 to 256) movements of an account beyond the seq after, oldest first, as the ledger has
// them now (linearizable). It keeps the newest only: if the first one's Seq is not after+1, those between are gone.
func (c *Client) Entries(ctx context.Context, account string, after uint64, limit int) ([]client.Entry, error) {
	q := url.Values{"after": {strconv.FormatUint(after, 10)}, "limit": {strconv.Itoa(limit)}}
	l, err := look[struct {
		Entries []client.Entry `json:"entries"`
	}](ctx, c, "/v1/accounts/"+url.PathEscape(account)+"/entries?"+q.Encode())
	return l.Entries, err
}

func write[T any](ctx context.Context, c *Client, path, key string, v T) (client.Receipt, error) {
	if key == "" {
		return client.Receipt{}, client.ErrNoKey
	}
	q, err := post(path, v)
	if err != nil {
		return client.Receipt{}, err
	}
	q.key, q.repeatable = key, true
	a, err := c.send(ctx, q)
	if err != nil {
		return client.Receipt{}, err
	}
	r, err := decode[client.Receipt](a)
	if err == nil && r.Outcome != "" {
		if r.Status == 0 && !a.ok() {
			r.Status = a.status
		}
		return r, nil
	}
	if !a.ok() || err == nil {
		return client.Receipt{}, a.problem()
	}
	return client.Receipt{}, err
}
