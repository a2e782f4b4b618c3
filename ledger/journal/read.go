package journal

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sort"
)

// Read returns a record, which the caller owns. One that is not there is a *MissingError; one that is not what was written is
// ErrDamaged, which names the file.
func (j *Journal) Read(seq uint64) ([]byte, error) {
	sp, err := j.span(seq)
	if err != nil {
		return nil, err
	}
	return sp.next()
}

// Scan returns the records after a seq, oldest first and without a gap between them: at most so many and, but for the first,
// so many bytes. The caller owns them. None means that there is none yet. It ends before a gap; from there the next Scan
// is a *MissingError, which tells where to go on.
func (j *Journal) Scan(ctx context.Context, after uint64, records, size int) ([][]byte, error) {
	var found [][]byte
	for seq := after + 1; len(found) < records; {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if seq > j.Newest() {
			break
		}
		sp, err := j.span(seq)
		if errors.As(err, new(*MissingError)) && len(found) > 0 {
			break
		}
		if err != nil {
			return nil, err
		}
		for len(sp.b) > 0 && len(found) < records {
			record, err := sp.next()
			if err != nil {
				return nil, err
			}
			if size -= len(record); size < 0 && len(found) > 0 {
				return found, nil
			}
			found = append(found, record)
			seq++
		}
	}
	return found, nil
}

// Wait returns once there is a record after a seq, at the latest 50 ms after it was appended while Run runs. It ends with
// ctx, with ErrClosed, and with the error of a failed write, after which none can come.
func (j *Journal) Wait(ctx context.Context, after uint64) error {
	for {
		j.mu.RLock()
		newest, grown, closed, fault := j.flushed, j.grown, j.closed, j.fault
		j.mu.RUnlock()
		switch {
		case closed:
			return ErrClosed
		case newest > after:
			return nil
		case fault != nil:
			return fault
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-grown:
		}
	}
}

// Range returns Oldest and Newest, of the same moment.
func (j *Journal) Range(context.Context) (oldest, newest uint64, err error) {
	j.mu.RLock()
	defer j.mu.RUnlock()
	if j.closed {
		return 0, 0, ErrClosed
	}
	return j.oldest(), j.newest, nil
}

// span reads the frames from a record to the next mark of its segment's index.
func (j *Journal) span(seq uint64) (span, error) {
	j.mu.RLock()
	s, err := j.holding(seq)
	if err != nil {
		j.mu.RUnlock()
		return span{}, err
	}
	first, from, to := s.around(seq)
	b := make([]byte, to-from)
	onFile := min(max(s.written-from, 0), to-from)
	if onFile < to-from {
		copy(b[onFile:], s.buf[from+onFile-s.written:])
	}
	s.refs.Add(1)
	j.mu.RUnlock()
	defer s.release()

	if _, err := s.file.ReadAt(b[:onFile], from); err != nil && !errors.Is(err, io.EOF) { // what is not there fails its checksum
		return span{}, fmt.Errorf("read journal: %w", err)
	}
	sp := span{first: first, b: b, name: s.name, offset: from}
	if !sp.skip(seq) {
		return span{}, sp.damage()
	}
	return sp, nil
}

// holding returns the segment that has a record.
func (j *Journal) holding(seq uint64) (*segment, error) {
	if j.closed {
		return nil, ErrClosed
	}
	i := sort.Search(len(j.segments), func(i int) bool { return j.segments[i].first > seq })
	if i > 0 && seq <= j.segments[i-1].last() {
		return j.segments[i-1], nil
	}
	missing := &MissingError{Seq: seq, Gap: seq >= j.bottom()}
	for _, s := range j.segments[i:] {
		if s.count > 0 {
			missing.Next = s.first
			break
		}
	}
	return nil, missing
}
