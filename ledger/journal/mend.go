package journal

import (
	"context"
	"errors"
	"fmt"
)

// Source is another copy of the same journal; a *Journal is one.
type Source interface {
	// Scan is (*Journal).Scan.
	Scan(ctx context.Context, after uint64, records, size int) ([][]byte, error)
}

// Bounds of one read of a source.
const (
	mendRecords = 1024
	mendBytes   = 1 << 20
)

// Mend fills every gap from another copy, oldest first. What the other one has dropped too is dropped here. It returns nil when no gap
// is left, else what it could not fetch; call it again later, or with another source.
func (j *Journal) Mend(ctx context.Context, from Source) error {
	for _, g := range j.Gaps() {
		for next := g.First; next <= g.Last; {
			records, err := from.Scan(ctx, next-1, int(min(g.Last-next+1, mendRecords)), mendBytes)
			missing := (*MissingError)(nil)
			switch {
			case errors.As(err, &missing) && errors.Is(err, ErrGone) && missing.Next > next:
				next = min(missing.Next, g.Last+1)
				if err := j.Drop(next); err != nil {
					return err
				}
				continue
			case err != nil:
				return fmt.Errorf("fetch records %d to %d: %w", next, g.Last, err)
			case len(records) == 0:
				return fmt.Errorf("fetch records %d to %d: %w: the other journal is behind", next, g.Last, ErrGap)
			}
			if err := j.Fill(next, records); err != nil {
				return err
			}
			next += uint64(len(records))
		}
	}
	return nil
}

// Extend fetches from another copy the records up to a seq that come after this one's newest: after a snapshot was restored, nothing
// but the state tells that they are missing, until the next one comes. What the other one has dropped is a gap, which Mend closes.
// Records may be appended meanwhile. It returns nil when it has them all, else what it could not fetch; call it again later.
func (j *Journal) Extend(ctx context.Context, from Source, upTo uint64) error {
	for next := j.Newest() + 1; next <= upTo; {
		records, err := from.Scan(ctx, next-1, int(min(upTo-next+1, mendRecords)), mendBytes)
		missing := (*MissingError)(nil)
		switch {
		case errors.As(err, &missing) && errors.Is(err, ErrGone) && missing.Next > next:
			next = missing.Next
			continue
		case err != nil:
			return fmt.Errorf("fetch records %d to %d: %w", next, upTo, err)
		case len(records) == 0:
			return fmt.Errorf("fetch records %d to %d: %w: the other journal is behind", next, upTo, ErrGap)
		}
		for _, record := range records {
			if err := j.Append(next, record); err != nil {
				return err
			}
			next++
		}
	}
	return nil
}
