package group

import (
	"bytes"
	"errors"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestEntryComesBackAsItWas(t *testing.T) {
	t.Parallel()
	h := heading{reading{12, 34 * time.Hour}, time.Date(2031, 5, 6, 7, 8, 9, 10, time.UTC)}
	for _, operations := range [][]operation{
		{{"view", []byte{}}},
		{{"ledger", []byte("debit")}, {"policy", bytes.Repeat([]byte{7}, 70_000)}, {strings.Repeat("m", machineNameBytesMax), []byte{0}}},
		slices.Repeat([]operation{{"ledger", []byte("x")}}, operationsMax),
	} {
		entry := appendEntry(nil, h, operations)
		size := entryHeadBytes
		for _, o := range operations {
			size += o.bytes()
		}
		if size != len(entry) {
			t.Errorf("entry of %d operations has %d bytes, predicted %d", len(operations), len(entry), size)
		}
		at, got, err := readEntry(entry)
		if err != nil || at != h || !reflect.DeepEqual(got, operations) {
			t.Errorf("%d operations came back as %d at %v, %v", len(operations), len(got), at, err)
		}
	}
}

func TestEntryThatNobodyWroteIsRefused(t *testing.T) {
	t.Parallel()
	good := appendEntry(nil, heading{reading{3, 4}, time.Unix(1, 2)}, []operation{{"ledger", []byte("debit")}, {"view", []byte("v")}})
	with := func(at int, b byte) []byte {
		c := slices.Clone(good)
		c[at] = b
		return c
	}
	for _, row := range []struct {
		name  string
		entry []byte
		want  error
	}{
		{"newer version", with(0, entryVersion+1), errEntryNewer},
		{"newer version alone", []byte{9}, errEntryNewer},
		{"version zero", with(0, 0), errEntryBad},
		{"version one of such a length", with(0, 1), errEntryBad},
		{"no operation", with(26, 0), errEntryBad},
		{"fewer operations than there are", with(26, 1), errEntryBad},
		{"more operations than there are", with(26, 3), errEntryBad},
		{"more operations than allowed", with(25, 0x20), errEntryBad},
		{"no machine name", with(27, 0), errEntryBad},
		{"machine name too long", with(27, machineNameBytesMax+1), errEntryBad},
		{"command longer than the entry", with(34, 0xff), errEntryBad},
		{"a byte behind", append(slices.Clone(good), 0), errEntryBad},
		{"too long", append(slices.Clone(good), make([]byte, entryBytesMax)...), errEntryBad},
	} {
		if _, _, err := readEntry(row.entry); !errors.Is(err, row.want) {
			t.Errorf("%s: %v, want %v", row.name, err, row.want)
		}
	}
	for cut := range good {
		if _, _, err := readEntry(good[:cut]); !errors.Is(err, errEntryBad) {
			t.Errorf("first %d bytes: %v, want %v", cut, err, errEntryBad)
		}
	}
}

// TestEntryOfTheVersionBeforeIsRead: testdata/entry-v1 was written by the program that knew no other.
func TestEntryOfTheVersionBeforeIsRead(t *testing.T) {
	t.Parallel()
	old, err := os.ReadFile("testdata/entry-v1")
	if err != nil {
		t.Fatal(err)
	}
	at, got, err := readEntry(old)
	want := []operation{{"ledger", []byte("debit")}, {"view", []byte{}}, {"policy", bytes.Repeat([]byte("p"), 300)}}
	if err != nil || at != (heading{wall: time.Date(2026, 11, 23, 18, 0, 0, 7, time.UTC)}) || !reflect.DeepEqual(got, want) {
		t.Errorf("read %d operations at %v, %v", len(got), at, err)
	}
	for cut := range old {
		if _, _, err := readEntry(old[:cut]); !errors.Is(err, errEntryBad) {
			t.Errorf("first %d bytes: %v, want %v", cut, err, errEntryBad)
		}
	}
}

func FuzzReadEntry(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte{entryVersion + 1})
	if old, err := os.ReadFile("testdata/entry-v1"); err == nil {
		f.Add(old)
	}
	f.Add(appendEntry(nil, heading{reading{3, 4}, time.Unix(1, 2)}, []operation{{"ledger", []byte("debit")}, {"view", nil}}))
	f.Add(appendEntry(nil, heading{reading{3, 4}, time.Unix(-1, 0)}, []operation{{"v", bytes.Repeat([]byte{1}, 300)}}))
	f.Add(append(appendEntry(nil, heading{reading{3, 4}, time.Unix(0, 0)}, []operation{{"v", nil}}), 0))
	f.Fuzz(func(t *testing.T, entry []byte) {
		h, operations, err := readEntry(entry)
		if err != nil {
			return
		}
		again := appendEntry(nil, h, operations)
		if entry[0] == entryVersionMin { // without the term and the reading
			again = append([]byte{entryVersionMin}, again[1+entryMeterBytes:]...)
		}
		if !bytes.Equal(again, entry) {
			t.Errorf("%x was read, but would be written as %x", entry, again)
		}
	})
}
