package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"sort"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// A segment file is a head, frames, and once it is full a foot: an index, by which a record is found without reading those
// before it. All numbers are little-endian.
//
//	head  "weirjrnl" | version 4 | first seq 8 | seq before it 8 | began, Unix ns 8 | CRC-32C of these 4
//	foot  (ordinal 4, offset 4)* | records 8 | sealed, Unix ns 8 | marks 4 | CRC-32C of these 4 | "weirseal"
const (
	headerMagic = "weirjrnl"
	footerMagic = "weirseal"
	version     = 1
	headerBytes = 40
	tailBytes   = 32
	markBytes   = 8
	markEvery   = 16 << 10 // bytes of frames between two marks of the index
	suffix      = ".seg"
	damaged     = ".damaged" // set aside: appended to the name of a segment
	unfinished  = ".new"     // being written in the place of a damaged one
)

// segment is one file of the journal. Journal.mu guards what it says of growing; Journal.writing whether it is synced.
type segment struct {
	name  string
	first uint64
	after uint64 // the newest seq that the journal had when it began; 0: none
	began time.Time
	file  File
	refs  atomic.Int32 // the journal's, and one of each read in progress; the last one closes the file

	count   uint64
	end     int64 // of the frames, those in buf too
	written int64 // where buf begins
	buf     []byte
	marks   []mark
	sealed  time.Time // zero: it can grow

	synced bool // all of it, and it is sealed
}

// mark says where a frame begins.
type mark struct{ ordinal, offset uint32 }

func segmentName(first uint64) string { return fmt.Sprintf("%020d%s", first, suffix) }

// segmentFirst reads the name of a segment.
func segmentFirst(name string) (uint64, bool) {
	digits, ok := strings.CutSuffix(name, suffix)
	if !ok || len(digits) != 20 {
		return 0, false
	}
	first, err := strconv.ParseUint(digits, 10, 64)
	return first, err == nil && first > 0
}

// newSegment returns a segment whose head is still to be written.
func newSegment(first, after uint64, began time.Time) *segment {
	s := &segment{name: segmentName(first), first: first, after: after, began: began, end: headerBytes}
	s.refs.Store(1)
	s.buf = s.header()
	return s
}

func (s *segment) header() []byte {
	b := binary.LittleEndian.AppendUint32([]byte(headerMagic), version)
	b = binary.LittleEndian.AppendUint64(b, s.first)
	b = binary.LittleEndian.AppendUint64(b, s.after)
	b = binary.LittleEndian.AppendUint64(b, uint64(s.began.UnixNano()))
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// errTorn: there is no whole head or foot.
var errTorn = errors.New("not whole")

// readHeader fills in what the head says, for a segment that has its name and its file.
func (s *segment) readHeader() error {
	var b [headerBytes]byte
	if _, err := s.file.ReadAt(b[:], 0); err != nil {
		if errors.Is(err, io.EOF) {
			return errTorn
		}
		return err
	}
	if string(b[:8]) != headerMagic || binary.LittleEndian.Uint32(b[36:]) != crc32.Checksum(b[:36], castagnoli) {
		return errTorn
	}
	if v := binary.LittleEndian.Uint32(b[8:]); v > version { // whatever the version, the head has this shape
		return fmt.Errorf("%w: %s is of version %d, this is version %d", ErrNewer, s.name, v, version)
	}
	if binary.LittleEndian.Uint64(b[12:]) != s.first {
		return errTorn
	}
	s.after = binary.LittleEndian.Uint64(b[20:])
	s.began = time.Unix(0, int64(binary.LittleEndian.Uint64(b[28:])))
	if s.after >= s.first {
		return errTorn
	}
	return nil
}

// footer returns the foot of a segment that is sealed.
func (s *segment) footer() []byte {
	b := make([]byte, 0, s.footerBytes())
	for _, m := range s.marks {
		b = binary.LittleEndian.AppendUint32(b, m.ordinal)
		b = binary.LittleEndian.AppendUint32(b, m.offset)
	}
	b = binary.LittleEndian.AppendUint64(b, s.count)
	b = binary.LittleEndian.AppendUint64(b, uint64(s.sealed.UnixNano()))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(s.marks)))
	b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
	return append(b, footerMagic...)
}

