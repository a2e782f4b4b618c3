package transport

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/weir-cluster/weir/policy"
)

// object is an object or array of JSON that is not closed yet.
type object struct {
	names int  // how many names there are of those around it
	named bool // what comes next is a name
	array bool
}

// strictNames returns an error for JSON in which a name stands twice in one object, or in the outermost object in other
// letters than ours, which are small: encoding/json takes the last of several and folds case, so a name that was checked
// somewhere else could be another one here. The JSON must be valid. It costs a pass over the bytes and no allocation.
func strictNames(b []byte) error {
	var rooms [8]object
	var names [24][]byte
	open, known := rooms[:0], names[:0]
	for i := 0; i < len(b); i++ {
		var in *object
		if len(open) > 0 {
			in = &open[len(open)-1]
		}
		switch b[i] {
		case '{', '[':
			open = append(open, object{len(known), b[i] == '{', b[i] == '['})
		case ',':
			in.named = !in.array
		case '}', ']':
			if twice := repeated(known[in.names:]); twice != nil {
				return fmt.Errorf("%w: the name %q stands twice in one object", policy.ErrInvalid, twice)
			}
			known, open = known[:in.names], open[:len(open)-1]
		case '"':
			end := i + 1
			for ; b[end] != '"'; end++ {
				if b[end] == '\\' {
					end++
				}
			}
			if in != nil && in.named {
				name := unquoted(b[i : end+1])
				if in.named = false; len(open) == 1 && !ours(name) {
					return fmt.Errorf("%w: unknown field %q", policy.ErrInvalid, name)
				}
				known = append(known, name)
			}
			i = end
		}
	}
	return nil
}

// unquoted returns the text of a JSON string.
func unquoted(quoted []byte) []byte {
	if bytes.IndexByte(quoted, '\\') < 0 {
		return quoted[1 : len(quoted)-1]
	}
	var text string
	_ = json.Unmarshal(quoted, &text) // it is valid
	return []byte(text)
}

// ours reports whether a name is in the letters of all that we gave.
func ours(name []byte) bool {
	for _, c := range name {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' {
			return false
		}
	}
	return true
}

// repeated returns a name that stands twice, nil when none does. It may sort them.
func repeated(names [][]byte) []byte {
	const few = 16
	if len(names) > few {
		slices.SortFunc(names, bytes.Compare)
	}
	for i := 1; i < len(names); i++ {
		if len(names) > few && bytes.Equal(names[i-1], names[i]) || len(names) <= few && slices.ContainsFunc(names[:i], func(n []byte) bool { return bytes.Equal(n, names[i]) }) {
			return names[i]
		}
	}
	return nil
}
