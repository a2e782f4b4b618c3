package group

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"time"

	"github.com/hashicorp/raft"
)

// A backup is a file: the state of some machines at one index, as a snapshot holds it, and what it is of.
//
//	magic 8 bytes | label length 4 | label, JSON | snapshot | CRC 4 of all before
//
// Numbers are big endian, the sum is CRC-32C.
const (
	backupMagic    = "WEIRBAK\x01" // the last byte is the version
	backupLabelMax = 64 << 10
)

var (
	// ErrBackupBad: the file is no backup, or not as it was written.
	ErrBackupBad = errors.New("not a whole backup")
	// ErrBackupNewer: the backup was written by a newer program; this one must be upgraded to read it.
	ErrBackupNewer = errors.New("backup of a newer version")
)

// Label is what a backup says of itself.
type Label struct {
	Cluster string    `json:"cluster"` // minted id of the cluster whose state it is
	Epoch   uint64    `json:"epoch"`   // of that cluster's view
	Program string    `json:"program"` // version of what wrote it
	Taken   time.Time `json:"taken"`   // by the clock of who wrote it
	Index   uint64    `json:"index"`   // where the log stood; Backup sets it, and Term
	Term    uint64    `json:"term"`
}

// Backup writes the state of the machines that keep accepts, as it is after all that was acknowledged before. One backup is
// made at a time. Its errors are ErrNotLeader, ErrBusy, ErrStopped, ErrUnknown and those of w; nothing was written if it
// returns one of the first three.
func (g *Group) Backup(ctx context.Context, w io.Writer, l Label, keep func(machine string) bool) error {
	if !g.Leading() {
		return fmt.Errorf("back up: %w", ErrNotLeader)
	}
	select {
	case g.backups <- struct{}{}:
		defer func() { <-g.backups }()
	default:
		return fmt.Errorf("back up: %w: another backup is being made", ErrBusy)
	}
	err := g.order(ctx, func(r *raft.Raft, wait time.Duration) raft.Future { return r.Barrier(wait) })
	if err != nil {
		return fmt.Errorf("back up: %w", err)
	}
	taken := make(chan raft.SnapshotFuture, 1)
	err = g.order(ctx, func(r *raft.Raft, _ time.Duration) raft.Future {
		f := r.Snapshot()
		taken <- f
		return f
	})
	if err != nil {
		return fmt.Errorf("back up: take a snapshot: %w", err)
	}
	meta, from, err := (<-taken).Open()
	if err != nil {
		return fmt.Errorf("back up: open the snapshot: %w", err)
	}
	defer from.Close()
	l.Index, l.Term = meta.Index, meta.Term
	count := 0
	for _, name := range g.replica.names {
		if keep(name) {
			count++
		}
	}
	if err := writeBackup(w, l, from, count, keep); err != nil {
		return fmt.Errorf("back up at index %d: %w", l.Index, err)
	}
	return nil
}

// writeBackup copies the kept sections of a snapshot.
func writeBackup(w io.Writer, l Label, from io.Reader, count int, keep func(machine string) bool) error {
	label, err := json.Marshal(l)
	if err != nil {
		return err
	}
	summed := crc32.New(castagnoli)
	out := io.MultiWriter(w, summed)
	head := binary.BigEndian.AppendUint32([]byte(backupMagic), uint32(len(label)))
	if _, err := out.Write(append(head, label...)); err != nil {
		return err
	}
	s, err := readHead(from)
	if err != nil {
		return err
	}
	all := s.machines
	s.machines = count
	if err := s.writeTo(out); err != nil {
		return err
	}
	err = readSections(from, all, func(name string, r io.Reader) error {
		if !keep(name) {
			_, err := io.Copy(io.Discard, r)
			return err
		}
		return section{name, func(to io.Writer) error { _, err := io.Copy(to, r); return err }}.writeTo(out)
	})
	if err != nil {
		return err
	}
	_, err = w.Write(summed.Sum(nil))
	return err
}

// OpenBackup reads a backup of so many bytes from end to end, and returns what it says of itself and the snapshot in it. Its errors
// are ErrBackupBad, ErrBackupNewer and those of r.
func OpenBackup(r io.ReaderAt, size int64) (Label, *io.SectionReader, error) {
	var l Label
	var head [len(backupMagic) + 4]byte
	if size < int64(len(head))+4 {
		return l, nil, fmt.Errorf("%w: %d bytes", ErrBackupBad, size)
	}
	if _, err := r.ReadAt(head[:], 0); err != nil {
		return l, nil, fmt.Errorf("read the head: %w", err)
	}
	magic := string(head[:len(backupMagic)])
	switch version := len(backupMagic) - 1; {
	case magic[:version] != backupMagic[:version]:
		return l, nil, fmt.Errorf("%w: it begins with %q", ErrBackupBad, magic)
	case magic[version] > backupMagic[version]:
		return l, nil, fmt.Errorf("%w: version %d, this program reads %d", ErrBackupNewer, magic[version], backupMagic[version])
	case magic != backupMagic:
		return l, nil, fmt.Errorf("%w: version %d", ErrBackupBad, magic[version])
	}
	summed := crc32.New(castagnoli)
	if _, err := io.Copy(summed, io.NewSectionReader(r, 0, size-4)); err != nil {
		return l, nil, fmt.Errorf("read it through: %w", err)
	}
	var want [4]byte
	if _, err := r.ReadAt(want[:], size-4); err != nil {
		return l, nil, fmt.Errorf("read the sum: %w", err)
	}
	if binary.BigEndian.Uint32(want[:]) != summed.Sum32() {
		return l, nil, fmt.Errorf("%w: it was changed or cut short", ErrBackupBad)
	}
	length := int64(binary.BigEndian.Uint32(head[len(backupMagic):]))
	if length > backupLabelMax || int64(len(head))+length > size-4 {
		return l, nil, fmt.Errorf("%w: a label of %d bytes", ErrBackupBad, length)
	}
	label := make([]byte, length)
	if _, err := r.ReadAt(label, int64(len(head))); err != nil {
		return l, nil, fmt.Errorf("read the label: %w", err)
	}
	if err := json.Unmarshal(label, &l); err != nil {
		return l, nil, fmt.Errorf("%w: its label: %w", ErrBackupBad, err)
	}
	begin := int64(len(head)) + length
	return l, io.NewSectionReader(r, begin, size-4-begin), nil
}
