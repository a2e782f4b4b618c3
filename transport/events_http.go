package transport

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/weir-cluster/weir/ledger"
)

// Media types of events.
const (
	mediaLines = "application/x-ndjson"
	mediaSSE   = "text/event-stream"
)

// Bounds of a page of events: of the events in it, of their bytes, and of those that are looked at for it.
const (
	eventsLimit   = 1000
	eventsMax     = 10_000
	pageBytes     = 4 << 20
	pageLookedMax = 100_000
)

// headerNext says after which seq the next page begins.
const headerNext = "X-Weir-Next"

// events answers GET /v1/events?after=SEQ&cursor=NAME&account=ID&types=A,B&limit=N&follow=BOOL: CloudEvents 1.0, one a line, a page
// of them or, with follow, without end. With Accept: text/event-stream they are server-sent events instead, which follow unless
// told otherwise, and Last-Event-ID says where to begin. An empty line or an SSE event with only an id is a heartbeat.
func (s *HTTPServer) events(w http.ResponseWriter, r *http.Request) {
	sse := strings.Contains(r.Header.Get("Accept"), mediaSSE)
	want, limit, err := s.eventsWish(r, sse)
	if err != nil {
		fail(w, err)
		return
	}
	if !want.follow {
		s.eventsPage(w, r, want, limit, sse)
		return
	}
	out := &eventWriter{w: w, control: http.NewResponseController(w), door: s.Events, now: s.Now, sse: sse}
	switch err := s.Events.feed(r.Context(), want, out.send); {
	case err == nil, errors.Is(err, errStopping) && out.begun:
	case !out.begun:
		fail(w, err)
	default: // the consumer notices that the answer has no end, and goes on after the last event it has
		panic(http.ErrAbortHandler)
	}
}

func (s *HTTPServer) eventsWish(r *http.Request, sse bool) (want wish, limit uint64, err error) {
	if s.Events == nil {
		return wish{}, 0, errNoEvents
	}
	q := r.URL.Query()
	want = wish{accounts: oneAccount(q.Get("account")), follow: sse}
	for _, types := range q["types"] {
		want.movements = append(want.movements, strings.Split(types, ",")...)
	}
	if text := q.Get("follow"); text != "" {
		if want.follow, err = strconv.ParseBool(text); err != nil {
			return wish{}, 0, fmt.Errorf("%w: follow=%s: expected true or false", ledger.ErrInvalid, strconv.Quote(text[:min(len(text), 40)]))
		}
	}
	if want.after, err = queryNumber(r, "after", 0); err != nil {
		return wish{}, 0, err
	}
	if last := r.Header.Get("Last-Event-ID"); last != "" {
		if want.after, err = strconv.ParseUint(last, 10, 64); err != nil {
			return wish{}, 0, fmt.Errorf("%w: Last-Event-ID: expected the id of an event", ledger.ErrInvalid)
		}
	}
	if limit, err = queryNumber(r, "limit", eventsLimit); err == nil && (limit < 1 || limit > eventsMax) {
		err = fmt.Errorf("%w: limit %d, expected 1 to %d", ledger.ErrInvalid, limit, eventsMax)
	}
	if err != nil {
		return wish{}, 0, err
	}
	ctx, cancel := context.WithTimeout(r.Context(), s.Timeout)
	defer cancel()
	want, err = s.Events.newWish(ctx, want, q.Get("cursor"))
	return want, limit, err
}

// eventsPage answers with what there is, up to a limit.
func (s *HTTPServer) eventsPage(w http.ResponseWriter, r *http.Request, want wish, limit uint64, sse bool) {
	ctx, cancel := context.WithTimeout(r.Context(), s.Timeout)
	defer cancel()
	var body []byte
	begin := want.after
	for count := uint64(0); count < limit && len(body) < pageBytes && want.after-begin < pageLookedMax; {
		wanted, upTo, err := page(ctx, s.Events.Events, &want)
		if err != nil && want.after > begin {
			break // what was found is an answer; the next page says what is wrong
		}
		if err != nil {
			fail(w, err)
			return
		}
		if upTo == want.after {
			break
		}
		want.after = upTo
		for i := range wanted {
			body = appendEvent(body, s.Events.Source, &wanted[i], sse)
			if count++; count == limit {
				want.after = wanted[i].Seq
				break
			}
		}
	}
	w.Header().Set(headerNext, strconv.FormatUint(want.after, 10))
	w.Header().Set("Content-Type", eventMedia(sse))
	w.Header().Set("Cache-Control", "no-store")
	_, _ = w.Write(body)
}

func eventMedia(sse bool) string {
	if sse {
		return mediaSSE
	}
	return mediaLines
}

func appendEvent(b []byte, source string, e *ledger.Event, sse bool) []byte {
	line := encodeCloudEvent(source, e)
	if !sse {
		return append(append(b, line...), '\n')
	}
	b = fmt.Appendf(b, "id: %d\nevent: %s%s\ndata: ", e.Seq, typePrefix, e.Movement)
	return append(append(b, line...), "\n\n"...)
}

// eventWriter writes events to an answer that has no end.
type eventWriter struct {
	w       http.ResponseWriter
	control *http.ResponseController
	door    *EventDoor
	now     func() time.Time
	sse     bool
	begun   bool
}

// send writes what is wanted. The write deadline is moved on each time: a consumer that takes nothing for so long is cut off.
func (o *eventWriter) send(wanted []ledger.Event, upTo uint64) error {
	if !o.begun {
		o.begun = true
		o.w.Header().Set("Content-Type", eventMedia(o.sse))
		o.w.Header().Set("Cache-Control", "no-store")
		o.w.Header().Set("X-Accel-Buffering", "no") // nginx passes each write on
	}
	var b []byte
	for i := range wanted {
		b = appendEvent(b, o.door.Source, &wanted[i], o.sse)
	}
	if last := len(wanted) - 1; last < 0 || wanted[last].Seq != upTo {
		if o.sse { // an event without data is not dispatched, but its id is where the next request begins
			b = fmt.Appendf(b, "id: %d\n\n", upTo)
		} else {
			b = append(b, '\n')
		}
	}
	if err := o.control.SetWriteDeadline(o.now().Add(o.door.Patience)); err != nil {
		return fmt.Errorf("set write deadline: %w", err)
	}
	if _, err := bytes.NewReader(b).WriteTo(o.w); err != nil {
		return err
	}
	return o.control.Flush()
}
