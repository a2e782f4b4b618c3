package transport

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	weirv1 "github.com/weir-cluster/weir/api/weir/v1"
	"github.com/weir-cluster/weir/ledger"
	"github.com/weir-cluster/weir/ledger/journal"
)

func withEvents(d *EventDoor) *HTTPServer {
	s := server(fakeAccess{check: allow})
	s.Events, s.Now = d, time.Now
	return s
}

// lines reads the ids of CloudEvents, one a line.
func lines(t *testing.T, text string) (ids []string) {
	t.Helper()
	for line := range strings.Lines(text) {
		var e cloudEvent
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		ids = append(ids, e.ID)
	}
	return ids
}

func TestAnEventIsACloudEvent(t *testing.T) {
	e := change(7)
	got := string(encodeCloudEvent("/weir/c1", &e))
	want := `{"specversion":"1.0","id":"7","source":"/weir/c1","type":"weir.ledger.grant","subject":"acct1","time":"2026-05-01T00:00:00.000000007Z",` +
		`"datacontenttype":"application/json","sequence":"00000000000000000007","data":{"seq":7,"account":"acct1","account_seq":3,"movement":"grant",` +
		`"idempotency_key":"key-7","postings":[{"book":"issued","amount_micros":-5},{"book":"available","grant":"g","amount_micros":5}],` +
		`"balance_after_micros":7,"index":17,"term":2}}`
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	e = change(6)
	if got := string(encodeCloudEvent("s", &e)); !strings.Contains(got, `"attributes":{"plan":"pro","labels":{"team":"a"},"use_credits":false,`) {
		t.Errorf("an opening is %s", got)
	}
}

func TestEventsComeInPages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ask := asking(t)
		j := ledgerJournal(t)
		happen(t, j, 1, 1200)
		d := eventDoor(j)
		_, _ = d.Cursors.SetCursor(t.Context(), ledger.SetCursor{Name: "billing", Seq: 1195})
		s := withEvents(d)
		for _, c := range []struct {
			query, last string
			ids         string
			next        string
		}{
			{"?limit=3", "", "[1 2 3]", "3"},
			{"?limit=3&after=3", "", "[4 5 6]", "6"},
			{"?after=1198", "", "[1199 1200]", "1200"},
			{"?after=1200", "", "[]", "1200"},
			{"?after=9000", "", "[]", "9000"},
			{"", "1199", "[1200]", "1200"},
			{"?cursor=billing", "", "[1196 1197 1198 1199 1200]", "1200"},
			{"?after=1190&account=acct1", "", "[1192 1195 1198]", "1200"},
			{"?after=1190&types=debit,weir.ledger.grant&limit=3", "", "[1192 1193 1195]", "1195"},
			{"?account=nobody", "", "[]", "1200"},
		} {
			var headers []string
			if c.last != "" {
				headers = []string{"Last-Event-ID", c.last}
			}
			res := ask(t, s, "GET", "/v1/events"+c.query, "", headers...)
			body, _ := io.ReadAll(res.Body)
			if got := fmt.Sprint(lines(t, string(body))); res.StatusCode != 200 || got != c.ids || res.Header.Get(headerNext) != c.next {
				t.Errorf("%s: status %d, ids %s, next %s, want %s and %s", c.query, res.StatusCode, got, res.Header.Get(headerNext), c.ids, c.next)
			}
		}
		seen := uint64(0)
		for { // all of them, page by page
			res := ask(t, s, "GET", fmt.Sprintf("/v1/events?after=%d", seen), "")
			body, _ := io.ReadAll(res.Body)
			ids := lines(t, string(body))
			if len(ids) == 0 {
				break
			}
			for _, id := range ids {
				if seen++; id != fmt.Sprint(seen) {
					t.Fatalf("event %s after %d", id, seen-1)
				}
			}
		}
		if seen != 1200 {
			t.Errorf("the pages end at %d", seen)
		}
	})
}

func TestBadQuestionsForEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ask := asking(t)
		s := withEvents(eventDoor(ledgerJournal(t)))
		for _, c := range []struct{ query, last, says string }{
			{"?after=x", "", "after="},
			{"?after=-1", "", "after="},
			{"?limit=0", "", "limit 0"},
			{"?limit=10001", "", "limit 10001"},
			{"?follow=maybe", "", "follow="},
			{"", "abc", "Last-Event-ID"},
			{"?after=1&cursor=c", "", "one of them"},
			{"?cursor=" + strings.Repeat("c", 65), "", "65 bytes"},
			{"?types=" + strings.Repeat("a,", 32), "", "33 types"},
		} {
			res := ask(t, s, "GET", "/v1/events"+c.query, "", "Last-Event-ID", c.last)
			body, _ := io.ReadAll(res.Body)
			if res.StatusCode != 400 || !strings.Contains(string(body), c.says) {
				t.Errorf("%s: %d %s", c.query, res.StatusCode, body)
			}
		}
		s.Events = nil
		if res := ask(t, s, "GET", "/v1/events", ""); res.StatusCode != 503 {
			t.Errorf("without a journal: %d", res.StatusCode)
		}
	})
}

// dropped is a journal of which the oldest are gone, and some in the middle are missing.
func dropped(t *testing.T) *journal.Journal {
	t.Helper()
	j := ledgerJournal(t)
	happen(t, j, 1, 100)
	happen(t, j, 151, 200)
	if err := j.Drop(90); err != nil {
		t.Fatal(err)
	}
	return j
}

func TestEventsThatAreGoneSayWhereToGoOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ask := asking(t)
		j := dropped(t)
		oldest := j.Oldest()
		if oldest < 10 || oldest > 90 {
			t.Fatalf("the oldest is %d", oldest)
		}
		for _, query := range []string{"", "?follow=true"} {
			res := ask(t, withEvents(eventDoor(j)), "GET", "/v1/events"+query, "")
			var p problem
			if err := json.NewDecoder(res.Body).Decode(&p); err != nil {
				t.Fatal(err)
			}
			if res.StatusCode != 410 || p.Reason != wordGone || p.Oldest != oldest || !strings.Contains(p.Detail, fmt.Sprint(oldest)) {
				t.Errorf("%q: %d %+v, want the oldest to be %d", query, res.StatusCode, p, oldest)
			}
		}
		res := ask(t, withEvents(eventDoor(j)), "GET", "/v1/events?after=99", "")
		if body, _ := io.ReadAll(res.Body); fmt.Sprint(lines(t, string(body))) != "[100]" || res.Header.Get(headerNext) != "100" {
			t.Errorf("before a gap: %s", body)
		}
		if res := ask(t, withEvents(eventDoor(j)), "GET", "/v1/events?after=100", ""); res.StatusCode != 503 {
			t.Errorf("in a gap: %d", res.StatusCode)
		}
	})
}

func TestServerSentEventsFollow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := ledgerJournal(t)
		happen(t, j, 1, 5)
		d := eventDoor(j)
		closing := make(chan struct{})
		d.Closing = closing
		client := hosting(t, withEvents(d).Handler())
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		r, _ := http.NewRequestWithContext(ctx, "GET", "http://weir/v1/events?types=debit", nil)
		r.Header.Set("Accept", "text/event-stream")
		r.Header.Set("Last-Event-ID", "1")
		res, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		if got := res.Header.Get("Content-Type"); got != "text/event-stream" {
			t.Errorf("Content-Type %s", got)
		}
		go func() {
			time.Sleep(25 * time.Second)
			e := change(6)
			_ = j.Append(6, e.Encode())
			e = change(8)
			e.Seq = 7
			_ = j.Append(7, e.Encode())
			time.Sleep(time.Second)
			close(closing)
		}()
		var got []string
		begun := time.Now()
		for in := bufio.NewScanner(res.Body); in.Scan(); {
			line, _, _ := strings.Cut(in.Text(), "{")
			got = append(got, fmt.Sprintf("%s %s", time.Since(begun).Round(time.Second), line))
		}
		want := "0s id: 2|0s event: weir.ledger.debit|0s data: |0s |0s id: 5|0s event: weir.ledger.debit|0s data: |0s |" +
			"10s id: 5|10s |20s id: 5|20s |25s id: 7|25s event: weir.ledger.debit|25s data: |25s "
		if text := strings.Join(got, "|"); text != want {
			t.Errorf("got  %s\nwant %s", text, want)
		}
	})
}

