package node

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/weir-cluster/weir/ring"
)

var (
	errDamaged      = errors.New("it is damaged")
	errForeign      = errors.New("it is not this node's")
	errOtherVersion = errors.New("it is of another version")
)

// A snapshot is, all numbers unsigned varints but where bytes are said:
//
//	8 bytes "weirsnap", version, 4 bytes checksum
//	cluster and server, each its length and its bytes, 4 bytes checksum
//	of each partition: the length of its section, which is not 0, the section, 4 bytes checksum
//	0, how many sections, 4 bytes checksum, and nothing more
//
// A section is the partition, the tenure, the epoch, 8 bytes of Unix nanoseconds, and pieces, each its kind (a byte), its length and
// its bytes. A checksum is the CRC-32C of all before it, little-endian as all fixed numbers are.
const (
	snapshotMagic   = "weirsnap"
	snapshotVersion = 1

	snapshotNameMax  = 1 << 10
	snapshotBytesMax = 1 << 40
	checksumBytes    = 4
)

// The kinds of pieces.
const (
	pieceBuckets byte = iota + 1 // a chunk of the limiter's
	pieceRecords                 // one of the policy's
)

// section is what a snapshot has of one partition.
type section struct {
	partition uint16
	tenure    uint64 // of which this is the state, whole
	epoch     uint64 // of the view by which the node had a copy; 0: it was home
	at        int64  // Unix nanoseconds
	pieces    []byte // encoded

	offer uint64 // names it to the home elsewhere that it is offered to; zero: it was not
	tries int    // how often it was
}

// add appends a piece.
func (s *section) add(kind byte, chunk []byte) {
	s.pieces = binary.AppendUvarint(append(s.pieces, kind), uint64(len(chunk)))
	s.pieces = append(s.pieces, chunk...)
}

// each calls do for every piece until one returns an error.
func (s *section) each(do func(kind byte, chunk []byte) error) error {
	for rest := s.pieces; len(rest) > 0; {
		kind := rest[0]
		size, n := binary.Uvarint(rest[1:])
		if n <= 0 || size > uint64(len(rest)-1-n) || kind != pieceBuckets && kind != pieceRecords {
			return fmt.Errorf("%w: a piece of partition %d", errDamaged, s.partition)
		}
		rest = rest[1+n:]
		if err := do(kind, rest[:size:size]); err != nil {
			return err
		}
		rest = rest[size:]
	}
	return nil
}

func (s *section) appendHead(b []byte) []byte {
	for _, n := range [...]uint64{uint64(s.partition), s.tenure, s.epoch} {
		b = binary.AppendUvarint(b, n)
	}
	return binary.LittleEndian.AppendUint64(b, uint64(s.at))
}

// readSection is strict: what it accepts is written the same way.
func readSection(b []byte) (s section, err error) {
	rest := b
	var head [3]uint64
	for i := range head {
		v, n := binary.Uvarint(rest)
		if n <= 0 {
			return s, errDamaged
		}
		head[i], rest = v, rest[n:]
	}
	if head[0] >= ring.Partitions || head[1] == 0 || len(rest) < 8 {
		return s, errDamaged
	}
	s = section{partition: uint16(head[0]), tenure: head[1], epoch: head[2], at: int64(binary.LittleEndian.Uint64(rest))}
	if s.pieces = rest[8:]; !bytes.HasPrefix(b, s.appendHead(nil)) {
		return s, errDamaged
	}
	return s, s.each(func(byte, []byte) error { return nil })
}

// snapshotWriter writes a snapshot. After an error it writes nothing more, and end returns it.
type snapshotWriter struct {
	w        *bufio.Writer
	sum      uint32
	sections uint64
	bytes    int64
	err      error
}

func writeSnapshot(w io.Writer, cluster, server string) *snapshotWriter {
	x := &snapshotWriter{w: bufio.NewWriterSize(w, 256<<10)}
	x.put(binary.AppendUvarint([]byte(snapshotMagic), snapshotVersion))
	x.check()
	b := append(binary.AppendUvarint(nil, uint64(len(cluster))), cluster...)
	x.put(append(binary.AppendUvarint(b, uint64(len(server))), server...))
	x.check()
	return x
}

func (x *snapshotWriter) put(b []byte) {
	if x.err != nil {
		return
	}
	_, x.err = x.w.Write(b)
	x.sum = crc32.Update(x.sum, crc32.MakeTable(crc32.Castagnoli), b)
	x.bytes += int64(len(b))
}

func (x *snapshotWriter) check() {
	x.put(binary.LittleEndian.AppendUint32(nil, x.sum))
}

func (x *snapshotWriter) section(s *section) {
	head := s.appendHead(nil)
	x.put(binary.AppendUvarint(nil, uint64(len(head)+len(s.pieces))))
	x.put(head)
	x.put(s.pieces)
	x.check()
	x.sections++
}

