package rest

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/weir-cluster/weir/client"
)

const (
	eventBytesMax = 4 << 20          // of one event; the ledger's are far smaller
	eventSilence  = 30 * time.Second // a node sends a heartbeat every 10 s
)

// ErrEventsEnded is returned when a node ends a stream of events: go on after the last one, at another node.
var ErrEventsEnded = errors.New("the stream of events ended")

// EventQuery asks for what happened in the ledger beyond an event; empty fields ask for everything.
type EventQuery struct {
	After   uint64
	Account string
	Types   []string // movements, such as debit
	Limit   int      // of a page, 1 to 10,000; zero is the default, 1,000
}

func (q EventQuery) path(follow bool) string {
	v := url.Values{"after": {strconv.FormatUint(q.After, 10)}}
	if q.Account != "" {
		v.Set("account", q.Account)
	}
	if len(q.Types) > 0 {
		v.Set("types", strings.Join(q.Types, ","))
	}
	if follow {
		v.Set("follow", "true")
	} else if q.Limit != 0 {
		v.Set("limit", strconv.Itoa(q.Limit))
	}
	return "/v1/events?" + v.Encode()
}

// Events returns the next page of events in their order, and after which to go on; a page may be empty and not the last: the last one
// ends where it began. A Problem of status 410 says that they are no longer kept, and from which on there are some.
func (c *Client) Events(ctx context.Context, q EventQuery) (page []client.Event, next uint64, err error) {
	a, err := c.send(ctx, call{method: http.MethodGet, path: q.path(false), repeatable: true})
	if err != nil {
		return nil, q.After, err
	}
	if !a.ok() {
		return nil, q.After, a.problem()
	}
	if next, err = strconv.ParseUint(a.next, 10, 64); err != nil {
		return nil, q.After, fmt.Errorf("%s: X-Weir-Next: %w (is that a Weir node?)", a.from, err)
	}
	err = eachEvent(bytes.NewReader(a.body), func(e client.Event) error {
		page = append(page, e)
		return nil
	}, func() {})
	return page, next, err
}

// FollowEvents calls take with each event, those that are there and those to come, until ctx ends or take returns an error. When the node
// goes away, or says nothing for 30 s, it returns an error that wraps ErrEventsEnded; when none can serve events now, client.ErrUnreachable.
func (c *Client) FollowEvents(ctx context.Context, q EventQuery, take func(client.Event) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	silent := time.AfterFunc(eventSilence, func() { cancel(fmt.Errorf("%w: nothing came for %v", ErrEventsEnded, eventSilence)) })
	defer silent.Stop()
	var failed error
	for _, node := range c.nodes {
		from := http.MethodGet + " " + node + "/v1/events"
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, node+q.path(true), nil)
		if err != nil {
			return fmt.Errorf("%s: %w", from, err)
		}
		a, err := c.http.Do(r)
		if err != nil {
			failed = errors.Join(failed, fmt.Errorf("%s: %w", from, err))
			continue
		}
		defer a.Body.Close()
		if a.StatusCode != http.StatusOK {
			body, err := io.ReadAll(io.LimitReader(a.Body, replyBytesMax))
			err = errors.Join(reply{from: from, status: a.StatusCode, body: body, media: mediaOf(a)}.problem(), err)
			if a.StatusCode != http.StatusServiceUnavailable {
				return err
			}
			failed = errors.Join(failed, err) // it starts, stops, or fetches what it lacks
			continue
		}
		taken := error(nil)
		err = eachEvent(a.Body, func(e client.Event) error {
			taken = take(e)
			return taken
		}, func() { silent.Reset(eventSilence) })
		if taken != nil {
			return taken
		}
		if cause := context.Cause(ctx); cause != nil {
			return fmt.Errorf("%s: %w", from, cause)
		}
		return fmt.Errorf("%s: %w: %w", from, ErrEventsEnded, errors.Join(err, io.EOF))
	}
	return fmt.Errorf("%w: %w", client.ErrUnreachable, failed)
}

// eachEvent reads events, one a line; heard is called for each line, the empty ones too.
func eachEvent(from io.Reader, take func(client.Event) error, heard func()) error {
	lines := bufio.NewScanner(from)
	lines.Buffer(nil, eventBytesMax)
	for lines.Scan() {
		heard()
		line := lines.Bytes()
		if len(line) == 0 {
			continue
		}
		var e client.Event
		if err := json.Unmarshal(line, &e); err != nil {
			return fmt.Errorf("read an event: %w", err)
		}
		e.Raw = bytes.Clone(line)
		if err := take(e); err != nil {
			return err
		}
	}
	return lines.Err()
}