func TestJSONLinesFollow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := ledgerJournal(t)
		client := hosting(t, withEvents(eventDoor(j)).Handler())
		ctx, cancel := context.WithCancel(t.Context())
		r, _ := http.NewRequestWithContext(ctx, "GET", "http://weir/v1/events?follow=true", nil)
		go func() {
			for seq := uint64(1); seq <= 50; seq++ {
				time.Sleep(time.Second)
				e := change(seq)
				_ = j.Append(seq, e.Encode())
			}
		}()
		time.Sleep(15 * time.Second)
		res, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		seen := 0
		for in := bufio.NewScanner(res.Body); seen < 50 && in.Scan(); {
			if in.Text() == "" {
				continue
			}
			if seen++; fmt.Sprint(lines(t, in.Text())) != fmt.Sprintf("[%d]", seen) {
				t.Fatalf("event %d is %s", seen, in.Text())
			}
		}
		cancel()
		_ = res.Body.Close()
		if seen != 50 {
			t.Errorf("%d events", seen)
		}
	})
}

// streaming runs a test against the gRPC door.
func streaming(t *testing.T, d *EventDoor, test func(t *testing.T, c weirv1.LedgerServiceClient)) {
	t.Helper()
	l := bufconn.Listen(64 << 10)
	g := grpc.NewServer(append(Windows(), Codec())...)
	weirv1.RegisterLedgerServiceServer(g, &LedgerServer{Events: d, Timeout: time.Second})
	go func() { _ = g.Serve(l) }()
	conn, err := grpc.NewClient("passthrough:///x", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return l.DialContext(ctx) }),
		grpc.WithStaticStreamWindowSize(64<<10), grpc.WithStaticConnWindowSize(1<<20))
	if err != nil {
		t.Fatal(err)
	}
	test(t, weirv1.NewLedgerServiceClient(conn))
	_ = conn.Close()
	g.Stop()
}

func TestAStreamOfEventsGoesOnFromItsCursor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := ledgerJournal(t)
		happen(t, j, 1, 700)
		streaming(t, eventDoor(j), func(t *testing.T, c weirv1.LedgerServiceClient) {
			seen := uint64(0)
			for seen < 700 { // ends after each 100 and begins again
				ctx, cancel := context.WithCancel(t.Context())
				s, err := c.StreamEvents(ctx, &weirv1.StreamEventsRequest{Cursor: "billing"})
				if err != nil {
					t.Fatal(err)
				}
				for begun := seen; seen < begun+100; {
					m, err := s.Recv()
					if err != nil {
						t.Fatal(err)
					}
					for _, e := range m.GetEvents() {
						if seen++; e.GetSeq() != seen || e.GetIdempotencyKey() != fmt.Sprintf("key-%d", seen) || len(e.GetPostings()) != 2 {
							t.Fatalf("event %d is %v", seen, e)
						}
					}
					if m.GetSeq() != seen {
						t.Fatalf("sent up to %d, but told %d", seen, m.GetSeq())
					}
				}
				if _, err := c.SetCursor(t.Context(), &weirv1.SetCursorRequest{Cursor: "billing", Seq: seen}); err != nil {
					t.Fatal(err)
				}
				cancel()
			}
			s, err := c.StreamEvents(t.Context(), &weirv1.StreamEventsRequest{After: 690, Account: "acct1", Types: []string{"grant"}, Once: true})
			if err != nil {
				t.Fatal(err)
			}
			var got []uint64
			for {
				m, err := s.Recv()
				if errors.Is(err, io.EOF) {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
				for _, e := range m.GetEvents() {
					got = append(got, e.GetSeq())
				}
			}
			if fmt.Sprint(got) != "[691 694 697 700]" {
				t.Errorf("%v", got)
			}
			for _, step := range []struct {
				r    *weirv1.SetCursorRequest
				want uint64
			}{
				{&weirv1.SetCursorRequest{Cursor: "billing", Seq: 5}, 700},
				{&weirv1.SetCursorRequest{Cursor: "billing", Seq: 5, Rewind: true}, 5},
				{&weirv1.SetCursorRequest{Cursor: "billing", Remove: true}, 0},
				{&weirv1.SetCursorRequest{Cursor: "billing", Seq: 1}, 1},
			} {
				if r, err := c.SetCursor(t.Context(), step.r); err != nil || r.GetSeq() != step.want {
					t.Errorf("%v: %v, %v, want %d", step.r, r, err, step.want)
				}
			}
			if _, err := c.SetCursor(t.Context(), &weirv1.SetCursorRequest{Seq: 1}); status.Code(err) != codes.InvalidArgument {
				t.Errorf("a cursor without a name: %v", err)
			}
		})
	})
}

