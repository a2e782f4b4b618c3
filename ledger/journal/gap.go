package journal

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sort"
)

// Gap is a range of records that are missing, both ends included: what a restored snapshot skipped, or a damaged segment had.
type Gap struct{ First, Last uint64 }

// Gaps returns what is missing between what the journal has, oldest first. What was dropped is no gap.
func (j *Journal) Gaps() []Gap {
	j.mu.RLock()
	defer j.mu.RUnlock()
	var gaps []Gap
	next := j.bottom()
	for _, s := range j.segments {
		if s.count == 0 {
			continue
		}
		if s.first > next {
			gaps = append(gaps, Gap{next, s.first - 1})
		}
		next = max(next, s.last()+1)
	}
	return gaps
}

// bottom returns the lowest seq that is not gone for good.
func (j *Journal) bottom() uint64 {
	if len(j.segments) == 0 || j.segments[0].after == 0 {
		return j.floor
	}
	return max(j.floor, j.segments[0].first)
}

// Fill takes records that were fetched from another node: the first has this seq, the others follow. All must be of one gap, or
// it is ErrInvalid and nothing is taken. It is best filled from its lower end, in batches: what is written out of order
// takes a file each time.
func (j *Journal) Fill(first uint64, records [][]byte) error {
	for i, record := range records {
		if err := valid(first+uint64(i), record); err != nil {
			return err
		}
	}
	last := first + uint64(len(records)) - 1
	gaps := j.Gaps()
	if !slices.ContainsFunc(gaps, func(g Gap) bool { return g.First <= first && first <= last && last <= g.Last }) {
		return fmt.Errorf("%w: records %d to %d are of no gap, of which there are %v", ErrInvalid, first, last, gaps[:min(len(gaps), 8)])
	}
	j.writing.Lock()
	defer j.writing.Unlock()
	if err := j.writable(); err != nil {
		return err
	}
	for i, record := range records {
		if err := j.fill(first+uint64(i), record); err != nil {
			return j.fail(err)
		}
	}
	return j.fail(j.flush())
}

// fill puts a record into a gap. When another call was faster it is there already.
func (j *Journal) fill(seq uint64, record []byte) error {
	s := j.filling
	if s == nil || seq != s.last()+1 || !s.fits(record, j.config.SegmentBytes) {
		if err := j.sealFilling(); err != nil {
			return err
		}
		if _, err := j.holding(seq); err == nil {
			return nil
		}
		i := sort.Search(len(j.segments), func(i int) bool { return j.segments[i].first > seq })
		after := uint64(0)
		if i > 0 {
			after = j.segments[i-1].last()
		}
		var err error
		if s, err = j.begin(seq, after); err != nil {
			return err
		}
		j.filling = s
	}
	j.mu.Lock()
	s.put(frameHead(seq, record), record)
	pending := len(s.buf)
	j.mu.Unlock()
	if j.begins(seq + 1) {
		return j.sealFilling()
	}
	if pending >= bufferBytes {
		return j.write(s)
	}
	return nil
}

// begins tells whether there is a segment of seq, an empty one even.
func (j *Journal) begins(seq uint64) bool {
	_, ok := slices.BinarySearchFunc(j.segments, seq, func(s *segment, seq uint64) int { return cmp.Compare(s.first, seq) })
	return ok
}

// sealFilling ends the segment that fills a gap. Its frames are durable before it has a foot, for recovery trusts the foot.
func (j *Journal) sealFilling() error {
	s := j.filling
	if s == nil {
		return nil
	}
	j.filling = nil
	if err := j.write(s); err != nil {
		return err
	}
	if err := s.file.Sync(); err != nil {
		return err
	}
	return j.seal(s)
}

// begin makes the segment of seq and puts it in its place. It takes the place of an empty one, which stands for what was
// found damaged there.
func (j *Journal) begin(seq, after uint64) (*segment, error) {
	s := newSegment(seq, after, j.config.Now())
	i := sort.Search(len(j.segments), func(i int) bool { return j.segments[i].first >= seq })
	if i < len(j.segments) && j.segments[i].first == seq {
		old := j.segments[i]
		s.after = old.after
		s.buf = s.header()
		j.mu.Lock()
		j.segments = slices.Delete(j.segments, i, i+1)
		j.mu.Unlock()
		old.release()
		if err := j.files.Remove(s.name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	file, err := j.files.Create(s.name)
	if err != nil {
		return nil, err
	}
	s.file = file
	if err := j.files.Sync(); err != nil { // were the name lost, it would look as if the segment had been dropped
		s.release()
		return nil, err
	}
	j.mu.Lock()
	j.segments = slices.Insert(j.segments, i, s)
	j.mu.Unlock()
	return s, nil
}

// Drop says that nothing below a seq is to be had anywhere: whole segments below it are dropped, and what is missing below it
// is gone instead of a gap. The newest two segments stay. It is not kept over a restart.
func (j *Journal) Drop(below uint64) error {
	j.writing.Lock()
	if err := j.writable(); err != nil {
		j.writing.Unlock()
		return err
	}
	j.mu.Lock()
	j.floor = max(j.floor, below)
	j.mu.Unlock()
	dropped := j.cut(func(s *segment) bool { return s.last() < below })
	j.writing.Unlock()
	return j.remove(dropped)
}
