package group

import (
	"bytes"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestEntryComesBackAsItWas(t *testing.T) {
	t.Parallel()
	wall := time.Date(2031, 5, 6, 7, 8, 9, 10, time.UTC)
	for _, operations := range [][]operation{
		{{"view", []byte{}}},
		{{"ledger", []byte("debit")}, {"policy", bytes.Repeat([]byte{7}, 70_000)}, {strings.Repeat("m", machineNameBytesMax), []byte{0}}},
		slices.Repeat([]operation{{"ledger", []byte("x")}}, operationsMax),
	} {
		entry := appendEntry(nil, wall, operations)
		size := entryHeadBytes
		for _, o := range operations {
			size += o.bytes()
		}
		if size != len(entry) {
			t.Errorf("entry of %d operations has %d bytes, predicted %d", len(operations), len(entry), size)
		}
		gotWall, got, err := readEntry(entry)
		if err != nil || !gotWall.Equal(wall) || !reflect.DeepEqual(got, operations) {
			t.Errorf("%d operations came back as %d at %v, %v", len(operations), len(got), gotWall, err)
		}
	}
}

func TestEntryThatNobodyWroteIsRefused(t *testing.T) {
	t.Parallel()
	good := appendEntry(nil, time.Unix(1, 2), []operation{{"ledger", []byte("debit")}, {"view", []byte("v")}})
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
		{"no operation", with(10, 0), errEntryBad},
		{"fewer operations than there are", with(10, 1), errEntryBad},
		{"more operations than there are", with(10, 3), errEntryBad},
		{"more operations than allowed", with(9, 0x20), errEntryBad},
		{"no machine name", with(11, 0), errEntryBad},
		{"machine name too long", with(11, machineNameBytesMax+1), errEntryBad},
		{"command longer than the entry", with(18, 0xff), errEntryBad},
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

func FuzzReadEntry(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte{entryVersion + 1})
	f.Add(appendEntry(nil, time.Unix(1, 2), []operation{{"ledger", []byte("debit")}, {"view", nil}}))
	f.Add(appendEntry(nil, time.Unix(-1, 0), []operation{{"v", bytes.Repeat([]byte{1}, 300)}}))
	f.Add(append(appendEntry(nil, time.Unix(0, 0), []operation{{"v", nil}}), 0))
	f.Fuzz(func(t *testing.T, entry []byte) {
		wall, operations, err := readEntry(entry)
		if err != nil {
			return
		}
		if again := appendEntry(nil, wall, operations); !bytes.Equal(again, entry) {
			t.Errorf("%x was read, but would be written as %x", entry, again)
		}
	})
}