func (s *segment) footerBytes() int64 { return int64(len(s.marks))*markBytes + tailBytes }

// readFooter fills in what the foot says. errTorn: there is none.
func (s *segment) readFooter(size int64) error {
	if size < headerBytes+tailBytes {
		return errTorn
	}
	var tail [tailBytes]byte
	if _, err := s.file.ReadAt(tail[:], size-tailBytes); err != nil {
		return err
	}
	n := int64(binary.LittleEndian.Uint32(tail[16:]))
	length := n*markBytes + tailBytes
	if string(tail[24:]) != footerMagic || length > size-headerBytes {
		return errTorn
	}
	b := make([]byte, length)
	if _, err := s.file.ReadAt(b, size-length); err != nil {
		return err
	}
	if binary.LittleEndian.Uint32(tail[20:]) != crc32.Checksum(b[:length-12], castagnoli) {
		return errTorn
	}
	marks := make([]mark, n)
	for i := range marks {
		marks[i] = mark{binary.LittleEndian.Uint32(b[i*markBytes:]), binary.LittleEndian.Uint32(b[i*markBytes+4:])}
	}
	count := binary.LittleEndian.Uint64(tail[:])
	if !orderly(marks, count, size-length) {
		return errTorn
	}
	s.count = count
	s.sealed = time.Unix(0, int64(binary.LittleEndian.Uint64(tail[8:])))
	s.marks, s.end = marks, size-length
	s.written = size
	return nil
}

// orderly tells whether marks can be those of so many frames that end there.
func orderly(marks []mark, count uint64, end int64) bool {
	if len(marks) == 0 {
		return count == 0 && end == headerBytes
	}
	before := mark{0, headerBytes}
	for i, m := range marks {
		if i == 0 && m != before || i > 0 && (m.ordinal <= before.ordinal || m.offset <= before.offset) {
			return false
		}
		before = m
	}
	return uint64(before.ordinal) < count && int64(before.offset) < end
}

// last returns the seq of the newest record; it is first-1 when there is none.
func (s *segment) last() uint64 { return s.first + s.count - 1 }

func (s *segment) size() int64 {
	if s.sealed.IsZero() {
		return s.end
	}
	return s.end + s.footerBytes()
}

// fits tells whether the segment takes another record before it is full.
func (s *segment) fits(record []byte, segmentBytes int64) bool {
	return s.count == 0 || s.end+frameBytes+int64(len(record)) <= segmentBytes
}

// put appends a frame to what is buffered.
func (s *segment) put(head [frameBytes]byte, record []byte) {
	s.marked(frameBytes + len(record))
	s.buf = append(append(s.buf, head[:]...), record...)
}

// marked counts a frame of n bytes at the end.
func (s *segment) marked(n int) {
	if len(s.marks) == 0 || s.end-int64(s.marks[len(s.marks)-1].offset) >= markEvery {
		s.marks = append(s.marks, mark{uint32(s.count), uint32(s.end)})
	}
	s.count++
	s.end += int64(n)
}

// around returns where the frames from the last mark before seq to the next one after it stand, and the first one's seq.
func (s *segment) around(seq uint64) (first uint64, from, to int64) {
	ordinal := uint32(seq - s.first)
	i := sort.Search(len(s.marks), func(i int) bool { return s.marks[i].ordinal > ordinal })
	from, to = int64(s.marks[i-1].offset), s.end
	if i < len(s.marks) {
		to = int64(s.marks[i].offset)
	}
	return s.first + uint64(s.marks[i-1].ordinal), from, to
}

// release gives up a reference.
func (s *segment) release() {
	if s.refs.Add(-1) == 0 && s.file != nil {
		_ = s.file.Close() // whatever had to be durable was synced
	}
}
