package journal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"
)

// bufferBytes is how much is buffered at most before it is written.
const bufferBytes = 256 << 10

// retireEvery is how often Run looks at ages. Sizes it looks at whenever a segment is full.
const retireEvery = time.Minute

// Append takes a record, of 1 byte to RecordMax, and keeps no reference to it. Seqs begin at 1. One that the journal has must
// come with the same record, else it is ErrDiffers, and changes nothing; nor does one that was dropped. A seq beyond the next
// leaves a gap; one in a gap fills it. Readers see the record at once; Run writes it within 50 ms, and Sync makes it durable.
// After the first error of a write the journal takes nothing any more and always returns that error.
func (j *Journal) Append(seq uint64, record []byte) error {
	if err := valid(seq, record); err != nil {
		return err
	}
	head := frameHead(seq, record)
	j.writing.Lock()
	defer j.writing.Unlock()
	if err := j.writable(); err != nil {
		return err
	}
	if seq <= j.newest {
		return j.again(seq, record)
	}
	if j.head == nil || seq != j.newest+1 || !j.head.fits(record, j.config.SegmentBytes) {
		if err := j.roll(seq); err != nil {
			return j.fail(err)
		}
	}
	j.mu.Lock()
	first := j.newest == j.flushed
	j.head.put(head, record)
	j.newest = seq
	pending := len(j.head.buf)
	j.mu.Unlock()
	if first {
		signal(j.dirty)
	}
	if pending >= bufferBytes {
		return j.fail(j.flush())
	}
	return nil
}

func valid(seq uint64, record []byte) error {
	switch {
	case seq == 0:
		return fmt.Errorf("%w: record 0: they begin at 1", ErrInvalid)
	case len(record) == 0 || len(record) > RecordMax:
		return fmt.Errorf("%w: record %d of %d bytes, expected 1 to %d", ErrInvalid, seq, len(record), RecordMax)
	}
	return nil
}

// again takes a record whose turn is over.
func (j *Journal) again(seq uint64, record []byte) error {
	sp := j.repeated
	if seq < sp.first || !sp.skip(seq) {
		var err error
		sp, err = j.span(seq)
		missing := (*MissingError)(nil)
		switch {
		case errors.As(err, &missing) && missing.Gap:
			return j.fail(j.fill(seq, record))
		case errors.As(err, &missing):
			return nil
		case err != nil:
			return err
		}
	}
	have, err := sp.next()
	if err != nil {
		return err
	}
	if !bytes.Equal(have, record) {
		return fmt.Errorf("%w: %d", ErrDiffers, seq)
	}
	j.repeated = sp
	j.counts.repeats.Add(1)
	return nil
}

// roll begins the segment of seq and seals the one before it.
func (j *Journal) roll(seq uint64) error {
	if j.head != nil {
		if err := j.syncSealed(); err != nil { // at most one sealed segment is not synced: recovery reads the newest two whole
			return err
		}
		if err := j.seal(j.head); err != nil {
			return err
		}
		signal(j.full)
	}
	s, err := j.begin(seq, j.newest)
	if err != nil {
		return err
	}
	j.mu.Lock()
	j.head = s
	j.mu.Unlock()
	return nil
}

// writable returns why nothing can be written.
func (j *Journal) writable() error {
	j.mu.RLock()
	defer j.mu.RUnlock()
	switch {
	case j.closed:
		return ErrClosed
	case j.config.ReadOnly:
		return ErrReadOnly
	}
	return j.fault
}

// fail keeps the first error of a write, and tells those who wait for records.
func (j *Journal) fail(err error) error {
	if err == nil {
		return nil
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.fault == nil {
		j.fault = fmt.Errorf("write journal: %w", err)
		j.log.Error("the journal takes no records any more", "err", err)
		close(j.grown)
		j.grown = make(chan struct{})
	}
	return j.fault
}

// Flush hands what is buffered to the operating system: a process that is killed after it loses none of it.
func (j *Journal) Flush() error {
	j.writing.Lock()
	defer j.writing.Unlock()
	if err := j.writable(); err != nil {
		return err
	}
	return j.fail(j.flush())
}

func (j *Journal) flush() error {
	for _, s := range []*segment{j.filling, j.head} {
		if s != nil {
			if err := j.write(s); err != nil {
				return err
			}
		}
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.flushed < j.newest {
		j.flushed = j.newest
		close(j.grown)
		j.grown = make(chan struct{})
	}
	return nil
}

// write writes what a segment has buffered. Readers go on meanwhile: nobody changes the buffer.
func (j *Journal) write(s *segment) error {
	if len(s.buf) == 0 {
		return nil
	}
	if _, err := s.file.WriteAt(s.buf, s.written); err != nil {
		return err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	s.written += int64(len(s.buf))
	s.buf = s.buf[:0]
	return nil
}

// seal ends a segment: it gets its foot and no records any more.
func (j *Journal) seal(s *segment) error {
	if err := j.flush(); err != nil {
		return err
	}
	now := j.config.Now()
	j.mu.Lock()
	s.sealed, s.buf = now, nil
	j.mu.Unlock()
	_, err := s.file.WriteAt(s.footer(), s.end)
	return err
}

// Sync returns when all that was appended before is durable. Appends go on meanwhile.
func (j *Journal) Sync() error {
	j.writing.Lock()
	if err := j.writable(); err != nil {
		j.writing.Unlock()
		return err
	}
	err := j.flush()
	j.mu.RLock()
	var open, sealed []*segment
	for _, s := range j.segments {
		switch {
		case s.synced:
			continue
		case s.sealed.IsZero():
			open = append(open, s)
		default:
			sealed = append(sealed, s)
		}
		s.refs.Add(1)
	}
	j.mu.RUnlock()
	j.writing.Unlock()

	for _, s := range append(open, sealed...) {
		if err == nil {
			err = s.file.Sync()
		}
		s.release()
	}
	j.writing.Lock()
	defer j.writing.Unlock()
	if err != nil {
		return j.fail(err)
	}
	for _, s := range sealed {
		s.synced = true
	}
	return nil
}

// syncSealed syncs the segments that are sealed and not synced yet, which Run has done unless records come very fast.
func (j *Journal) syncSealed() error {
	for _, s := range j.segments {
		if s.synced || s.sealed.IsZero() {
			continue
		}
		if err := s.file.Sync(); err != nil {
			return err
		}
		s.synced = true
	}
	return nil
}

// Run writes what is buffered, syncs full segments and drops old ones until ctx ends, then syncs what is there. A failed write
// does not end it: Append and Stats tell of it, and readers go on.
func (j *Journal) Run(ctx context.Context) error {
	tick := time.NewTicker(retireEvery)
	defer tick.Stop()
	for ctx.Err() == nil { // errors were logged, and Append returns them
		select {
		case <-ctx.Done():
		case <-j.dirty:
			pause(ctx, flushWithin)
			_ = j.Flush()
		case <-j.full:
			_ = j.Sync()
			j.retire()
		case <-tick.C:
			j.retire()
		}
	}
	_ = j.Sync()
	return nil
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// signal leaves one in a channel that holds one.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
