package journal

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
)

// Files is where segments are kept: a folder, the memory, or something that fails on command. Names are plain. Its methods may
// be called from any goroutine.
type Files interface {
	// List returns the names of all files, in any order.
	List() ([]string, error)
	// Create makes a file, which must not be there yet.
	Create(name string) (File, error)
	// Open opens a file that is there, to be written too if writable.
	Open(name string, writable bool) (File, error)
	Rename(from, to string) error
	// Remove removes a file; who has it open may read on.
	Remove(name string) error
	// Sync returns when all names are as durable as the contents of a synced file.
	Sync() error
}

// File is an open file. Reads may go on beside a write of other bytes.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	Size() (int64, error)
	Truncate(size int64) error
	Sync() error
}

// Folder returns the files of a folder, which Create makes if it is not there.
func Folder(dir string) Files { return folder(dir) }

type folder string

func (d folder) List() ([]string, error) {
	entries, err := os.ReadDir(string(d))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names, nil
}

func (d folder) path(name string) string { return filepath.Join(string(d), name) }

func (d folder) Create(name string) (File, error) {
	if err := os.MkdirAll(string(d), 0o700); err != nil {
		return nil, err
	}
	return d.open(name, os.O_RDWR|os.O_CREATE|os.O_EXCL)
}

func (d folder) Open(name string, writable bool) (File, error) {
	if !writable {
		return d.open(name, os.O_RDONLY)
	}
	return d.open(name, os.O_RDWR)
}

func (d folder) open(name string, flags int) (File, error) {
	f, err := os.OpenFile(d.path(name), flags, 0o600)
	if err != nil {
		return nil, err
	}
	return diskFile{f}, nil
}

func (d folder) Rename(from, to string) error { return os.Rename(d.path(from), d.path(to)) }
func (d folder) Remove(name string) error     { return os.Remove(d.path(name)) }

func (d folder) Sync() error {
	f, err := os.Open(string(d))
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

type diskFile struct{ *os.File }

func (f diskFile) Size() (int64, error) {
	s, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return s.Size(), nil
}

// Memory returns files that live as long as they are referred to. Opened a second time, they are what a process that was
// killed has left.
func Memory() Files { return &memory{files: make(map[string]*memoryFile)} }

type memory struct {
	mu    sync.Mutex
	files map[string]*memoryFile
}

func (m *memory) List() ([]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	names := make([]string, 0, len(m.files))
	for name := range m.files {
		names = append(names, name)
	}
	slices.Sort(names)
	return names, nil
}

func (m *memory) Create(name string) (File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.files[name] != nil {
		return nil, &fs.PathError{Op: "create", Path: name, Err: fs.ErrExist}
	}
	f := new(memoryFile)
	m.files[name] = f
	return f, nil
}

func (m *memory) Open(name string, _ bool) (File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if f := m.files[name]; f != nil {
		return f, nil
	}
	return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
}

func (m *memory) Rename(from, to string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	f := m.files[from]
	if f == nil {
		return &fs.PathError{Op: "rename", Path: from, Err: fs.ErrNotExist}
	}
	delete(m.files, from)
	m.files[to] = f
	return nil
}

func (m *memory) Remove(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.files[name] == nil {
		return &fs.PathError{Op: "remove", Path: name, Err: fs.ErrNotExist}
	}
	delete(m.files, name)
	return nil
}

func (m *memory) Sync() error { return nil }

// memoryFile is made of blocks, so that it grows without being copied.
type memoryFile struct {
	mu     sync.RWMutex
	blocks [][]byte
	size   int64
}

const blockBytes = 64 << 10

func (f *memoryFile) ReadAt(b []byte, at int64) (int, error) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	n := 0
	for n < len(b) && at < f.size {
		block := f.blocks[at/blockBytes][at%blockBytes:]
		block = block[:min(int64(len(block)), f.size-at)]
		k := copy(b[n:], block)
		n, at = n+k, at+int64(k)
	}
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

func (f *memoryFile) WriteAt(b []byte, at int64) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for int64(len(f.blocks))*blockBytes < at+int64(len(b)) {
		f.blocks = append(f.blocks, make([]byte, blockBytes))
	}
	for n := 0; n < len(b); {
		k := copy(f.blocks[at/blockBytes][at%blockBytes:], b[n:])
		n, at = n+k, at+int64(k)
	}
	f.size = max(f.size, at)
	return len(b), nil
}

func (f *memoryFile) Size() (int64, error) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.size, nil
}

// Truncate shortens only: a journal never does otherwise.
func (f *memoryFile) Truncate(size int64) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if size > f.size {
		return &fs.PathError{Op: "truncate", Err: fs.ErrInvalid}
	}
	f.size = size
	f.blocks = f.blocks[:(size+blockBytes-1)/blockBytes]
	return nil
}

func (f *memoryFile) Sync() error  { return nil }
func (f *memoryFile) Close() error { return nil }
