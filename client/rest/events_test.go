package rest

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weir-cluster/weir/client"
)

const oneEvent = `{"id":"7","type":"weir.ledger.debit","data":{"seq":7,"account":"a","postings":[{"book":"spent","amount_micros":5}]}}`

func TestAPageOfEventsSaysWhereTheNextBegins(t *testing.T) {
	t.Parallel()
	asked := ""
	c := one(t, func(w http.ResponseWriter, r *http.Request) {
		asked = r.URL.RequestURI()
		w.Header().Set("X-Weir-Next", "9")
		io.WriteString(w, oneEvent+"\n\n")
	})
	page, next, err := c.Events(t.Context(), EventQuery{After: 6, Account: "a&b", Types: []string{"debit", "refund"}, Limit: 5})
	if err != nil || next != 9 || len(page) != 1 || page[0].Data.Seq != 7 || page[0].Data.Postings[0].AmountMicros != 5 || string(page[0].Raw) != oneEvent {
		t.Errorf("%+v, next %d, %v", page, next, err)
	}
	if want := "/v1/events?account=a%26b&after=6&limit=5&types=debit%2Crefund"; asked != want {
		t.Errorf("asked %s, want %s", asked, want)
	}
	_, _, err = one(t, answer(200, jsonMedia, oneEvent)).Events(t.Context(), EventQuery{})
	wantError(t, err, "X-Weir-Next", "is that a Weir node?")
	_, next, err = one(t, answer(410, problemMedia, `{"detail":"the oldest is 5"}`)).Events(t.Context(), EventQuery{After: 3})
	wantError(t, err, "status 410: the oldest is 5")
	if next != 3 {
		t.Errorf("after an error it goes on after %d", next)
	}
}

// endless is a node that sends lines at their times and then is silent for ever, as TCP is to who does not look.
type endless struct {
	lines []string
	every time.Duration
}

func (e endless) RoundTrip(r *http.Request) (*http.Response, error) {
	out, in := io.Pipe()
	go func() {
		for _, l := range e.lines {
			_, _ = io.WriteString(in, l+"\n")
			time.Sleep(e.every)
		}
		<-r.Context().Done()
		_ = in.CloseWithError(context.Cause(r.Context()))
	}()
	return &http.Response{StatusCode: http.StatusOK, Body: out, Header: http.Header{}, Request: r}, nil
}

// Heartbeats keep a stream; a node that is silent for 30 s is given up.
func TestAStreamOfEventsThatFallsSilentIsGivenUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, err := New(Config{Addr: "a:1", HTTPClient: &http.Client{Transport: endless{[]string{oneEvent, "", "", ""}, 20 * time.Second}}})
		if err != nil {
			t.Fatal(err)
		}
		began, got := time.Now(), 0
		err = c.FollowEvents(t.Context(), EventQuery{}, func(client.Event) error {
			got++
			return nil
		})
		if took := time.Since(began); !errors.Is(err, ErrEventsEnded) || took != 90*time.Second || got != 1 {
			t.Errorf("%d events, then after %v %v; want it given up 30 s after the last heartbeat", got, took, err)
		}
	})
}

func TestFollowingEventsEndsWithTheCallerAndWithProblems(t *testing.T) {
	t.Parallel()
	enough := errors.New("enough")
	c := one(t, answer(200, jsonMedia, strings.Repeat(oneEvent+"\n", 3)))
	taken := 0
	err := c.FollowEvents(t.Context(), EventQuery{}, func(client.Event) error {
		taken++
		return enough
	})
	if !errors.Is(err, enough) || taken != 1 {
		t.Errorf("%v after %d", err, taken)
	}
	err = c.FollowEvents(t.Context(), EventQuery{}, func(client.Event) error { return nil })
	if !errors.Is(err, ErrEventsEnded) {
		t.Errorf("at the end: %v", err)
	}
	err = one(t, answer(410, problemMedia, `{"detail":"the oldest is 5"}`)).FollowEvents(t.Context(), EventQuery{}, nil)
	if wantError(t, err, "status 410", "the oldest is 5"); errors.Is(err, ErrEventsEnded) {
		t.Errorf("gone is no end: %v", err)
	}
	if err = dial(t, &wire{}, "b:1").FollowEvents(t.Context(), EventQuery{}, nil); !errors.Is(err, client.ErrUnreachable) {
		t.Errorf("nobody there: %v", err)
	}
}
