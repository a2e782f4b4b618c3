package journal

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

// frameBytes is what a record takes besides itself: its length and its checksum, 4 bytes each, little-endian. The checksum is
// CRC-32C over the seq, the length and the record: the seq is not stored, yet a record in another one's place is found out.
const frameBytes = 8

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// frameHead returns what stands before a record.
func frameHead(seq uint64, record []byte) (head [frameBytes]byte) {
	binary.LittleEndian.PutUint32(head[:4], uint32(len(record)))
	binary.LittleEndian.PutUint32(head[4:], checksum(seq, record))
	return head
}

func checksum(seq uint64, record []byte) uint32 {
	var head [12]byte
	binary.LittleEndian.PutUint64(head[:8], seq)
	binary.LittleEndian.PutUint32(head[8:], uint32(len(record)))
	return crc32.Update(crc32.Update(0, castagnoli, head[:]), castagnoli, record)
}

// frameSize returns how many bytes the frame at the start of b takes, 0 if there is none.
func frameSize(b []byte) int {
	if len(b) < frameBytes {
		return 0
	}
	n := binary.LittleEndian.Uint32(b)
	if n == 0 || n > RecordMax {
		return 0
	}
	return frameBytes + int(n)
}

// frameRecord returns the record of the frame at the start of b, false if b does not begin with a whole frame of seq.
func frameRecord(seq uint64, b []byte) ([]byte, bool) {
	n := frameSize(b)
	if n == 0 || n > len(b) || binary.LittleEndian.Uint32(b[4:]) != checksum(seq, b[frameBytes:n]) {
		return nil, false
	}
	return b[frameBytes:n:n], true
}

// span is a run of whole frames as read from one segment.
type span struct {
	first  uint64
	b      []byte
	name   string // of the segment
	offset int64  // of b in it
}

// skip goes on to seq, false if the span ends before it.
func (s *span) skip(seq uint64) bool {
	for s.first < seq && len(s.b) > 0 {
		n := frameSize(s.b)
		if n == 0 || n > len(s.b) {
			return true // next finds the damage
		}
		s.forward(n)
	}
	return s.first <= seq && len(s.b) > 0
}

func (s *span) forward(n int) {
	s.first, s.b, s.offset = s.first+1, s.b[n:], s.offset+int64(n)
}

// next returns the first record and goes on past it. It is not called at the end.
func (s *span) next() ([]byte, error) {
	record, ok := frameRecord(s.first, s.b)
	if !ok {
		return nil, s.damage()
	}
	s.forward(frameBytes + len(record))
	return record, nil
}

// damage says that the first frame is not what was written, and what to do.
func (s *span) damage() error {
	return fmt.Errorf("%w: %s at byte %d: record %d does not match its checksum: stop the node, move that file out of the "+
		"folder and start again; what was in it then shows as a gap and is fetched from another node", ErrDamaged, s.name, s.offset, s.first)
}
