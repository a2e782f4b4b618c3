package transport

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/weir-cluster/weir/ledger"
)

// ledgerBody is what the ledger as a whole has, as of a place in the log.
type ledgerBody struct {
	Accounts  uint64       `json:"accounts"`
	OpenHolds uint64       `json:"open_holds"`
	Holds     uint64       `json:"holds"`
	Keys      uint64       `json:"keys"`
	Events    uint64       `json:"events"`
	Chain     string       `json:"chain"`
	Commands  uint64       `json:"commands"`
	Digest    string       `json:"digest"`
	Cursors   []cursorBody `json:"cursors"`
	Index     uint64       `json:"index"`
	Term      uint64       `json:"term"`
	Time      time.Time    `json:"time,omitzero"`
	Journal   *journalBody `json:"journal,omitempty"`
}

// journalBody is what the journal of the node that answers has of the events; it is left out where there is none.
type journalBody struct {
	Oldest  uint64 `json:"oldest"` // 0: none
	Newest  uint64 `json:"newest"`
	Bytes   int64  `json:"bytes"`
	Missing uint64 `json:"missing"` // in gaps, to be fetched from other voters
}

type cursorBody struct {
	Name string `json:"name"`
	Seq  uint64 `json:"seq"`
}

// ledgerStatus answers GET /v1/ledger/status?consistency=C&max_staleness_ms=N&min_index=N. A bound that is wide enough has a voter
// answer from its own replica, so that replicas can be compared: equal commands must have led to equal digests.
func (s *HTTPServer) ledgerStatus(w http.ResponseWriter, r *http.Request) {
	q, err := readOf(r)
	if err != nil {
		fail(w, err)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), s.Timeout)
	defer cancel()
	all, err := s.Ledger.Status(ctx, q)
	if err != nil {
		fail(w, err)
		return
	}
	b := toLedgerBody(&all)
	if s.Journal != nil {
		has := s.Journal()
		b.Journal = &journalBody{has.Oldest, has.Newest, has.Bytes, has.Missing}
	}
	write(w, http.StatusOK, mediaJSON, b)
}

func toLedgerBody(s *ledger.Status) ledgerBody {
	b := ledgerBody{
		Accounts: s.Accounts, OpenHolds: s.OpenHolds, Holds: s.Holds, Keys: s.Keys, Events: s.Events, Chain: fmt.Sprintf("%x", s.Chain),
		Commands: s.Commands, Digest: fmt.Sprintf("%x", s.Digest), Cursors: make([]cursorBody, len(s.Cursors)),
		Index: s.AsOf.Index, Term: s.AsOf.Term, Time: s.AsOf.Wall,
	}
	for i, c := range s.Cursors {
		b.Cursors[i] = cursorBody(c)
	}
	return b
}
