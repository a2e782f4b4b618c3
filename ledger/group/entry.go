package group

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// An entry is what one Raft log entry holds: operations that were proposed at about the same time.
//
//	version 1 byte | term 8 | mono ns 8 | wall ns 8 | count 2 | count times: name length 1, name, command length 4, command
//
// Numbers are big endian. The bounds are the format's; a Config keeps to them or stays below. Version 1, which is still read,
// has neither term nor mono.
const (
	entryVersion       = 2
	entryVersionMin    = 1
	entryBytesMax      = 4 << 20
	operationsMax      = 4096
	entryHeadBytes     = 1 + 8 + 8 + 8 + 2
	entryMeterBytes    = 8 + 8 // of the head, that version 1 lacks
	operationHeadBytes = 1 + 4
	entryOverheadBytes = entryHeadBytes + operationHeadBytes + machineNameBytesMax // around a single command
)

var (
	errEntryNewer = errors.New("entry is of a newer version than this program reads: upgrade it")
	errEntryBad   = errors.New("entry is malformed")
)

// heading is when an entry was packed, by the clocks of its leader.
type heading struct {
	reading
	wall time.Time
}

// operation is a command and the name of the machine it is for.
type operation struct {
	machine string
	command []byte
}

// bytes is what the operation adds to an entry.
func (o operation) bytes() int { return operationHeadBytes + len(o.machine) + len(o.command) }

// appendEntry adds the entry of 1 to 4,096 operations to b.
func appendEntry(b []byte, h heading, operations []operation) []byte {
	b = append(b, entryVersion)
	b = binary.BigEndian.AppendUint64(b, h.term)
	b = binary.BigEndian.AppendUint64(b, uint64(h.mono))
	b = binary.BigEndian.AppendUint64(b, uint64(h.wall.UnixNano()))
	b = binary.BigEndian.AppendUint16(b, uint16(len(operations)))
	for _, o := range operations {
		b = append(b, byte(len(o.machine)))
		b = append(b, o.machine...)
		b = binary.BigEndian.AppendUint32(b, uint32(len(o.command)))
		b = append(b, o.command...)
	}
	return b
}

// readEntry takes an entry apart. It accepts only what appendEntry writes, or wrote once. Commands share b.
func readEntry(b []byte) (h heading, operations []operation, err error) {
	if len(b) > entryBytesMax {
		return h, nil, fmt.Errorf("read head of %d bytes: %w", len(b), errEntryBad)
	}
	h, count, b, err := readHeading(b)
	if err != nil {
		return h, nil, err
	}
	if count < 1 || count > operationsMax || count*operationHeadBytes > len(b) {
		return h, nil, fmt.Errorf("read %d operations in %d bytes: %w", count, len(b), errEntryBad)
	}
	operations = make([]operation, count)
	machine := ""
	for i := range operations {
		if operations[i], b, err = readOperation(b, machine); err != nil {
			return h, nil, fmt.Errorf("read operation %d: %w", i, err)
		}
		machine = operations[i].machine
	}
	if len(b) > 0 {
		return h, nil, fmt.Errorf("read end, %d bytes left: %w", len(b), errEntryBad)
	}
	return h, operations, nil
}

func readHeading(b []byte) (h heading, count int, rest []byte, err error) {
	if len(b) > 0 && b[0] > entryVersion {
		return h, 0, nil, fmt.Errorf("version %d, this program reads up to %d: %w", b[0], entryVersion, errEntryNewer)
	}
	need := entryHeadBytes
	if len(b) > 0 && b[0] == entryVersionMin {
		need -= entryMeterBytes
	}
	if len(b) < need || b[0] < entryVersionMin {
		return h, 0, nil, fmt.Errorf("read head of %d bytes: %w", len(b), errEntryBad)
	}
	metered := b[0] > entryVersionMin
	b = b[1:]
	if metered {
		h.term, h.mono = binary.BigEndian.Uint64(b), time.Duration(binary.BigEndian.Uint64(b[8:]))
		b = b[entryMeterBytes:]
	}
	h.wall = time.Unix(0, int64(binary.BigEndian.Uint64(b))).UTC()
	return h, int(binary.BigEndian.Uint16(b[8:])), b[10:], nil
}

// readOperation takes the first operation off b. Its machine is often that of the one before.
func readOperation(b []byte, before string) (o operation, rest []byte, err error) {
	if len(b) < operationHeadBytes {
		return o, nil, errEntryBad
	}
	name := int(b[0])
	if name < 1 || name > machineNameBytesMax || len(b) < operationHeadBytes+name {
		return o, nil, errEntryBad
	}
	if o.machine = before; string(b[1:1+name]) != before {
		o.machine = string(b[1 : 1+name])
	}
	b = b[1+name:]
	command := binary.BigEndian.Uint32(b)
	b = b[4:]
	if uint64(command) > uint64(len(b)) {
		return o, nil, errEntryBad
	}
	o.command = b[:command:command]
	return o, b[command:], nil
}
