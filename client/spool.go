package client

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"log/slog"
	"os"
	"path/filepath"

	"google.golang.org/protobuf/proto"

	weirv1 "github.com/weir-cluster/weir/api/weir/v1"
)

const (
	spoolName      = "settles.log"
	spoolRecordMax = 16 << 10
	spoolBytesMax  = 16 << 20 // of what is past, before the file is written anew; what waits is bounded by its count
	spoolHead      = 9        // kind, length, checksum
)

// The kinds of records.
const (
	spoolAdded   = 'a' // a settlement
	spoolRemoved = 'r' // the reservation of one that does not wait any more
)

// spool keeps settlements in a file: one record for each that came, and one for each that went. A record that is not
// whole ends the file: it is what a crash left of the last write.
type spool struct {
	dir  string
	sync bool
	log  *slog.Logger
	turn chan struct{} // of one; who has put it in touches what follows

	file    *os.File
	lock    *os.File
	waiting map[string]*weirv1.SettleRequest // by reservation
	bytes   int64
}

func newSpool(dir string, sync bool, log *slog.Logger) *spool {
	return &spool{dir: dir, sync: sync, log: log, turn: make(chan struct{}, 1)}
}

// open locks the directory, which it makes if need be, and returns what waits.
func (s *spool) open() ([]*weirv1.SettleRequest, error) {
	s.turn <- struct{}{}
	defer func() { <-s.turn }()
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the spool: %w", err)
	}
	lock, err := lockFile(filepath.Join(s.dir, "lock"))
	if err != nil {
		return nil, fmt.Errorf("lock the spool %s: %w: is another client using it?", s.dir, err)
	}
	s.lock = lock
	left, err := s.read()
	if err == nil {
		err = s.rewrite()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open the spool %s: %w", s.dir, err), s.lock.Close())
	}
	return left, nil
}

// read returns what waits, oldest first.
func (s *spool) read() ([]*weirv1.SettleRequest, error) {
	s.waiting = make(map[string]*weirv1.SettleRequest)
	f, err := os.Open(filepath.Join(s.dir, spoolName))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var order []string
	for in := bufio.NewReader(f); ; {
		kind, body, err := readRecord(in)
		if errors.Is(err, io.EOF) {
			break
		}
		r := new(weirv1.SettleRequest)
		if err == nil && kind == spoolAdded {
			err = proto.Unmarshal(body, r)
		}
		if err != nil {
			s.log.Warn("the spool ends in a record that is not whole: it is left out", "file", f.Name(), "error", err)
			break
		}
		if kind == spoolRemoved {
			delete(s.waiting, string(body))
			continue
		}
		order = append(order, r.GetReservation())
		s.waiting[r.GetReservation()] = r
	}
	var left []*weirv1.SettleRequest
	listed := make(map[string]bool, len(s.waiting)) // one may have come, gone and come again
	for _, id := range order {
		if r := s.waiting[id]; r != nil && !listed[id] {
			listed[id] = true
			left = append(left, r)
		}
	}
	return left, nil
}

// rewrite replaces the file by one of what waits.
func (s *spool) rewrite() error {
	path := filepath.Join(s.dir, spoolName)
	f, err := os.OpenFile(path+".new", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	s.bytes = 0
	out := bufio.NewWriter(f)
	for _, r := range s.waiting {
		var b []byte
		if b, err = proto.Marshal(r); err == nil {
			_, err = out.Write(record(spoolAdded, b))
		}
		if err != nil {
			break
		}
	}
	if err == nil {
		err = out.Flush()
	}
	if err == nil && s.sync {
		err = f.Sync()
	}
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	if err != nil {
		return errors.Join(err, f.Close())
	}
	old := s.file
	s.file = f
	if old != nil {
		return old.Close()
	}
	return nil
}

// add keeps a settlement.
func (s *spool) add(r *weirv1.SettleRequest) error {
	b, err := proto.Marshal(r)
	if err != nil {
		return fmt.Errorf("write to the spool: %w", err)
	}
	s.turn <- struct{}{}
	defer func() { <-s.turn }()
	if err := s.append(record(spoolAdded, b)); err != nil {
		return err
	}
	s.waiting[r.GetReservation()] = r
	return nil
}

// remove forgets one. It is not made durable: sent again, it changes nothing.
func (s *spool) remove(r *weirv1.SettleRequest) error {
	s.turn <- struct{}{}
	defer func() { <-s.turn }()
	delete(s.waiting, r.GetReservation())
	if len(s.waiting) == 0 && s.bytes > 0 || s.bytes > spoolBytesMax {
		return s.rewrite()
	}
	return s.append(record(spoolRemoved, []byte(r.GetReservation())))
}

func (s *spool) append(b []byte) error {
	if s.file == nil {
		return errors.New("write to the spool: it is closed")
	}
	n, err := s.file.Write(b)
	s.bytes += int64(n)
	if err == nil && s.sync && b[0] == spoolAdded {
		err = s.file.Sync()
	}
	if err != nil {
		return fmt.Errorf("write to the spool: %w", err)
	}
	return nil
}

func (s *spool) close() error {
	s.turn <- struct{}{}
	defer func() { <-s.turn }()
	err := errors.Join(s.file.Close(), s.lock.Close())
	s.file = nil
	return err
}

func record(kind byte, body []byte) []byte {
	b := make([]byte, spoolHead, spoolHead+len(body))
	b[0] = kind
	binary.BigEndian.PutUint32(b[1:], uint32(len(body)))
	b = append(b, body...)
	binary.BigEndian.PutUint32(b[5:], checksum(b))
	return b
}

// checksum is over a record but for itself.
func checksum(b []byte) uint32 {
	return crc32.Update(crc32.ChecksumIEEE(b[:5]), crc32.IEEETable, b[spoolHead:])
}

func readRecord(in io.Reader) (kind byte, body []byte, err error) {
	b := make([]byte, spoolHead, spoolHead+256)
	if _, err := io.ReadFull(in, b); err != nil {
		return 0, nil, err // io.EOF between records only
	}
	size := binary.BigEndian.Uint32(b[1:])
	if size > spoolRecordMax || b[0] != spoolAdded && b[0] != spoolRemoved {
		return 0, nil, errors.New("it is no record")
	}
	b = append(b, make([]byte, size)...)
	if _, err := io.ReadFull(in, b[spoolHead:]); err != nil {
		return 0, nil, fmt.Errorf("it is cut short: %w", io.ErrUnexpectedEOF)
	}
	if binary.BigEndian.Uint32(b[5:]) != checksum(b) {
		return 0, nil, errors.New("its checksum is wrong")
	}
	return b[0], b[spoolHead:], nil
}
