package transport

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weir-cluster/weir/ledger"
)

// A webhook that was behind tells what it lost; a new one begins with what there is.
func TestAWebhookGoesOnPastWhatWasDropped(t *testing.T) {
	for name, begin := range map[string]uint64{"behind": 100, "new": 0} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newHookRig(t)
				happen(t, r.journal, 1, 300)
				if err := r.journal.Drop(150); err != nil {
					t.Fatal(err)
				}
				oldest, lost := r.journal.Oldest(), uint64(0)
				if begin > 0 {
					r.cursors.at, lost = map[string]uint64{"webhook/billing": begin}, oldest-1-begin
				}
				r.run(t, time.Minute)
				all := r.received()
				if len(all) != int(301-oldest) || all[0].ids[0] != fmt.Sprint(oldest) || r.lost != lost {
					t.Errorf("%d requests from %s on, %d lost, want those from %d on and %d lost", len(all), all[0].ids, r.lost, oldest, lost)
				}
			})
		})
	}
}

func TestAWebhookMayWantOnlySomeAccountsAndMovements(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newHookRig(t)
		r.config.Accounts, r.config.Movements, r.config.Batch = []string{"acct0", "acct2"}, []string{"debit", "grant"}, 4
		happen(t, r.journal, 1, 60)
		r.run(t, time.Minute)
		var want, got []string
		for seq := uint64(1); seq <= 60; seq++ {
			if e := change(seq); e.Movement != ledger.Opening && e.Account != "acct1" {
				want = append(want, fmt.Sprint(seq))
			}
		}
		for _, g := range r.received() {
			got = append(got, g.ids...)
		}
		if len(want) == 0 || !slices.Equal(got, want) || r.cursors.at["webhook/billing"] != 60 {
			t.Errorf("events %v, want %v; the cursor is at %d", got, want, r.cursors.at["webhook/billing"])
		}
	})
}

// moody is a ledger that gives no cursors for a while.
type moody struct {
	*desks
	until time.Time
}

func (m moody) Status(ctx context.Context, r ledger.Read) (ledger.Status, error) {
	if time.Now().Before(m.until) {
		return ledger.Status{}, errors.New("no quorum")
	}
	return m.desks.Status(ctx, r)
}

// The waits of an endpoint that fails are not those of a ledger without a quorum.
func TestAWebhookGoesOnSoonAfterTheLedgerDoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newHookRig(t)
		back := time.Now().Add(time.Hour)
		r.config.Cursors = moody{r.cursors, back}
		happen(t, r.journal, 1, 1)
		r.run(t, time.Hour+time.Minute)
		all := r.received()
		if len(all) != 1 || all[0].at.Before(back) || all[0].at.Sub(back) > 10*time.Second {
			t.Errorf("requests %v, want one soon after %v", all, back)
		}
	})
}

// letters reads a page of them.
func lettersOf(t *testing.T, res *http.Response) (ids []uint64) {
	t.Helper()
	var b lettersBody
	if err := json.NewDecoder(res.Body).Decode(&b); err != nil || b.Node != "n1" {
		t.Errorf("%+v, %v", b, err)
	}
	for _, l := range b.Letters {
		ids = append(ids, l.ID)
	}
	return ids
}

func TestDeadLettersAreListedAndRedelivered(t *testing.T) {
	ask := asking(t)
	synctest.Test(t, func(t *testing.T) {
		r := newHookRig(t)
		happen(t, r.journal, 1, 6)
		healed := false
		r.answer = func(got) (int, http.Header) {
			if healed {
				return 200, nil
			}
			return 422, nil
		}
		r.run(t, time.Minute)
		s := server(fakeAccess{})
		s.Webhooks = WebhookDoor{Node: "n1", Letters: r.letters, Hooks: []*Webhook{r.hook(t)}}
		list := func(query string) []uint64 { return lettersOf(t, ask(t, s, "GET", "/v1/webhooks/dead"+query, "")) }
		answers := func(method, path string, status int) {
			t.Helper()
			if res := ask(t, s, method, path, ""); res.StatusCode != status {
				t.Errorf("%s %s: %d, want %d", method, path, res.StatusCode, status)
			}
		}
		if all := list(""); !slices.Equal(all, []uint64{1, 2, 3, 4, 5, 6}) {
			t.Errorf("letters %v", all)
		}
		answers("POST", "/v1/webhooks/dead/2:redeliver", http.StatusBadGateway)
		healed = true
		answers("POST", "/v1/webhooks/dead/2:redeliver", http.StatusOK)
		answers("POST", "/v1/webhooks/dead/2:redeliver", http.StatusOK) // at least once: nobody looks whether it was ended
		if all := list("?after=1&limit=2"); !slices.Equal(all, []uint64{3, 4}) {
			t.Errorf("letters %v", all)
		}
		answers("POST", "/v1/webhooks/dead/7:redeliver", http.StatusNotFound) // the note that ended one
		answers("POST", "/v1/webhooks/dead/99:redeliver", http.StatusNotFound)
		answers("POST", "/v1/webhooks/dead/x:redeliver", http.StatusBadRequest)
		answers("GET", "/v1/webhooks/dead?limit=1001", http.StatusBadRequest)
		answers("GET", "/v1/webhooks/dead?after=x", http.StatusBadRequest)
		s.Webhooks.Hooks = nil // no more in the configuration
		answers("POST", "/v1/webhooks/dead/3:redeliver", http.StatusNotFound)
		s.Webhooks = WebhookDoor{Node: "n1"}
		if all := list(""); len(all) != 0 {
			t.Errorf("without webhooks: %v", all)
		}
		answers("POST", "/v1/webhooks/dead/3:redeliver", http.StatusNotFound)
	})
}

// Letters that were dropped at the bound do not hide the others.
func TestDroppedLettersAreNotListed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newHookRig(t)
		happen(t, r.journal, 1, 40)
		r.answer = func(got) (int, http.Header) { return 400, nil }
		r.run(t, time.Minute)
		if err := r.config.Letters.records.(interface{ Drop(uint64) error }).Drop(30); err != nil {
			t.Fatal(err)
		}
		all, err := r.letters.List(t.Context(), 0, 1000)
		if err != nil || len(all) == 0 || len(all) == 40 || all[len(all)-1].ID != 40 || all[0].ID != uint64(41-len(all)) {
			t.Errorf("%d letters, %v", len(all), err)
		}
	})
}

func TestACursorIsForgotten(t *testing.T) {
	ask := asking(t)
	s := server(fakeAccess{})
	at := &desks{at: map[string]uint64{"webhook/billing": 7, "warehouse": 9}}
	forget := func(name string) int { return ask(t, s, "DELETE", "/v1/events/cursors/"+name, "").StatusCode }
	if got := forget("warehouse"); got != http.StatusServiceUnavailable {
		t.Errorf("without events: %d", got)
	}
	s.Events = &EventDoor{Cursors: at}
	if got := forget(strings.Repeat("n", 65)); got != http.StatusBadRequest {
		t.Errorf("a long name: %d", got)
	}
	for range 2 {
		if got := forget("webhook%2Fbilling"); got != http.StatusOK || len(at.at) != 1 || at.at["warehouse"] != 9 {
			t.Errorf("%d, and %v are left", got, at.at)
		}
	}
}
