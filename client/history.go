package client

import (
	"context"
	"fmt"

	weirv1 "github.com/weir-cluster/weir/api/weir/v1"
)

// History lists a page of the movements of an account, as the ledger has them now (linearizable). ErrTooOld: they are from before
// what is kept.
func (k *Client) History(ctx context.Context, account string, p Page) (History, error) {
	r := &weirv1.ListEntriesRequest{Account: account, After: p.After, Limit: uint32(max(p.Limit, 0)), NewestFirst: p.NewestFirst, Cursor: p.Cursor}
	in, err := anywhere(ctx, k, func(ctx context.Context, l *link) (*weirv1.ListEntriesResponse, error) {
		return l.ledger.ListEntries(ctx, r)
	})
	if err != nil {
		return History{}, fmt.Errorf("history of %s: %w", account, err)
	}
	h := History{Entries: make([]Entry, len(in.GetEntries())), Next: in.GetNext()}
	for i, e := range in.GetEntries() {
		h.Entries[i] = Entry{
			Seq: e.GetSeq(), Event: e.GetEvent(), Movement: e.GetMovement(), IdempotencyKey: e.GetIdempotencyKey(), Memo: e.GetMemo(),
			Hold: e.GetHold(), Grant: e.GetGrant(), Charge: e.GetCharge(), Postings: make([]Posting, len(e.GetPostings())),
			BalanceAfterMicros: e.GetBalanceAfterMicros(), ForgivenMicros: e.GetForgivenMicros(), WrittenOffMicros: e.GetWrittenOffMicros(),
			Late: e.GetLate(), Index: e.GetIndex(), Term: e.GetTerm(), Time: instant(e.GetTime()),
		}
		for j, p := range e.GetPostings() {
			h.Entries[i].Postings[j] = Posting{Book: p.GetBook(), Grant: p.GetGrant(), AmountMicros: p.GetAmountMicros()}
		}
	}
	return h, nil
}

// SetCursor notes that a consumer of the events has dealt with all of them up to a seq, and returns where its cursor is: it never
// goes back. Events from there on are kept for it, as far as the journal's bound allows. It may be repeated after any error.
func (k *Client) SetCursor(ctx context.Context, name string, seq uint64) (at uint64, err error) {
	r := &weirv1.SetCursorRequest{Cursor: name, Seq: seq}
	in, err := anywhere(ctx, k, func(ctx context.Context, l *link) (*weirv1.SetCursorResponse, error) {
		return l.ledger.SetCursor(ctx, r)
	})
	if err != nil {
		return 0, fmt.Errorf("set cursor %s: %w", name, err)
	}
	return in.GetSeq(), nil
}
