package node_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	weirv1 "github.com/weir-cluster/weir/api/weir/v1"
	"github.com/weir-cluster/weir/client/rest"
)

func TestTheEntriesOfAnAccountAreListedOverBothDoors(t *testing.T) {
	simulate(t, 44, 3, func(s *sim) {
		var r receipt
		s.ledger(s.nodes[0], "/v1/accounts", "o", `{"id":"eve"}`, &r)
		s.ledger(s.nodes[1], "/v1/accounts/eve/grants", "g", `{"id":"spring","kind":"promo","amount_micros":5}`, &r)
		s.ledger(s.nodes[2], "/v1/accounts/eve/debits", "d", `{"amount_micros":2,"memo":"lunch"}`, &r)

		weir, err := rest.New(rest.Config{Addr: s.nodes[2].ip + ":8080", HTTPClient: s.web})
		if err != nil {
			t.Fatal(err)
		}
		all, err := weir.Entries(s.t.Context(), "eve", 1, 256)
		if err != nil {
			t.Fatal(err)
		}
		var lines []string
		for _, e := range all {
			line := fmt.Sprint(e.Seq, " ", e.Movement, " ", e.IdempotencyKey, " ", e.Memo)
			for _, p := range e.Postings {
				line += fmt.Sprint(" ", p.Book, " ", p.Grant, " ", p.AmountMicros)
			}
			lines = append(lines, line)
		}
		const want = "2 grant g  issued  -5 available spring 5\n3 debit d lunch available spring -2 spent  2"
		if got := strings.Join(lines, "\n"); got != want {
			t.Errorf("entries:\n%s\nwant:\n%s", got, want)
		}

		conn := s.dial(s.nodes[0])
		defer func() { _ = conn.Close() }()
		book := weirv1.NewLedgerServiceClient(conn)
		got, err := book.ListEntries(s.t.Context(), &weirv1.ListEntriesRequest{Account: "eve", After: 2, Limit: 1})
		if err != nil || len(got.GetEntries()) != 1 || got.GetEntries()[0].GetMemo() != "lunch" || got.GetEntries()[0].GetIndex() != all[1].Index {
			t.Errorf("over gRPC: %v, %v", got, err)
		}
		if _, err := book.ListEntries(s.t.Context(), &weirv1.ListEntriesRequest{Account: "nobody"}); status.Code(err) != codes.NotFound {
			t.Errorf("of no account: %v", err)
		}
		for _, query := range []string{"after=x", "limit=0", "limit=257", "after=-1"} {
			var a answer
			if code := s.call(s.nodes[0], "GET", "/v1/accounts/eve/entries?"+query, "", &a); code != http.StatusBadRequest {
				t.Errorf("%s: %d %s", query, code, a.Detail)
			}
		}
	})
}
