package journal

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// recover reads what is there. Of most segments it reads head and foot only; it reads whole those that have no foot, and the
// newest two, which may not have been synced when the machine stopped.
func (j *Journal) recover() error {
	names, err := j.files.List()
	if err != nil {
		return err
	}
	slices.Sort(names)
	names = slices.DeleteFunc(names, func(name string) bool {
		if strings.HasSuffix(name, unfinished) && !j.config.ReadOnly {
			err = errors.Join(err, j.files.Remove(name))
		}
		_, ok := segmentFirst(name)
		return !ok
	})
	for i, name := range names {
		s, openErr := j.reopen(name, len(names)-1-i)
		if openErr != nil {
			err = errors.Join(err, openErr)
			break
		}
		if s == nil {
			continue
		}
		if n := len(j.segments); n > 0 && s.first <= j.segments[n-1].last() {
			err = fmt.Errorf("%w: %s begins with record %d, which %s has too: move the one that does not belong there out of the folder",
				ErrDamaged, s.name, s.first, j.segments[n-1].name)
			s.release()
			break
		}
		j.segments = append(j.segments, s)
		j.newest = max(j.newest, s.after, s.last())
	}
	if err != nil {
		for _, s := range j.segments {
			s.release()
		}
		return err
	}
	if n := len(j.segments); n > 0 && j.segments[n-1].sealed.IsZero() {
		j.head = j.segments[n-1]
	}
	j.flushed = j.newest
	return nil
}

// reopen opens a segment which so many come after, and repairs it. Nil: nothing in it can be read, and none comes after it.
func (j *Journal) reopen(name string, later int) (*segment, error) {
	first, _ := segmentFirst(name)
	s := newSegment(first, 0, j.config.Now())
	s.buf = nil
	var err error
	if s.file, err = j.files.Open(name, !j.config.ReadOnly); err != nil {
		return nil, err
	}
	size, err := s.file.Size()
	if err == nil {
		err = s.readHeader()
	}
	if errors.Is(err, errTorn) {
		return j.headless(s, size, later)
	}
	footed := false
	if err == nil {
		err = s.readFooter(size)
		footed = err == nil
		if errors.Is(err, errTorn) {
			err = nil
		}
	}
	s.synced = footed && later >= 2
	if err == nil && !s.synced {
		err = j.verify(s, size, footed, later)
	}
	if err != nil {
		s.release()
		return nil, err
	}
	return s, nil
}

// headless deals with a segment whose head is not whole.
func (j *Journal) headless(s *segment, size int64, later int) (*segment, error) {
	empty := size <= headerBytes
	if !empty {
		j.counts.damaged.Add(1)
		j.log.Error("a segment of the journal has no whole head and is set aside", "file", s.name, "as", s.name+damaged)
	}
	if later > 0 { // it keeps its place, for what was in it is a gap
		s.after = s.first - 1
		return s, j.rewrite(s, !empty)
	}
	defer s.release()
	if j.config.ReadOnly {
		return nil, nil
	}
	if empty {
		return nil, j.files.Remove(s.name)
	}
	return nil, j.files.Rename(s.name, s.name+damaged)
}

// verify reads a segment whole, cuts what is torn off its end, and sets aside what is damaged.
func (j *Journal) verify(s *segment, size int64, footed bool, later int) error {
	count, to := s.count, size
	if footed {
		to = s.end
	}
	good, follows, err := s.scan(to)
	if err != nil {
		return fmt.Errorf("read %s: %w", s.name, err)
	}
	s.written = s.end
	whole := good == to && (!footed || count == s.count)
	switch {
	case whole && footed:
		s.written = size
		return nil
	case footed || follows: // it was written whole, or what comes after the damage was
		j.counts.damaged.Add(1)
		j.log.Error("a segment of the journal is damaged: a copy is set aside, and what it has from there on is a gap",
			"file", s.name, "at_byte", good, "record", s.last()+1, "copy", s.name+damaged)
		return j.rewrite(s, true)
	case !whole:
		j.counts.torn.Add(uint64(to - good))
		j.log.Warn("the end of a segment of the journal was not whole and is cut off", "file", s.name, "at_byte", good, "bytes", to-good, "after_record", s.last())
		if !j.config.ReadOnly {
			if err := s.file.Truncate(good); err != nil {
				return err
			}
		}
	}
	if later == 0 {
		return nil // it can grow
	}
	s.sealed = j.config.Now()
	if j.config.ReadOnly {
		return nil
	}
	_, err = s.file.WriteAt(s.footer(), s.end)
	return err
}

// scan reads the frames of a segment up to a byte and indexes them. It returns where the last whole one ends, and whether a
// whole one follows on the one after it: then it is damage, not the end.
func (s *segment) scan(to int64) (good int64, follows bool, err error) {
	s.count, s.end, s.marks = 0, headerBytes, nil
	room := min(frameBytes+RecordMax, max(to-headerBytes, 0)) // of the largest frame that there can be
	r := bufio.NewReaderSize(io.NewSectionReader(s.file, headerBytes, to-headerBytes), int(room))
	for {
		head, err := r.Peek(frameBytes)
		if err != nil {
			return s.end, false, eof(err)
		}
		n := frameSize(head)
		if n == 0 {
			return s.end, false, nil
		}
		b, err := r.Peek(n)
		if err != nil {
			return s.end, false, eof(err)
		}
		if _, ok := frameRecord(s.last()+1, b); !ok {
			_, _ = r.Discard(n) // it is buffered
			return s.end, s.follows(r), nil
		}
		s.marked(n)
		_, _ = r.Discard(n)
	}
}

// follows tells whether the frame of the record after the next one stands here.
func (s *segment) follows(r *bufio.Reader) bool {
	head, _ := r.Peek(frameBytes)
	b, _ := r.Peek(frameSize(head))
	_, ok := frameRecord(s.last()+2, b)
	return ok
}

func eof(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, bufio.ErrBufferFull) {
		return nil
	}
	return err
}

// rewrite puts what is whole of a segment in its place, with head and foot; aside keeps a copy of what was there.
func (j *Journal) rewrite(s *segment, aside bool) error {
	s.sealed, s.synced = j.config.Now(), false
	if j.config.ReadOnly {
		return nil
	}
	b := make([]byte, s.end, s.size())
	if _, err := s.file.ReadAt(b[headerBytes:], headerBytes); err != nil && s.end > headerBytes {
		return err
	}
	copy(b, s.header())
	b = append(b, s.footer()...)
	file, err := j.files.Create(s.name + unfinished)
	if err != nil {
		return err
	}
	if _, err = file.WriteAt(b, 0); err == nil {
		err = file.Sync()
	}
	if err == nil && aside {
		err = j.files.Rename(s.name, s.name+damaged)
	}
	if err == nil {
		err = j.files.Rename(s.name+unfinished, s.name)
	}
	if err != nil {
		return errors.Join(err, file.Close())
	}
	_ = s.file.Close() // it was read only
	s.file, s.written, s.synced = file, int64(len(b)), true
	return j.files.Sync()
}
