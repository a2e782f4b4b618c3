package client

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"
	"unicode/utf8"

	weirv1 "github.com/weir-cluster/weir/api/weir/v1"
	"github.com/weir-cluster/weir/ring"
)

// Reservation is an estimate that was taken, until it is settled to what was really used. It is safe for concurrent
// use. Nobody needs to settle what expires: its estimate then stays charged.
type Reservation struct {
	ID string // empty when no node made it, but the fallback: then there is nothing to settle

	k    *Client
	cost map[string]int64
}

// Settlement is what was really used. A meter that Actual does not name stays as reserved.
type Settlement struct {
	Actual  map[string]int64 // meter to units, in all
	Outcome string           // such as "ok" or "overloaded", at most 64 bytes; may be empty
	Latency time.Duration    // of what was done; zero when it does not matter
}

// Settled is what became of a settlement.
type Settled struct {
	Sources []Draw        // what is charged now
	Final   bool          // the reservation has ended
	Expires time.Duration // until an extended one ends
	Queued  bool          // no node took it yet: the client goes on trying, by itself
}

// Reserve takes the estimate that q costs, to be settled later. It is Check with the mode RESERVE, of the same deadline
// and errors. The Reservation is nil unless the decision is Allowed.
func (k *Client) Reserve(ctx context.Context, q CheckRequest) (*Reservation, Decision, error) {
	q.Mode = Reserve
	d, err := k.Check(ctx, q)
	if err != nil || !d.Allowed() {
		return nil, d, err
	}
	cost := map[string]int64{meterRequests: 1}
	maps.Copy(cost, q.Cost)
	return &Reservation{ID: d.Reservation, k: k, cost: cost}, d, nil
}

// Settle corrects the estimate to what was used, and ends the reservation: Client.Settle with its ID.
func (r *Reservation) Settle(ctx context.Context, s Settlement) (Settled, error) {
	if r.ID == "" {
		return Settled{Final: true}, nil
	}
	return r.k.Settle(ctx, r.ID, s)
}

// Release gives the whole estimate back, and ends the reservation: nothing was done after all.
func (r *Reservation) Release(ctx context.Context) (Settled, error) {
	nothing := make(map[string]int64, len(r.cost))
	for meter := range r.cost {
		nothing[meter] = 0
	}
	return r.Settle(ctx, Settlement{Actual: nothing})
}

// Extend lets the reservation expire no earlier than d from now, and keeps its slots in flight. It is not queued: an
// error that is not ErrNotFound may be tried again.
func (r *Reservation) Extend(ctx context.Context, d time.Duration) (Settled, error) {
	switch {
	case r.ID == "":
		return Settled{Expires: d}, nil
	case d <= 0:
		return Settled{}, fmt.Errorf("%w: extend by %v", ErrInvalid, d)
	case !r.k.calls.enter():
		return Settled{}, ErrClosed
	}
	defer r.k.calls.leave()
	ctx, cancel := r.k.within(ctx)
	defer cancel()
	return r.k.deliver(ctx, &weirv1.SettleRequest{Reservation: r.ID, ExtendMs: max(d.Milliseconds(), 1)})
}

// Settle ends a reservation, which another program may have made, within ctx's deadline or else Config.Deadline.
// Settling again with the same contents changes nothing. When no node takes it, it waits in a queue, also when ctx was
// canceled, and Settled is Queued; ErrFull when the queue has no room. ErrNotFound: it has expired. ErrConflict: it was
// settled to something else. ErrInvalid and ErrClosed as for Check.
func (k *Client) Settle(ctx context.Context, reservation string, s Settlement) (Settled, error) {
	if !k.calls.enter() {
		return Settled{}, ErrClosed
	}
	defer k.calls.leave()
	r, err := s.onWire(reservation)
	if err != nil {
		return Settled{}, err
	}
	within, cancel := k.within(ctx)
	defer cancel()
	done, err := k.deliver(within, r)
	if err == nil || final(err) {
		return done, err
	}
	if full := k.settles.add(r); full != nil {
		return Settled{}, fmt.Errorf("settle %s: %w; and %w", reservation, err, full)
	}
	return Settled{Queued: true}, nil
}

func (s *Settlement) onWire(reservation string) (*weirv1.SettleRequest, error) {
	if _, err := reservationPartition(reservation); err != nil {
		return nil, err
	}
	if len(s.Actual) > metersMax || len(s.Outcome) > nameBytesMax || !utf8.ValidString(s.Outcome) || s.Latency < 0 {
		return nil, fmt.Errorf("%w settlement: %d meters of at most %d, an outcome of UTF-8 of at most %d bytes, and a latency of %v that is not negative",
			ErrInvalid, len(s.Actual), metersMax, nameBytesMax, s.Latency)
	}
	for meter, amount := range s.Actual {
		if len(meter) > nameBytesMax || !utf8.ValidString(meter) || amount < 0 {
			return nil, fmt.Errorf("%w settlement: a meter is UTF-8 of at most %d bytes, and its amount is not negative", ErrInvalid, nameBytesMax)
		}
	}
	return &weirv1.SettleRequest{
		Reservation: reservation, Actual: costsOnWire(s.Actual), Outcome: s.Outcome, LatencyMs: s.Latency.Milliseconds(), Final: true,
	}, nil
}

// deliver has a node take a settlement, which may be sent again. ctx has a deadline.
func (k *Client) deliver(ctx context.Context, r *weirv1.SettleRequest) (Settled, error) {
	partition, err := reservationPartition(r.GetReservation())
	if err != nil {
		return Settled{}, err
	}
	view := k.views.current(ctx)
	if view == nil {
		return Settled{}, fmt.Errorf("%w: no view yet", ErrUnreachable)
	}
	c := aside(ctx, view.toHome(partition))
	done, err := walk(ctx, k, &c, func(ctx context.Context, until time.Time, l *link) (*weirv1.SettleResponse, error) {
		ctx, cancel := context.WithDeadline(ctx, until)
		defer cancel()
		done, err := l.access.Settle(ctx, r)
		if err != nil {
			return nil, ofStatus(l.address, err)
		}
		return done, nil
	})
	if err != nil {
		return Settled{}, err
	}
	k.denials.settle(partition)
	return Settled{Sources: ofDraws(done.GetSources()), Final: done.GetFinal(), Expires: time.Duration(done.GetExpiresMs()) * time.Millisecond}, nil
}

// reservationPartition reads the partition out of a reservation's id: r-PPPP-ULID, PPPP in hex.
func reservationPartition(id string) (uint16, error) {
	rest, ok := strings.CutPrefix(id, "r-")
	digits, name, cut := strings.Cut(rest, "-")
	var b [2]byte
	n, err := 0, errors.New("it is no partition")
	if len(digits) == 2*len(b) {
		n, err = hex.Decode(b[:], []byte(digits))
	}
	p := uint16(b[0])<<8 | uint16(b[1])
	if !ok || !cut || name == "" || len(id) > nameBytesMax || !utf8.ValidString(id) || err != nil || n != len(b) || p >= ring.Partitions {
		return 0, fmt.Errorf("%w: no id of a reservation", ErrInvalid)
	}
	return p, nil
}
