package policy

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

const (
	snapshotMagic  = "weir-policy\x02"
	oldMagic       = "weir-policy\x01" // of the first release: version 8 bytes, length 4 bytes, text
	oldHeader      = 8 + 4
	stateFormat    = 1
	stateBytesMax  = versionBytesMax + TextMax + 4*besideBytesMax
	versionsBefore = 1 << 62 // no version or revision comes near it
)

// Snapshot captures what the log brought about; the returned function writes it and may run later, beside Apply.
func (b *Book) Snapshot() (func(io.Writer) error, error) {
	a := b.applied
	return func(w io.Writer) error {
		if _, err := w.Write(append([]byte(snapshotMagic), a.encode(0)...)); err != nil {
			return fmt.Errorf("write policy snapshot: %w", err)
		}
		return nil
	}, nil
}

// Restore replaces what the log brought about by what a Snapshot wrote; what was learnt and is newer stays known. On an
// error nothing changed.
func (b *Book) Restore(r io.Reader) error {
	text, err := io.ReadAll(io.LimitReader(r, int64(len(snapshotMagic)+stateBytesMax)+1))
	if err != nil {
		return fmt.Errorf("read policy snapshot: %w", err)
	}
	a, err := decodeSnapshot(text)
	if err != nil {
		return fmt.Errorf("read policy snapshot: %w", err)
	}
	b.applied = a
	b.adopt(a)
	return nil
}

func decodeSnapshot(b []byte) (agreed, error) {
	if len(b) < len(snapshotMagic) {
		return agreed{}, errors.New("it ends too early")
	}
	switch magic, rest := string(b[:len(snapshotMagic)]), b[len(snapshotMagic):]; magic {
	case snapshotMagic:
		a, s, err := decodeState(rest)
		if err == nil && len(a.versions) > 0 && a.versions[0].number != s.first {
			return a, fmt.Errorf("version %d is missing", s.first)
		}
		if err == nil {
			err = a.fill(&agreed{}, s)
		}
		return a, err
	case oldMagic:
		return decodeOld(rest)
	default:
		return agreed{}, errors.New("it is not one, or of a newer format than this release knows")
	}
}

// decodeOld reads what the first release wrote, where only documents were agreed on: their version is the revision.
func decodeOld(b []byte) (agreed, error) {
	if len(b) < oldHeader {
		return agreed{}, errors.New("it ends too early")
	}
	number, size, text := binary.BigEndian.Uint64(b), binary.BigEndian.Uint32(b[8:]), b[oldHeader:]
	if size > TextMax || (number == 0) != (size == 0) || number >= versionsBefore {
		return agreed{}, fmt.Errorf("version %d with %d bytes cannot be", number, size)
	}
	if len(text) != int(size) {
		return agreed{}, fmt.Errorf("%d bytes where %d were announced", len(text), size)
	}
	if number == 0 {
		return agreed{}, nil
	}
	return agreed{revision: number, versions: []version{{number: number, text: slices.Clone(text)}}}, nil
}

// State returns what this node knows to be agreed, for Learn on a node that has the texts up to a version; they are
// left out.
func (b *Book) State(version uint64) []byte {
	known := b.agreed()
	return known.encode(version)
}

// encode writes what is agreed, without the texts up to a version, which the reader has. Equal states are equal bytes.
func (a *agreed) encode(have uint64) []byte {
	c := &coder{}
	var s span
	if len(a.versions) > 0 {
		s = span{a.versions[0].number, a.current().number}
	}
	short := *a
	short.versions = slices.DeleteFunc(slices.Clone(a.versions), func(v version) bool { return v.number <= have })
	short.fields(c, &s)
	return c.b
}

// span is the numbers of the first and the last version that a state holds, left out or not.
type span struct{ first, last uint64 }

// decodeState returns what is agreed but for the versions that its writer left out.
func decodeState(b []byte) (a agreed, s span, err error) {
	if len(b) > stateBytesMax {
		return a, s, fmt.Errorf("%d bytes, at most %d", len(b), stateBytesMax)
	}
	c := &coder{b: b, reading: true}
	a.fields(c, &s)
	return a, s, c.end()
}

// fill adds the versions of the span that were left out because have has them.
func (a *agreed) fill(have *agreed, s span) error {
	next := uint64(versionsBefore)
	if len(a.versions) > 0 {
		next = a.versions[0].number
	}
	var kept []version
	for _, v := range have.versions {
		if v.number >= s.first && v.number < next {
			kept = append(kept, v)
		}
	}
	a.versions = append(kept, a.versions...)
	if a.current().number != s.last || len(a.versions) > VersionsMax {
		return fmt.Errorf("it ends at version %d, and %d versions up to %d are at hand", s.last, len(a.versions), a.current().number)
	}
	return nil
}

func (a *agreed) fields(c *coder, s *span) {
	c.version(stateFormat)
	c.uint(&a.revision)
	c.uint(&s.first)
	c.uint(&s.last)
	n := c.count(len(a.versions), VersionsMax)
	if c.reading {
		a.versions = make([]version, n)
	}
	if c.reading && ((s.first == 0) != (s.last == 0) || s.first > s.last || s.last > a.revision || a.revision >= versionsBefore) {
		c.fail("it cannot hold versions %d to %d after %d changes", s.first, s.last, a.revision)
	}
	next := s.first
	for i := range a.versions {
		v := &a.versions[i]
		v.fields(c)
		if c.reading && (v.number < next || v.number > s.last || len(v.text) == 0) {
			c.fail("it cannot hold version %d here", v.number)
		}
		next = v.number + 1
	}
	places(c, &a.overrides, OverridesMax, func(c *coder, o *override) {
		o.terms.fields(c)
		c.time(&o.until)
	})
	places(c, &a.blocks, BlocksMax, func(c *coder, b *block) {
		c.text(&b.why, wordMax)
		c.time(&b.until)
	})
	places(c, &a.resets, ResetsMax, func(c *coder, r *reset) {
		c.uint(&r.number)
		c.uint(&r.nonce)
		c.time(&r.debts)
	})
}

func (v *version) fields(c *coder) {
	c.uint(&v.number)
	c.time(&v.at)
	c.text(&v.note, wordMax)
	c.bytes(&v.text, TextMax)
}

// places writes a map in the order of its places, or reads one and refuses any other order.
func places[V any](c *coder, m *map[place]V, most int, fields func(*coder, *V)) {
	sorted := make([]place, 0, len(*m))
	for p := range *m {
		sorted = append(sorted, p)
	}
	slices.SortFunc(sorted, place.compare)
	n := c.count(len(*m), most)
	if c.reading && n > 0 {
		*m = make(map[place]V, min(n, len(c.b)/4))
	}
	var last place
	for i := range n {
		var p place
		var v V
		if !c.reading {
			p = sorted[i]
			v = (*m)[p]
		}
		p.fields(c)
		fields(c, &v)
		if !c.reading {
			continue
		}
		if c.err != nil {
			return
		}
		if i > 0 && last.compare(p) >= 0 {
			c.fail("its accounts are not in order")
			return
		}
		(*m)[p], last = v, p
	}
}

func (p place) compare(q place) int {
	if d := strings.Compare(p.domain, q.domain); d != 0 {
		return d
	}
	if a := strings.Compare(p.account, q.account); a != 0 {
		return a
	}
	return strings.Compare(p.limit, q.limit)
}
