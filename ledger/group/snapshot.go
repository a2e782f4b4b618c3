package group

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"time"

	"github.com/hashicorp/raft"
)

// A snapshot is a stream of all machines, each a section, in the order of their names:
//
//	head:    magic 8 bytes | index 8 | term 8 | wall ns 8, or the least number for none | elapsed ns 8 | term 8 and mono ns 8 of
//	         the last reading | sections 2 | CRC 4 of the head
//	section: name length 1, name | frames | a frame of length 0 whose CRC is that of the whole section, name included
//	frame:   length 4 | CRC 4 of its bytes | bytes, at most 256 KiB
//
// Numbers are big endian, sums are CRC-32C. A machine sees only bytes whose frame was checked. The head of version 1, which is
// still read, is only magic, index, wall, sections and CRC.
const (
	snapshotMagic      = "WEIRGRP" // the version follows
	snapshotVersion    = 2
	snapshotVersionMin = 1
	headBytes          = 8 + 8 + 8 + 8 + 8 + 8 + 2 + 4 // behind the version
	headBytesFirst     = 8 + 8 + 2 + 4                 // in version 1
	frameBytesMax      = 256 << 10
	sectionsMax        = 256
	wallNone           = -1 << 63
)

var (
	errSnapshotNewer = errors.New("snapshot is of a newer version than this program reads: upgrade it")
	errSnapshotBad   = errors.New("snapshot is malformed")
	castagnoli       = crc32.MakeTable(crc32.Castagnoli)
)

// head is where and when a snapshot was taken.
type head struct {
	As       // Wall is zero before the first entry
	elapsed  elapsed
	machines int // sections that follow
}

type section struct {
	name  string
	write func(io.Writer) error
}

type snapshot struct {
	head
	sections []section
}

var _ raft.FSMSnapshot = (*snapshot)(nil)

// Persist writes the stream. It runs beside Apply.
func (s *snapshot) Persist(sink raft.SnapshotSink) error {
	if err := s.writeTo(sink); err != nil {
		return errors.Join(fmt.Errorf("write snapshot at %d: %w", s.Index, err), sink.Cancel())
	}
	if err := sink.Close(); err != nil {
		return fmt.Errorf("close snapshot at %d: %w", s.Index, err)
	}
	return nil
}

// Release has nothing to free.
func (s *snapshot) Release() {}

func (s *snapshot) writeTo(w io.Writer) error {
	s.machines = len(s.sections)
	if err := s.head.writeTo(w); err != nil {
		return err
	}
	for _, part := range s.sections {
		if err := part.writeTo(w); err != nil {
			return err
		}
	}
	return nil
}

func (h head) writeTo(w io.Writer) error {
	wall := int64(wallNone)
	if !h.Wall.IsZero() {
		wall = h.Wall.UnixNano()
	}
	b := append(make([]byte, 0, len(snapshotMagic)+1+headBytes), snapshotMagic...)
	b = append(b, snapshotVersion)
	for _, n := range []uint64{h.Index, h.Term, uint64(wall), uint64(h.elapsed.total), h.elapsed.last.term, uint64(h.elapsed.last.mono)} {
		b = binary.BigEndian.AppendUint64(b, n)
	}
	b = binary.BigEndian.AppendUint16(b, uint16(h.machines))
	b = binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
	_, err := w.Write(b)
	return err
}

func (s section) writeTo(w io.Writer) error {
	if _, err := w.Write(append([]byte{byte(len(s.name))}, s.name...)); err != nil {
		return err
	}
	frames := &frameWriter{to: w, sum: crc32.Checksum([]byte(s.name), castagnoli)}
	buffered := bufio.NewWriterSize(frames, frameBytesMax)
	if err := errors.Join(s.write(buffered), buffered.Flush(), frames.end()); err != nil {
		return fmt.Errorf("section %s: %w", s.name, err)
	}
	return nil
}

// frameWriter writes frames of one section.
type frameWriter struct {
	to  io.Writer
	sum uint32 // of the section so far
}

// Write makes frames of b.
func (f *frameWriter) Write(b []byte) (int, error) {
	written := 0
	for len(b) > written {
		part := b[written:min(len(b), written+frameBytesMax)]
		if err := f.frame(len(part), crc32.Checksum(part, castagnoli)); err != nil {
			return written, err
		}
		count, err := f.to.Write(part)
		written += count
		if err != nil {
			return written, err
		}
		f.sum = crc32.Update(f.sum, castagnoli, part)
	}
	return written, nil
}

func (f *frameWriter) end() error { return f.frame(0, f.sum) }

func (f *frameWriter) frame(length int, sum uint32) error {
	_, err := f.to.Write(binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, uint32(length)), sum))
	return err
}

// readSnapshot gives each section to restore, which must read it to its end, and accepts only a stream that
// is complete, in order, and has nothing behind it.
func readSnapshot(from io.Reader, restore func(name string, r io.Reader) error) (head, error) {
	h, err := readHead(from)
	if err != nil {
		return head{}, err
	}
	if err := readSections(from, h.machines, restore); err != nil {
		return head{}, err
	}
	return h, nil
}

