package group

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// An entry is what one Raft log entry holds: operations that were proposed at about the same time.
//
//	version 1 byte | wall ns 8 | count 2 | count times: name length 1, name, command length 4, command
//
// Numbers are big endian. The bounds are the format's; a Config keeps to them or stays below.
const (
	entryVersion       = 1
	entryBytesMax      = 4 << 20
	operationsMax      = 4096
	entryHeadBytes     = 1 + 8 + 2
	operationHeadBytes = 1 + 4
	entryOverheadBytes = entryHeadBytes + operationHeadBytes + machineNameBytesMax // around a single command
)

var (
	errEntryNewer = errors.New("entry is of a newer version than this program reads: upgrade it")
	errEntryBad   = errors.New("entry is malformed")
)

// operation is a command and the name of the machine it is for.
type operation struct {
	machine string
	command []byte
}

// bytes is what the operation adds to an entry.
func (o operation) bytes() int { return operationHeadBytes + len(o.machine) + len(o.command) }

// appendEntry adds the entry of 1 to 4,096 operations to b.
func appendEntry(b []byte, wall time.Time, operations []operation) []byte {
	b = append(b, entryVersion)
	b = binary.BigEndian.AppendUint64(b, uint64(wall.UnixNano()))
	b = binary.BigEndian.AppendUint16(b, uint16(len(operations)))
	for _, o := range operations {
		b = append(b, byte(len(o.machine)))
		b = append(b, o.machine...)
		b = binary.BigEndian.AppendUint32(b, uint32(len(o.command)))
		b = append(b, o.command...)
	}
	return b
}

// readEntry takes an entry apart. It accepts only what appendEntry writes. Commands share b.
func readEntry(b []byte) (wall time.Time, operations []operation, err error) {
	if len(b) > 0 && b[0] > entryVersion {
		return wall, nil, fmt.Errorf("read version %d: %w", b[0], errEntryNewer)
	}
	if len(b) < entryHeadBytes || len(b) > entryBytesMax || b[0] != entryVersion {
		return wall, nil, fmt.Errorf("read head of %d bytes: %w", len(b), errEntryBad)
	}
	wall = time.Unix(0, int64(binary.BigEndian.Uint64(b[1:]))).UTC()
	count := int(binary.BigEndian.Uint16(b[9:]))
	b = b[entryHeadBytes:]
	if count < 1 || count > operationsMax || count*operationHeadBytes > len(b) {
		return wall, nil, fmt.Errorf("read %d operations in %d bytes: %w", count, len(b), errEntryBad)
	}
	operations = make([]operation, 0, count)
	for i := range count {
		var o operation
		if o, b, err = readOperation(b); err != nil {
			return wall, nil, fmt.Errorf("read operation %d: %w", i, err)
		}
		operations = append(operations, o)
	}
	if len(b) > 0 {
		return wall, nil, fmt.Errorf("read end, %d bytes left: %w", len(b), errEntryBad)
	}
	return wall, operations, nil
}

func readOperation(b []byte) (o operation, rest []byte, err error) {
	if len(b) < operationHeadBytes {
		return o, nil, errEntryBad
	}
	name := int(b[0])
	if name < 1 || name > machineNameBytesMax || len(b) < operationHeadBytes+name {
		return o, nil, errEntryBad
	}
	o.machine, b = string(b[1:1+name]), b[1+name:]
	command := binary.BigEndian.Uint32(b)
	b = b[4:]
	if uint64(command) > uint64(len(b)) {
		return o, nil, errEntryBad
	}
	o.command = b[:command:command]
	return o, b[command:], nil
}
