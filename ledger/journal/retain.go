package journal

import (
	"errors"
	"io/fs"
	"math"
	"slices"
)

// retire drops the oldest segments: those that are old enough and that nobody needs, and whatever is too much.
func (j *Journal) retire() {
	needed := uint64(math.MaxUint64)
	if j.config.Floor != nil {
		needed = j.config.Floor()
	}
	now := j.config.Now()
	j.writing.Lock()
	if j.writable() != nil {
		j.writing.Unlock()
		return
	}
	bytes := int64(0)
	for _, s := range j.segments {
		bytes += s.size()
	}
	var forced uint64
	dropped := j.cut(func(s *segment) bool {
		wanted := s.count > 0 && s.last() >= needed
		switch {
		case bytes > j.config.RetainBytes:
			if wanted {
				forced++
			}
		case wanted || now.Sub(s.sealed) < j.config.RetainFor:
			return false
		}
		bytes -= s.size()
		return true
	})
	j.writing.Unlock()
	if forced > 0 {
		j.counts.forced.Add(forced)
		j.log.Warn("records were dropped that a consumer still needs: the journal is at its bound",
			"segments", forced, "retain_bytes", j.config.RetainBytes, "needed_from", needed)
	}
	if err := j.remove(dropped); err != nil {
		j.log.Warn("dropped segments could not be removed; that is tried again at the next start", "err", err)
	}
}

// cut takes segments off the old end for as long as drop says so. One that can grow stays, and so do the newest two: a crash
// may take all of the newest one, and the other still tells how far the journal was.
func (j *Journal) cut(drop func(*segment) bool) []*segment {
	n := 0
	for n < len(j.segments)-2 && !j.segments[n].sealed.IsZero() && drop(j.segments[n]) {
		n++
	}
	if n == 0 {
		return nil
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	dropped := slices.Clone(j.segments[:n])
	j.segments = slices.Clone(j.segments[n:])
	return dropped
}

// remove removes the files of dropped segments, and what was set aside of them.
func (j *Journal) remove(dropped []*segment) error {
	var errs []error
	for _, s := range dropped {
		s.release()
		j.counts.retired.Add(1)
		if err := j.files.Remove(s.name); err != nil {
			errs = append(errs, err)
		}
		if err := j.files.Remove(s.name + damaged); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	if len(dropped) > 0 {
		errs = append(errs, j.files.Sync())
	}
	return errors.Join(errs...)
}
