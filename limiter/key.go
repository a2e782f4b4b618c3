package limiter

import (
	"encoding/binary"

	"github.com/dchest/siphash"
)

// Key finds a bucket: a keyed 128-bit hash of its text, so that the text need not be kept and nobody without the secret
// can make two texts meet. The text names the limit and everything that sets its buckets apart.
type Key struct{ Hi, Lo uint64 }

// Hasher makes keys with SipHash-2-4-128 (Aumasson and Bernstein). The zero value works, with a secret everybody knows.
type Hasher struct{ k0, k1 uint64 }

// NewHasher returns the hasher of the secret, which every node of a cluster shares.
func NewHasher(secret [16]byte) Hasher {
	return Hasher{binary.LittleEndian.Uint64(secret[:8]), binary.LittleEndian.Uint64(secret[8:])}
}

// Key returns the key of the text. It does not keep the text and does not allocate; any goroutine may call it.
func (h Hasher) Key(text []byte) Key {
	lo, hi := siphash.Hash128(h.k0, h.k1, text)
	return Key{Hi: hi, Lo: lo}
}