func readHead(from io.Reader) (h head, err error) {
	b := make([]byte, len(snapshotMagic)+1, len(snapshotMagic)+1+headBytes)
	if _, err := io.ReadFull(from, b); err != nil {
		return h, fmt.Errorf("read head: %w: %v", errSnapshotBad, err)
	}
	version, size := b[len(snapshotMagic)], headBytes
	switch {
	case string(b[:len(snapshotMagic)]) != snapshotMagic || version < snapshotVersionMin:
		return h, fmt.Errorf("read head: %w", errSnapshotBad)
	case version > snapshotVersion:
		return h, fmt.Errorf("version %d, this program reads up to %d: %w", version, snapshotVersion, errSnapshotNewer)
	case version == snapshotVersionMin:
		size = headBytesFirst
	}
	rest := b[len(b) : len(b)+size]
	if _, err := io.ReadFull(from, rest); err != nil {
		return h, fmt.Errorf("read head: %w: %v", errSnapshotBad, err)
	}
	b = b[:len(b)+size-4]
	number := func() uint64 {
		n := binary.BigEndian.Uint64(rest)
		rest = rest[8:]
		return n
	}
	h.Index = number()
	if version > snapshotVersionMin {
		h.Term = number()
	}
	if wall := int64(number()); wall != wallNone {
		h.Wall = time.Unix(0, wall).UTC()
	}
	if version > snapshotVersionMin {
		h.elapsed = elapsed{time.Duration(number()), reading{number(), time.Duration(number())}}
	}
	h.machines = int(binary.BigEndian.Uint16(rest))
	if binary.BigEndian.Uint32(rest[2:]) != crc32.Checksum(b, castagnoli) || h.machines > sectionsMax || h.elapsed.total < 0 {
		return head{}, fmt.Errorf("read head: %w", errSnapshotBad)
	}
	return h, nil
}

func readSections(from io.Reader, count int, restore func(name string, r io.Reader) error) error {
	last := ""
	for range count {
		name, err := readName(from)
		if err != nil || name <= last {
			return fmt.Errorf("read section after %q: %w: %v", last, errSnapshotBad, err)
		}
		frames := &frameReader{from: from, sum: crc32.Checksum([]byte(name), castagnoli)}
		if err := restore(name, frames); err != nil {
			return fmt.Errorf("restore section %s: %w", name, err)
		}
		if _, err := frames.Read(make([]byte, 1)); err != io.EOF {
			return fmt.Errorf("read end of section %s: %w: %v", name, errSnapshotBad, err)
		}
		last = name
	}
	if _, err := io.ReadFull(from, make([]byte, 1)); err != io.EOF {
		return fmt.Errorf("read end: %w: %v", errSnapshotBad, err)
	}
	return nil
}

func readName(from io.Reader) (string, error) {
	var b [1 + machineNameBytesMax]byte
	if _, err := io.ReadFull(from, b[:1]); err != nil {
		return "", err
	}
	if b[0] == 0 || b[0] > machineNameBytesMax {
		return "", errSnapshotBad
	}
	name := b[1 : 1+b[0]]
	_, err := io.ReadFull(from, name)
	return string(name), err
}

// frameReader reads the bytes of one section, each frame checked before any of it is handed on.
type frameReader struct {
	from io.Reader
	sum  uint32
	rest []byte // of the frame that was read last
	err  error  // sticky: io.EOF at the end of the section
}

// Read returns bytes of one frame.
func (f *frameReader) Read(b []byte) (int, error) {
	for len(f.rest) == 0 && f.err == nil {
		f.next()
	}
	if len(f.rest) == 0 {
		return 0, f.err
	}
	count := copy(b, f.rest)
	f.rest = f.rest[count:]
	return count, nil
}

func (f *frameReader) next() {
	var head [8]byte
	if _, err := io.ReadFull(f.from, head[:]); err != nil {
		f.err = fmt.Errorf("read frame: %w: %v", errSnapshotBad, err) // an early end must not look like io.EOF
		return
	}
	length, sum := binary.BigEndian.Uint32(head[:]), binary.BigEndian.Uint32(head[4:])
	switch {
	case length > frameBytesMax, length == 0 && sum != f.sum:
		f.err = fmt.Errorf("read frame of %d bytes: %w", length, errSnapshotBad)
		return
	case length == 0:
		f.err = io.EOF
		return
	}
	f.rest = make([]byte, length)
	if _, err := io.ReadFull(f.from, f.rest); err != nil || crc32.Checksum(f.rest, castagnoli) != sum {
		f.rest, f.err = nil, fmt.Errorf("read frame of %d bytes: %w: %v", length, errSnapshotBad, err)
		return
	}
	f.sum = crc32.Update(f.sum, castagnoli, f.rest)
}
