package sim

import (
	"bytes"
	"fmt"
	"io"
	"time"

	"github.com/weir-cluster/weir/node"
)

// snapshots is where the process that starts now keeps the snapshots of its partitions: beside the log, on the same disk
// with the same faults.
func (d *disk) snapshots() node.Snapshots {
	d.mu.Lock()
	defer d.mu.Unlock()
	return keeping{&handle{d, d.image}}
}

// tearKept has a disk that lied keep all of the snapshot that it said it had, or its first part, or the one before: the
// directory may tell of a file whose content never came.
func (d *disk) tearKept(on *image, told []byte) {
	if len(told) == 0 || bytes.Equal(told, on.kept) {
		return
	}
	if n := d.random.IntN(3 * len(told)); n < 2*len(told) {
		on.kept = told[:min(n, len(told))]
	}
}

// keeping is the snapshots of partitions of a disk that a process has open.
type keeping struct{ h *handle }

// Open reads the newest.
func (k keeping) Open() (io.ReadCloser, error) {
	k.h.d.mu.Lock()
	defer k.h.d.mu.Unlock()
	if k.h.image.kept == nil {
		return nil, nil
	}
	return io.NopCloser(bytes.NewReader(k.h.image.kept)), nil
}

// Save replaces it, whole or not at all.
func (k keeping) Save(write func(io.Writer) error) error {
	var b bytes.Buffer
	if err := write(&b); err != nil {
		return err
	}
	return k.h.write(0, func(m *image, _ int) { m.kept = b.Bytes() })
}

// SetAside forgets it.
func (k keeping) SetAside(time.Time) (string, error) {
	k.h.d.mu.Lock()
	defer k.h.d.mu.Unlock()
	k.h.image.kept = nil
	k.h.image.aside++
	return fmt.Sprint("aside-", k.h.image.aside), nil
}
