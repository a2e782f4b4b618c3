package transport

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/weir-cluster/weir/ledger"
	"github.com/weir-cluster/weir/ledger/journal"
)

// Records are an append-only sequence on this node; *journal.Journal is one.
type Records interface {
	Events
	Append(seq uint64, record []byte) error
	Read(seq uint64) ([]byte, error)
	Sync() error
}

// ErrNoLetter: there is no such dead letter, or not any more.
var ErrNoLetter = errors.New("no such dead letter")

// lettersMax bounds how many letters are listed, and reasonBytes what is kept of an endpoint's words.
const (
	lettersMax  = 1000
	reasonBytes = 512
)

// DeadLetter is an event that a webhook's endpoint would not take.
type DeadLetter struct {
	ID      uint64          `json:"id"` // on this node
	Webhook string          `json:"webhook"`
	Seq     uint64          `json:"seq"` // of the event
	At      time.Time       `json:"at"`
	Status  int             `json:"status,omitempty"` // 0: it never answered
	Reason  string          `json:"reason"`
	Event   json.RawMessage `json:"event"` // as it was sent

	Redelivered uint64 `json:"redelivered,omitempty"` // the ID of the letter that this note ends; such notes are not listed
}

// DeadLetters keeps what endpoints refused, in a journal of its own on the node that met the refusal. It is safe for
// concurrent use.
type DeadLetters struct {
	mu      sync.Mutex // makes an append the next one
	records Records
}

// NewDeadLetters keeps letters in records, which nobody else appends to.
func NewDeadLetters(records Records) *DeadLetters { return &DeadLetters{records: records} }

// put keeps a letter, durably.
func (d *DeadLetters) put(ctx context.Context, l DeadLetter) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	_, newest, err := d.records.Range(ctx)
	if err != nil {
		return err
	}
	l.ID = newest + 1
	b, err := json.Marshal(l)
	if err != nil {
		return fmt.Errorf("encode dead letter: %w", err)
	}
	if err := d.records.Append(l.ID, b); err != nil {
		return err
	}
	return d.records.Sync()
}

// List returns the letters after an ID that were not redelivered since, oldest first, at most limit of them. It reads all that
// is kept.
func (d *DeadLetters) List(ctx context.Context, after uint64, limit int) ([]DeadLetter, error) {
	if limit < 1 || limit > lettersMax {
		return nil, fmt.Errorf("%w: limit %d, expected 1 to %d", ledger.ErrInvalid, limit, lettersMax)
	}
	ended := make(map[uint64]bool)
	err := d.each(ctx, after, func(l *DeadLetter) bool {
		ended[l.Redelivered] = true
		return true
	})
	if err != nil {
		return nil, err
	}
	var open []DeadLetter
	err = d.each(ctx, after, func(l *DeadLetter) bool {
		if l.Redelivered == 0 && !ended[l.ID] {
			open = append(open, *l)
		}
		return len(open) < limit
	})
	return open, err
}

// each calls take with every letter and note after an ID, until it says no. What was dropped or lost is passed over.
func (d *DeadLetters) each(ctx context.Context, at uint64, take func(*DeadLetter) bool) error {
	for {
		found, err := d.records.Scan(ctx, at, eventsRead, eventsReadSize)
		if missing := (*journal.MissingError)(nil); errors.As(err, &missing) && missing.Next > at {
			at = missing.Next - 1
			continue
		} else if err != nil {
			return err
		}
		if len(found) == 0 {
			return nil
		}
		for _, b := range found {
			at++
			l, err := decodeLetter(at, b)
			if err != nil {
				return err
			}
			if !take(&l) {
				return nil
			}
		}
	}
}

func decodeLetter(id uint64, b []byte) (DeadLetter, error) {
	var l DeadLetter
	if err := json.Unmarshal(b, &l); err != nil {
		return DeadLetter{}, fmt.Errorf("read dead letter %d: %w", id, err)
	}
	return l, nil
}

// read returns a letter.
func (d *DeadLetters) read(id uint64) (DeadLetter, error) {
	b, err := d.records.Read(id)
	if errors.As(err, new(*journal.MissingError)) {
		return DeadLetter{}, fmt.Errorf("%w: %d", ErrNoLetter, id)
	}
	if err != nil {
		return DeadLetter{}, err
	}
	l, err := decodeLetter(id, b)
	if err == nil && l.Redelivered != 0 {
		err = fmt.Errorf("%w: %d", ErrNoLetter, id)
	}
	return l, err
}

// Redeliver has the webhook send a letter again, once, and ends it if it is taken. The webhook must be the one that it names.
func (d *DeadLetters) Redeliver(ctx context.Context, id uint64, hook *Webhook) error {
	l, err := d.read(id)
	if err != nil {
		return err
	}
	if l.Webhook != hook.config.Name {
		return fmt.Errorf("%w: %d of webhook %q", ErrNoLetter, id, hook.config.Name)
	}
	if refused := hook.post(ctx, deliveryOf(l)); refused != nil {
		return fmt.Errorf("redeliver event %d: %w", l.Seq, refused)
	}
	return d.put(ctx, DeadLetter{Webhook: l.Webhook, Seq: l.Seq, At: hook.config.Now().UTC(), Redelivered: id})
}
