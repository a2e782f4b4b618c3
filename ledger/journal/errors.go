package journal

import (
	"errors"
	"fmt"
)

// Why a journal refuses.
var (
	// ErrInvalid: an argument breaks a bound or the order.
	ErrInvalid = errors.New("invalid")
	// ErrDiffers: another record has that seq already. Whoever appends is not in the state that it thinks.
	ErrDiffers = errors.New("record differs from the one that the journal has")
	// ErrGone: the record was there and is dropped by now.
	ErrGone = errors.New("record is gone")
	// ErrGap: the record is missing here, and may be there later or elsewhere.
	ErrGap = errors.New("record is in a gap")
	// ErrDamaged: what stands on the disk is not what was written.
	ErrDamaged = errors.New("journal damaged")
	// ErrNewer: the file was written by a newer version than this one.
	ErrNewer = errors.New("format too new")
	// ErrReadOnly: the journal was opened to be read only.
	ErrReadOnly = errors.New("journal is open for reading only")
	// ErrClosed: the journal was closed.
	ErrClosed = errors.New("journal is closed")
)

// MissingError says which record is not there, and which is the next one that is. It is ErrGone or ErrGap.
type MissingError struct {
	Seq  uint64
	Next uint64 // the oldest one after Seq that is there; 0: none
	Gap  bool   // it is ErrGap
}

// Error names the record and where to go on.
func (m *MissingError) Error() string {
	text := fmt.Sprintf("record %d: %s", m.Seq, m.Unwrap())
	if m.Next == 0 {
		return text + ", and there is none after it"
	}
	return fmt.Sprintf("%s, the oldest one there is after it is %d", text, m.Next)
}

// Unwrap returns ErrGone or ErrGap.
func (m *MissingError) Unwrap() error {
	if m.Gap {
		return ErrGap
	}
	return ErrGone
}
