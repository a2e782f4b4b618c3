package journal

import (
	"errors"
	"math/rand/v2"
	"sync"
)

var errFull = errors.New("no space left on device")

// breaking is Files that fail, and that lose what was not synced when the machine stops.
type breaking struct {
	Files
	mu     sync.Mutex
	full   bool
	writes int // left until the disk is full; 0: no end
	short  bool
	synced map[string][]byte // contents at the last sync of each file
	fresh  map[string]bool   // names that were made since the last sync of the folder
}

func (d *breaking) Create(name string) (File, error) {
	f, err := d.Files.Create(name)
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.fresh == nil {
		d.fresh = make(map[string]bool)
	}
	d.fresh[name] = true
	return &breakingFile{File: f, d: d, name: name}, err
}

func (d *breaking) Open(name string, writable bool) (File, error) {
	f, err := d.Files.Open(name, writable)
	return &breakingFile{File: f, d: d, name: name}, err
}

func (d *breaking) Rename(from, to string) error {
	d.mu.Lock()
	if b, ok := d.synced[from]; ok {
		d.synced[to] = b
		delete(d.synced, from)
	}
	d.mu.Unlock()
	return d.Files.Rename(from, to)
}

func (d *breaking) Sync() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	clear(d.fresh)
	return d.Files.Sync()
}

// stop returns what is on the disk after the machine lost power: of each file at least what was synced, and of the rest some
// blocks, or the size without the contents. A file whose name was not synced may not be there at all.
func (d *breaking) stop(rng *rand.Rand) Files {
	after := Memory()
	names, _ := d.List()
	for _, name := range names {
		now := contents(d.Files, name)
		kept := d.synced[name]
		b := append([]byte(nil), kept...)
		if d.fresh[name] && rng.IntN(3) == 0 {
			continue
		}
		if extra := len(now) - len(kept); extra > 0 {
			if rng.IntN(2) == 0 {
				extra = rng.IntN(extra + 1)
			}
			b = append(b, make([]byte, extra)...)
			for at := len(kept); at < len(b); at += 64 {
				if rng.IntN(8) > 0 {
					copy(b[at:min(at+64, len(b))], now[at:])
				}
			}
		}
		if f, err := after.Create(name); err == nil {
			_, _ = f.WriteAt(b, 0)
		}
	}
	return after
}

func contents(files Files, name string) []byte {
	f, err := files.Open(name, false)
	if err != nil {
		return nil
	}
	size, _ := f.Size()
	b := make([]byte, size)
	_, _ = f.ReadAt(b, 0)
	return b
}

// image makes files of these contents.
func image(of map[string][]byte) Files {
	files := Memory()
	for name, b := range of {
		f, _ := files.Create(name)
		_, _ = f.WriteAt(b, 0)
	}
	return files
}

type breakingFile struct {
	File
	d    *breaking
	name string
}

func (f *breakingFile) WriteAt(b []byte, at int64) (int, error) {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	if f.d.writes > 0 {
		f.d.writes--
		f.d.full = f.d.full || f.d.writes == 0
	}
	if f.d.full {
		n := 0
		if f.d.short {
			n, _ = f.File.WriteAt(b[:len(b)/2], at)
		}
		return n, errFull
	}
	return f.File.WriteAt(b, at)
}

func (f *breakingFile) Sync() error {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	if f.d.full {
		return errFull
	}
	if f.d.synced == nil {
		f.d.synced = make(map[string][]byte)
	}
	size, _ := f.Size()
	b := make([]byte, size)
	_, _ = f.ReadAt(b, 0)
	f.d.synced[f.name] = b
	return nil
}