func TestAStreamBeatsWhileNothingHappens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := ledgerJournal(t)
		happen(t, j, 1, 3)
		d := eventDoor(j)
		closing := make(chan struct{})
		d.Closing = closing
		streaming(t, d, func(t *testing.T, c weirv1.LedgerServiceClient) {
			s, err := c.StreamEvents(t.Context(), &weirv1.StreamEventsRequest{After: 3})
			if err != nil {
				t.Fatal(err)
			}
			for range 3 {
				begun := time.Now()
				m, err := s.Recv()
				if err != nil || m.GetSeq() != 3 || len(m.GetEvents()) != 0 || time.Since(begun) != heartbeatEvery {
					t.Errorf("%v, %v after %s", m, err, time.Since(begun))
				}
			}
			close(closing)
			if _, err := s.Recv(); status.Code(err) != codes.Unavailable {
				t.Errorf("as the server ends: %v", err)
			}
		})
	})
}

func TestGoneOverGRPC(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := dropped(t)
		streaming(t, eventDoor(j), func(t *testing.T, c weirv1.LedgerServiceClient) {
			for after, want := range map[uint64]codes.Code{0: codes.OutOfRange, 100: codes.Unavailable} {
				s, err := c.StreamEvents(t.Context(), &weirv1.StreamEventsRequest{After: after})
				if err == nil {
					_, err = s.Recv()
				}
				oldest := ""
				for _, detail := range status.Convert(err).Details() {
					if about, ok := detail.(*errdetails.ErrorInfo); ok {
						oldest = about.GetMetadata()[metaOldest]
					}
				}
				if status.Code(err) != want || want == codes.OutOfRange && oldest != fmt.Sprint(j.Oldest()) {
					t.Errorf("after %d: %v %v", after, err, status.Convert(err).Details())
				}
			}
		})
	})
}

// A consumer that stops reading is ended; what it had it can tell, and go on from there.
func TestASlowConsumerIsEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := ledgerJournal(t)
		happen(t, j, 1, 10_000)
		d := eventDoor(j)
		streaming(t, d, func(t *testing.T, c weirv1.LedgerServiceClient) {
			s, err := c.StreamEvents(t.Context(), &weirv1.StreamEventsRequest{})
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(d.Patience + time.Second)
			if n := d.followers.Load(); n != 0 {
				t.Errorf("%d consumers are still followed", n)
			}
			seen := uint64(0)
			for {
				m, err := s.Recv()
				if status.Code(err) == codes.ResourceExhausted && strings.Contains(err.Error(), "too slow") {
					break
				}
				if err != nil || seen == 10_000 {
					t.Fatalf("after %d events: %v", seen, err)
				}
				for _, e := range m.GetEvents() {
					if seen++; e.GetSeq() != seen {
						t.Fatalf("event %d after %d", e.GetSeq(), seen-1)
					}
				}
			}
			if seen == 0 || seen == 10_000 {
				t.Errorf("it had %d events when it was ended", seen)
			}
		})
	})
}

func TestASlowHTTPConsumerIsCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := ledgerJournal(t)
		happen(t, j, 1, 2000)
		d := eventDoor(j)
		client := hosting(t, withEvents(d).Handler())
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		r, _ := http.NewRequestWithContext(ctx, "GET", "http://weir/v1/events?follow=true", nil)
		res, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		time.Sleep(d.Patience + time.Second)
		if n := d.followers.Load(); n != 0 {
			t.Errorf("%d consumers are still followed", n)
		}
		if _, err := io.ReadAll(res.Body); err == nil {
			t.Error("the answer ended as if it were whole")
		}
	})
}

// A stream that breaks in the middle does not look as if it were whole.
func TestAStreamThatBreaksIsCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := ledgerJournal(t)
		happen(t, j, 1, 3)
		client := hosting(t, withEvents(eventDoor(j)).Handler())
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		r, _ := http.NewRequestWithContext(ctx, "GET", "http://weir/v1/events?follow=true", nil)
		res, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		time.AfterFunc(time.Second, func() { _ = j.Close() })
		if body, err := io.ReadAll(res.Body); !errors.Is(err, io.ErrUnexpectedEOF) || len(lines(t, string(body))) != 3 {
			t.Errorf("%q, %v", body, err)
		}
	})
}

func TestFollowersAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := eventDoor(ledgerJournal(t))
		d.followers.Store(followersMax)
		if res := asking(t)(t, withEvents(d), "GET", "/v1/events?follow=true", ""); res.StatusCode != 503 || d.followers.Load() != followersMax {
			t.Errorf("status %d, %d followers", res.StatusCode, d.followers.Load())
		}
	})
}
