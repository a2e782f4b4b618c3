package client

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"google.golang.org/protobuf/proto"

	weirv1 "github.com/weir-cluster/weir/api/weir/v1"
)

func openSpool(t *testing.T, dir string) (*spool, []string) {
	t.Helper()
	s := newSpool(dir, false, slog.New(slog.DiscardHandler))
	left, err := s.open()
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, r := range left {
		ids = append(ids, r.GetReservation()+r.GetOutcome())
	}
	return s, ids
}

func held(id, outcome string) *weirv1.SettleRequest {
	return &weirv1.SettleRequest{Reservation: id, Outcome: outcome, Final: true}
}

// What came and did not go is there after a restart, oldest first, in its newest form.
func TestTheSpoolKeepsWhatWaits(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s, _ := openSpool(t, dir)
	for _, r := range []*weirv1.SettleRequest{held("a", "1"), held("b", "1"), held("c", "1"), held("a", "2")} {
		if err := s.add(r); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(s.remove(held("b", "")), s.add(held("b", "3")), s.remove(held("c", "")), s.close()); err != nil {
		t.Fatal(err)
	}
	s, left := openSpool(t, dir)
	if fmt.Sprint(left) != "[a2 b3]" {
		t.Errorf("%v", left)
	}
	if err := errors.Join(s.remove(held("a", "")), s.remove(held("b", "")), s.close()); err != nil {
		t.Fatal(err)
	}
	if file, err := os.Stat(filepath.Join(dir, spoolName)); err != nil || file.Size() != 0 {
		t.Errorf("an empty spool takes %d bytes, %v", file.Size(), err)
	}
	if err := s.add(held("d", "")); err == nil {
		t.Error("a closed spool takes more")
	}
}

// A file that a crash or a disk has spoiled is read up to there, and goes on as what was read.
func TestTheSpoolEndsWhereItIsSpoiled(t *testing.T) {
	t.Parallel()
	b := func(id string) []byte {
		body, err := proto.Marshal(held(id, ""))
		if err != nil {
			t.Fatal(err)
		}
		return record(spoolAdded, body)
	}
	flipped := b("b")
	flipped[len(flipped)-1] ^= 1
	for name, row := range map[string]struct {
		tail []byte
		want string
	}{
		"cut in a head":     {b("b")[:5], "[a]"},
		"cut in a body":     {b("b")[:12], "[a]"},
		"a flipped bit":     {append(flipped, b("c")...), "[a]"},
		"an unknown kind":   {append([]byte{'x'}, b("b")[1:]...), "[a]"},
		"an absurd length":  {[]byte{'a', 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0}, "[a]"},
		"no settlement":     {record(spoolAdded, []byte{0xff}), "[a]"},
		"what is not there": {append(record(spoolRemoved, []byte("z")), b("b")...), "[a b]"},
		"nothing":           {nil, "[a]"},
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, spoolName), append(b("a"), row.tail...), 0o600); err != nil {
			t.Fatal(err)
		}
		s, left := openSpool(t, dir)
		if fmt.Sprint(left) != row.want {
			t.Errorf("%s: %v, want %s", name, left, row.want)
		}
		if err := errors.Join(s.add(held("n", "")), s.close()); err != nil {
			t.Fatal(err)
		}
		s, again := openSpool(t, dir)
		if len(again) != len(left)+1 {
			t.Errorf("%s: after a restart: %v", name, again)
		}
		if err := s.close(); err != nil {
			t.Fatal(err)
		}
	}
}

// Whatever a file holds, reading it ends, and what is read back is what was written.
func FuzzSpoolRecord(f *testing.F) {
	f.Add([]byte{})
	f.Add(record(spoolAdded, []byte("body")))
	f.Add(append(record(spoolRemoved, []byte("r")), 'a', 0, 0))
	f.Add([]byte{'a', 0, 0, 0x40, 1, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, file []byte) {
		in := bytes.NewReader(file)
		for {
			at := len(file) - in.Len()
			kind, body, err := readRecord(in)
			if err != nil {
				if errors.Is(err, io.EOF) && at != len(file) {
					t.Fatalf("the end at %d of %d", at, len(file))
				}
				return
			}
			if again := record(kind, body); !bytes.Equal(again, file[at:at+len(again)]) {
				t.Fatalf("%q was read out of %q", again, file[at:])
			}
		}
	})
}
