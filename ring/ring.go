// Package ring says which home owns an account: account -> partition -> home and deputy. It names accounts, hashes them to
// partitions (published, so that a client in any language agrees), and plans the next owner table from the last one.
// It is pure: no clock, no network, no log, no goroutine.
package ring

import (
	"errors"
	"fmt"

	"github.com/cespare/xxhash/v2"
)

// Partitions is how many slices the accounts are cut into. It is part of the protocol and never changes.
const Partitions = 4096

// AccountBytesMax bounds an account id, escapes and separators included.
const AccountBytesMax = 256

// ErrAccountID is wrapped by every error of AccountID: the values do not name an account.
var ErrAccountID = errors.New("no account id")

// Partition returns the partition of an account: xxhash64(domain, 0x00, account) modulo Partitions, seed 0.
// testdata/vectors.json holds the published test vectors. It does not allocate within the documented bounds of a
// domain (64 bytes) and an account (AccountBytesMax).
func Partition(domain, account string) uint16 {
	return uint16(hash(domain, account) % Partitions)
}

func hash(domain, account string) uint64 {
	var room [64 + 1 + AccountBytesMax]byte
	text := append(room[:0], domain...)
	text = append(text, 0)
	text = append(text, account...)
	return xxhash.Sum64(text)
}

// AccountID returns the account id of the values, given in the order in which the policy names the attributes: bytes
// outside [A-Za-z0-9._@-] become =XX (upper-case hex) and the values are joined by ~, so different values never share an
// id. No value, an empty value, and an id above AccountBytesMax are errors that wrap ErrAccountID.
func AccountID(values []string) (string, error) {
	if len(values) == 0 {
		return "", fmt.Errorf("%w: no value", ErrAccountID)
	}
	size := len(values) - 1
	for i, v := range values {
		if v == "" {
			return "", fmt.Errorf("%w: value %d is empty", ErrAccountID, i+1)
		}
		size += escapedSize(v)
	}
	if size > AccountBytesMax {
		return "", fmt.Errorf("%w: %d bytes, at most %d", ErrAccountID, size, AccountBytesMax)
	}
	if len(values) == 1 && size == len(values[0]) {
		return values[0], nil
	}
	id := make([]byte, 0, size)
	for i, v := range values {
		if i > 0 {
			id = append(id, '~')
		}
		id = appendEscaped(id, v)
	}
	return string(id), nil
}

func escapedSize(value string) int {
	size := len(value)
	for i := range len(value) {
		if !plain(value[i]) {
			size += 2
		}
	}
	return size
}

func appendEscaped(id []byte, value string) []byte {
	const hex = "0123456789ABCDEF"
	for i := range len(value) {
		if c := value[i]; plain(c) {
			id = append(id, c)
		} else {
			id = append(id, '=', hex[c>>4], hex[c&15])
		}
	}
	return id
}

func plain(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' ||
		c == '.' || c == '_' || c == '@' || c == '-'
}
