package rest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
)

// Backup copies a backup of the ledger and the policy to w, as the leader has them; another node answers with a Problem that names
// the leader. It asks the first address only, and takes as long as ctx allows. What was written before an error is of no use.
func (c *Client) Backup(ctx context.Context, w io.Writer) error {
	from := http.MethodGet + " " + c.nodes[0] + "/v1/ledger/snapshot"
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, c.nodes[0]+"/v1/ledger/snapshot", nil)
	if err != nil {
		return fmt.Errorf("%s: %w", from, err)
	}
	a, err := c.http.Do(q)
	if err != nil {
		return fmt.Errorf("%s: %w", from, err)
	}
	defer a.Body.Close()
	if a.StatusCode != http.StatusOK {
		body, err := io.ReadAll(io.LimitReader(a.Body, replyBytesMax))
		r := reply{from: from, status: a.StatusCode, body: body, media: mediaOf(a)}
		return errors.Join(r.problem(), err)
	}
	if _, err := io.Copy(w, a.Body); err != nil {
		return fmt.Errorf("%s: read the answer: %w", from, err)
	}
	return nil
}
