package policy

import (
	_ "embed"
	"slices"
)

//go:embed demo.yaml
var demo []byte

// Demo returns the document of the `demo` domain that weir dev begins with. The slice is the caller's.
func Demo() []byte { return slices.Clone(demo) }
