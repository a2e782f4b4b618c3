package bench

import (
	"fmt"
	"math/rand/v2"
)

// Spread says how checks fall on keys.
type Spread string

// The spreads.
const (
	Uniform Spread = "uniform" // every key as often as the others
	Zipf    Spread = "zipf"    // the k-th key as often as 1/k^1.1 says
	Hot     Spread = "hot"     // one key has half of all checks, the others share the rest evenly
)

const zipfExponent = 1.1

// picks draws keys in [0, keys). It is used by one goroutine; the same seed draws the same keys.
type picks func() int

func newPicks(s Spread, keys int, seed uint64) (picks, error) {
	if keys < 1 {
		return nil, fmt.Errorf("%d keys: at least 1", keys)
	}
	r := rand.New(rand.NewPCG(seed, uint64(keys)))
	switch s {
	case Uniform:
		return func() int { return r.IntN(keys) }, nil
	case Zipf:
		z := rand.NewZipf(r, zipfExponent, 1, uint64(keys-1))
		return func() int { return int(z.Uint64()) }, nil
	case Hot:
		if keys == 1 {
			return func() int { return 0 }, nil
		}
		return func() int {
			if r.Uint64()&1 == 0 {
				return 0
			}
			return 1 + r.IntN(keys-1)
		}, nil
	}
	return nil, fmt.Errorf("spread %q: %s, %s or %s", s, Uniform, Zipf, Hot)
}
