package transport

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/weir-cluster/weir/ledger"
	"github.com/weir-cluster/weir/ledger/journal"
)

// Events is the ledger's journal as the doors read it; *journal.Journal is one, and (*Peers).Events reads that of another
// node. Records are ledger.Events as they encode. The methods are those of journal.Journal and have its errors.
type Events interface {
	Scan(ctx context.Context, after uint64, records, size int) ([][]byte, error)
	Wait(ctx context.Context, after uint64) error
	Range(ctx context.Context) (oldest, newest uint64, err error)
}

// Cursors remembers how far consumers are, durably; *ledger.Ledger does. A name that was never set is at 0.
type Cursors interface {
	SetCursor(ctx context.Context, s ledger.SetCursor) (seq uint64, err error)
	Status(ctx context.Context, r ledger.Read) (ledger.Status, error)
}

func cursorAt(ctx context.Context, c Cursors, name string) (uint64, error) {
	all, err := c.Status(ctx, ledger.Read{})
	if err != nil {
		return 0, fmt.Errorf("read cursor %q: %w", name, err)
	}
	for _, u := range all.Cursors {
		if u.Name == name {
			return u.Seq, nil
		}
	}
	return 0, nil
}

// Bounds of the doors of events.
const (
	eventsRead     = 256     // records a read of the journal
	eventsReadSize = 1 << 20 // and their bytes
	followersMax   = 256     // streams at once on one node
	typesMax       = 32      // in a filter
	heartbeatEvery = 10 * time.Second
	gapRetry       = time.Second
)

// errSlow: a consumer took no event for so long that its stream was ended.
var errSlow = errors.New("the consumer is too slow")

// errStopping: a stream ended because its server does; another node goes on with it.
var errStopping = errors.New("this node is stopping")

// EventDoor is what all doors of events share. A consumer pulls the journal along with it: a node keeps nothing for it but the
// events that it is being sent.
type EventDoor struct {
	Events  Events
	Cursors Cursors
	// Source is the CloudEvents source of every event, such as /weir/CLUSTER. It must never change.
	Source string
	// Patience is how long a consumer may take no event before its stream is ended.
	Patience time.Duration
	// Closing is as in AccessServer.
	Closing <-chan struct{}

	followers atomic.Int32
}

// wish is which events a consumer wants, and from where on.
type wish struct {
	after     uint64
	accounts  []string // empty: all
	movements []string
	follow    bool
}

// newWish checks a consumer's wish. A cursor is where to begin, instead of after. A type may have the CloudEvents prefix.
func (d *EventDoor) newWish(ctx context.Context, w wish, cursor string) (wish, error) {
	if len(w.movements) > typesMax {
		return wish{}, fmt.Errorf("%w: %d types, at most %d", ledger.ErrInvalid, len(w.movements), typesMax)
	}
	w.movements = slices.Clone(w.movements)
	for i, m := range w.movements {
		w.movements[i] = strings.TrimPrefix(m, typePrefix)
	}
	if cursor == "" {
		return w, nil
	}
	if w.after != 0 {
		return wish{}, fmt.Errorf("%w: after and cursor: one of them says where to begin", ledger.ErrInvalid)
	}
	if err := cursorName(cursor); err != nil {
		return wish{}, err
	}
	var err error
	w.after, err = cursorAt(ctx, d.Cursors, cursor)
	return w, err
}

// oneAccount is an account that may be left out, as a wish has it.
func oneAccount(id string) []string {
	if id == "" {
		return nil
	}
	return []string{id}
}

func cursorName(name string) error {
	if name == "" || len(name) > ledger.CursorMax {
		return fmt.Errorf("%w: a cursor's name of %d bytes, expected 1 to %d", ledger.ErrInvalid, len(name), ledger.CursorMax)
	}
	return nil
}

func (w *wish) wants(e *ledger.Event) bool {
	return (len(w.accounts) == 0 || slices.Contains(w.accounts, e.Account)) && (len(w.movements) == 0 || slices.Contains(w.movements, e.Movement.String()))
}

// page returns the events that are wanted of the next ones, and the seq up to which the journal was looked at: w.after when
// there are none yet.
func page(ctx context.Context, from Events, w *wish) (wanted []ledger.Event, upTo uint64, err error) {
	records, err := from.Scan(ctx, w.after, eventsRead, eventsReadSize)
	if err != nil {
		return nil, w.after, err
	}
	upTo = w.after
	for _, record := range records {
		upTo++
		e, err := ledger.DecodeEvent(record)
		if err == nil && e.Seq != upTo {
			err = fmt.Errorf("%w: it says that it is event %d", ledger.ErrCorrupt, e.Seq)
		}
		if err != nil {
			return nil, w.after, fmt.Errorf("read event %d: %w", upTo, err)
		}
		if w.wants(&e) {
			wanted = append(wanted, e)
		}
	}
	return wanted, upTo, nil
}

// feed sends what is wanted until ctx or the server ends, or the newest event was sent when w does not follow. Send is told up
// to which seq everything was sent, at least every 10 s; it may be told so without an event.
func (d *EventDoor) feed(ctx context.Context, w wish, send func(wanted []ledger.Event, upTo uint64) error) error {
	if d.followers.Add(1) > followersMax {
		d.followers.Add(-1)
		return fmt.Errorf("%w: %d streams of events", ledger.ErrFull, followersMax)
	}
	defer d.followers.Add(-1)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		select {
		case <-d.Closing:
			cancel(errStopping)
		case <-ctx.Done():
		}
	}()
	err := d.follow(ctx, w, send)
	if ctx.Err() != nil && errors.Is(context.Cause(ctx), errStopping) {
		return errStopping
	}
	return err
}

func (d *EventDoor) follow(ctx context.Context, w wish, send func(wanted []ledger.Event, upTo uint64) error) error {
	for {
		wanted, upTo, err := page(ctx, d.Events, &w)
		if err != nil {
			return err
		}
		if upTo > w.after {
			if err := send(wanted, upTo); err != nil {
				return err
			}
			w.after = upTo
			continue
		}
		if !w.follow {
			return send(nil, upTo)
		}
		err = waitEvents(ctx, d.Events, upTo, heartbeatEvery)
		if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
			err = send(nil, upTo)
		}
		if err != nil {
			return err
		}
	}
}

// waitEvents waits for an event after a seq, for so long.
func waitEvents(ctx context.Context, from Events, after uint64, within time.Duration) error {
	brief, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	err := from.Wait(brief, after)
	if err != nil && brief.Err() != nil && ctx.Err() == nil {
		return context.DeadlineExceeded
	}
	return err
}

// oldestOf returns the seq at which a consumer can go on whose events are gone, if err says that they are.
func oldestOf(err error) (uint64, bool) {
	missing := (*journal.MissingError)(nil)
	if !errors.As(err, &missing) || missing.Gap {
		return 0, false
	}
	return missing.Next, true
}
