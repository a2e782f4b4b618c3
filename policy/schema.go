package policy

import (
	_ "embed"
	"slices"
)

//go:embed schema.json
var schema []byte

// Schema returns the JSON schema (draft 2020-12) of the language, for editors and for who checks documents elsewhere. What
// Parse accepts it admits; Parse refuses more, as no schema can say all. The slice is the caller's.
func Schema() []byte { return slices.Clone(schema) }
