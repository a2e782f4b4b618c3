package policy

import (
	"runtime"
	"strings"
)

const (
	calmBytes   = 64 << 10 // of a document; a smaller one leaves too little garbage to matter
	garbageEach = 200      // bytes that parsing allocates for a byte of a document, by measurement, and some more
)

// parseCalmly is Parse for a node that decides meanwhile. Parsing 10,000 rules allocates about 100 MB. In these the
// collector would run a cycle or several, and on two cores it marks in turns on the processors that decide, which holds
// up a decision for about 6 ms. So it is given, while the parsing lasts, a heap so large that it sees no reason to begin:
// room that nobody touches, which takes addresses but no memory. BenchmarkApplyUnderLoad shows what that is worth.
func parseCalmly(name string, text []byte) (*Policy, error) {
	if len(text) < calmBytes {
		return Parse(name, text)
	}
	var room strings.Builder
	room.Grow(garbageEach * len(text)) // unlike make, it does not clear, so no page is touched
	p, err := Parse(name, text)
	runtime.KeepAlive(&room)
	return p, err
}
