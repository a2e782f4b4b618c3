package ledger

import (
	"fmt"
	"io"
	"iter"

	"golang.org/x/sync/errgroup"
)

// Verify judges a journal, and a state too if there is one: it recomputes each from the other. events are those of the
// journal, in order; the state may be older than the last of them. What does not fit stands in the audit's Differences. An
// error means that the journal could not be read to its end.
//
// A state that comes out of Restore is sound in itself: conservation, floors, sums and the holds of each account were checked.
func Verify(events iter.Seq2[[]byte, error], m *Machine) (*Audit, error) {
	a := NewAudit()
	at := uint64(0)
	if m != nil {
		at, _ = m.Events()
	}
	compared := m == nil
	if !compared && at == 0 {
		a.Compare(m)
		compared = true
	}
	for event, err := range events {
		if err != nil {
			return a, fmt.Errorf("read event after %d: %w", a.Last, err)
		}
		a.Add(event)
		if !compared && a.Last == at {
			a.Compare(m)
			compared = true
		}
	}
	if !compared {
		a.differ(fmt.Sprintf("the state is of event %d, which the journal does not have", at))
	}
	return a, nil
}

// Verify checks the state as Restore would, and its sums against its records, and says what is wrong first. It reads a frozen
// copy, beside Apply.
func (m *Machine) Verify() error {
	im := m.freeze()
	in, out := io.Pipe()
	var g errgroup.Group
	g.Go(func() error { return out.CloseWithError(im.write(out)) })
	err := NewMachine(m.config).Restore(in)
	_ = in.CloseWithError(err) // ends the writer, which is of no use any more
	_ = g.Wait()
	if err != nil {
		return fmt.Errorf("verify the ledger's state: %w", err)
	}
	return nil
}
