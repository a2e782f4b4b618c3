package rest

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/weir-cluster/weir/client"
)

// OpenAccount opens an account. For this and the other writes: the key makes a repetition the same
// write. ErrNoKey, ErrUnreachable and a Problem below status 500 mean that nothing was written; after any
// other error the outcome is unknown, and the caller repeats with the same key.
func (c *Client) OpenAccount(ctx context.Context, key string, a client.Account) (client.Receipt, error) {
	return write(ctx, c, "/v1/accounts", key, a)
}

// UpdateAccount changes what is named of an account.
func (c *Client) UpdateAccount(ctx context.Context, key, account string, a client.AccountChange) (client.Receipt, error) {
	q, err := post("/v1/accounts/"+url.PathEscape(account), a)
	if err != nil {
		return client.Receipt{}, err
	}
	q.method = http.MethodPatch
	return writeAs(ctx, c, key, q)
}

// Grant gives credit to an account.
func (c *Client) Grant(ctx context.Context, key, account string, g client.Grant) (client.Receipt, error) {
	return write(ctx, c, "/v1/accounts/"+url.PathEscape(account)+"/grants", key, g)
}

// VoidGrant takes back what is left of a grant, and ends one that recurs.
func (c *Client) VoidGrant(ctx context.Context, key, account, grant, memo string) (client.Receipt, error) {
	q := url.Values{"account": {account}}
	if memo != "" {
		q.Set("memo", memo)
	}
	return writeAs(ctx, c, key, call{method: http.MethodDelete, path: "/v1/grants/" + url.PathEscape(grant) + "?" + q.Encode()})
}

// Debit takes credit from an account. Too little credit is a Receipt that is Refused, not an error.
func (c *Client) Debit(ctx context.Context, key, account string, d client.Debit) (client.Receipt, error) {
	return write(ctx, c, "/v1/accounts/"+url.PathEscape(account)+"/debits", key, d)
}

// Authorize sets credit aside. The key is the id of the hold.
func (c *Client) Authorize(ctx context.Context, key, account string, h client.Hold) (client.Receipt, error) {
	return write(ctx, c, "/v1/accounts/"+url.PathEscape(account)+"/holds", key, h)
}

// Extend holds more, or longer.
func (c *Client) Extend(ctx context.Context, key, hold string, e client.Extension) (client.Receipt, error) {
	return write(ctx, c, "/v1/holds/"+url.PathEscape(hold)+":extend", key, e)
}

// Capture charges a hold.
func (c *Client) Capture(ctx context.Context, key, hold string, a client.Capture) (client.Receipt, error) {
	return write(ctx, c, "/v1/holds/"+url.PathEscape(hold)+":capture", key, a)
}

// Release gives back what is left of a hold.
func (c *Client) Release(ctx context.Context, key, hold, memo string) (client.Receipt, error) {
	return write(ctx, c, "/v1/holds/"+url.PathEscape(hold)+":release", key, struct {
		Memo string `json:"memo,omitempty"`
	}{memo})
}

// Refund gives back what a charge took: charge is the key of a debit or the id of a hold.
func (c *Client) Refund(ctx context.Context, key, charge string, r client.Refund) (client.Receipt, error) {
	return write(ctx, c, "/v1/charges/"+url.PathEscape(charge)+":refund", key, r)
}

// Adjust corrects a balance by hand.
func (c *Client) Adjust(ctx context.Context, key, account string, a client.Adjustment) (client.Receipt, error) {
	return write(ctx, c, "/v1/accounts/"+url.PathEscape(account)+"/adjustments", key, a)
}

// Account returns an account as the ledger has it now (linearizable).
func (c *Client) Account(ctx context.Context, id string) (client.Statement, error) {
	return c.AccountAsOf(ctx, id, client.Read{})
}

// AccountAsOf returns an account as of what r asks for.
func (c *Client) AccountAsOf(ctx context.Context, id string, r client.Read) (client.Statement, error) {
	return look[client.Statement](ctx, c, "/v1/accounts/"+url.PathEscape(id)+freshness(r))
}

// LedgerStatus returns what the ledger as a whole has. With a wide MaxStaleness a voter tells what its own replica has.
func (c *Client) LedgerStatus(ctx context.Context, r client.Read) (client.LedgerStatus, error) {
	return look[client.LedgerStatus](ctx, c, "/v1/ledger/status"+freshness(r))
}

// freshness is the query of a read.
func freshness(r client.Read) string {
	q := url.Values{}
	if r.MaxStaleness > 0 {
		q.Set("consistency", "bounded")
		q.Set("max_staleness_ms", strconv.FormatInt(max(1, int64(r.MaxStaleness/time.Millisecond)), 10))
	}
	if r.MinIndex > 0 {
		q.Set("min_index", strconv.FormatUint(r.MinIndex, 10))
	}
	if len(q) == 0 {
		return ""
	}
	return "?" + q.Encode()
}

// Entries lists up to limit (1 to 256) movements of an account beyond the seq after, oldest first, as the ledger has
// them now (linearizable). It keeps them for a time only: if the first one's Seq is not after+1, those between are gone.
func (c *Client) Entries(ctx context.Context, account string, after uint64, limit int) ([]client.Entry, error) {
	h, err := c.History(ctx, account, client.Page{After: after, Limit: limit})
	return h.Entries, err
}

// History lists a page of the movements of an account.
func (c *Client) History(ctx context.Context, account string, p client.Page) (client.History, error) {
	q := url.Values{}
	switch {
	case p.Cursor != "":
		q.Set("cursor", p.Cursor)
	case p.NewestFirst:
		q.Set("order", "newest")
	default:
		q.Set("after", strconv.FormatUint(p.After, 10))
	}
	if p.Limit != 0 {
		q.Set("limit", strconv.Itoa(p.Limit))
	}
	return look[client.History](ctx, c, "/v1/accounts/"+url.PathEscape(account)+"/entries?"+q.Encode())
}

func write[T any](ctx context.Context, c *Client, path, key string, v T) (client.Receipt, error) {
	q, err := post(path, v)
	if err != nil {
		return client.Receipt{}, err
	}
	return writeAs(ctx, c, key, q)
}

func writeAs(ctx context.Context, c *Client, key string, q call) (client.Receipt, error) {
	if key == "" {
		return client.Receipt{}, client.ErrNoKey
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