func (x *snapshotWriter) end() error {
	x.put(binary.AppendUvarint([]byte{0}, x.sections))
	x.check()
	if x.err == nil {
		x.err = x.w.Flush()
	}
	return x.err
}

// snapshotReader reads a snapshot, and takes no more memory than there are bytes.
type snapshotReader struct {
	r   *bufio.Reader
	sum uint32
}

// readSnapshot returns the sections of the server's snapshot, by partition, and the cluster that they are of. The error wraps
// errDamaged, errForeign, errOtherVersion, or what the reader returned.
func readSnapshot(from io.Reader, server string) (cluster string, sections map[uint16]*section, err error) {
	r := &snapshotReader{r: bufio.NewReaderSize(from, 256<<10)}
	if cluster, err = r.head(server); err != nil {
		return "", nil, err
	}
	sections = make(map[uint16]*section)
	for {
		s, err := r.section()
		if err != nil {
			return "", nil, err
		}
		if s == nil {
			break
		}
		if sections[s.partition] != nil {
			return "", nil, fmt.Errorf("%w: partition %d is twice in it", errDamaged, s.partition)
		}
		sections[s.partition] = s
	}
	if n, err := r.number(); err != nil || n != uint64(len(sections)) {
		return "", nil, damaged(err, "of %d partitions it has %d", n, len(sections))
	}
	if err := r.check(); err != nil {
		return "", nil, err
	}
	if _, err := r.r.ReadByte(); err != io.EOF {
		return "", nil, damaged(err, "something follows its end")
	}
	return cluster, sections, nil
}

// damaged is the error for what is wrong in a snapshot, or that it could not be read.
func damaged(err error, format string, args ...any) error {
	if err == nil || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: %s", errDamaged, fmt.Sprintf(format, args...))
	}
	return err
}

func (r *snapshotReader) head(server string) (cluster string, err error) {
	magic, err := r.bytes(uint64(len(snapshotMagic)))
	if err != nil || string(magic) != snapshotMagic {
		return "", damaged(err, "it does not begin as a snapshot does")
	}
	version, err := r.number()
	if err != nil {
		return "", err
	}
	if err := r.check(); err != nil {
		return "", err
	}
	if version != snapshotVersion {
		return "", fmt.Errorf("%w: %d, this release reads %d", errOtherVersion, version, snapshotVersion)
	}
	var names [2]string
	for i := range names {
		size, err := r.number()
		if err == nil && size > snapshotNameMax {
			return "", fmt.Errorf("%w: a name of %d bytes", errDamaged, size)
		}
		b, err2 := r.bytes(size)
		if err := errors.Join(err, err2); err != nil {
			return "", err
		}
		names[i] = string(b)
	}
	if err := r.check(); err != nil {
		return "", err
	}
	if names[1] != server {
		return "", fmt.Errorf("%w: it is of %q, this is %q", errForeign, names[1], server)
	}
	return names[0], nil
}

// section returns the next one, nil after the last.
func (r *snapshotReader) section() (*section, error) {
	size, err := r.number()
	if err != nil || size == 0 {
		return nil, err
	}
	b, err := r.bytes(size)
	if err != nil {
		return nil, err
	}
	if err := r.check(); err != nil {
		return nil, err
	}
	s, err := readSection(b)
	return &s, err
}

func (r *snapshotReader) number() (uint64, error) {
	var b []byte
	for len(b) < binary.MaxVarintLen64 {
		c, err := r.r.ReadByte()
		if err != nil {
			return 0, damaged(err, "it is cut off")
		}
		if b = append(b, c); c < 0x80 {
			break
		}
	}
	v, n := binary.Uvarint(b)
	if n != len(b) || n > 1 && b[n-1] == 0 {
		return 0, fmt.Errorf("%w: a number", errDamaged)
	}
	r.note(b)
	return v, nil
}

func (r *snapshotReader) bytes(n uint64) ([]byte, error) {
	if n > snapshotBytesMax {
		return nil, fmt.Errorf("%w: %d bytes at once", errDamaged, n)
	}
	var b bytes.Buffer
	b.Grow(int(min(n, 1<<20)))
	if _, err := io.CopyN(&b, r.r, int64(n)); err != nil {
		return nil, damaged(err, "it is cut off")
	}
	r.note(b.Bytes())
	return b.Bytes(), nil
}

func (r *snapshotReader) note(b []byte) {
	r.sum = crc32.Update(r.sum, crc32.MakeTable(crc32.Castagnoli), b)
}

// check reads a checksum and compares it with that of all before.
func (r *snapshotReader) check() error {
	want := r.sum
	b, err := r.bytes(checksumBytes)
	if err != nil {
		return err
	}
	if binary.LittleEndian.Uint32(b) != want {
		return fmt.Errorf("%w: a checksum is wrong", errDamaged)
	}
	return nil
}
