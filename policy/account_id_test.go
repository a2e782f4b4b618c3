package policy

import (
	"errors"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/weir-cluster/weir/ring"
)

func TestAttributesOfUndoesTheAccountID(t *testing.T) {
	t.Parallel()
	p, err := Parse("p", []byte("version: 1\ndomains:\n  d: {account: [org, user]}\n  e: {envoy: {domain: e, descriptors: [{key: k}]}}\n"))
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		values := []string{rapid.StringN(1, 20, 60).Draw(t, "org"), rapid.StringN(1, 20, 60).Draw(t, "user")}
		id, err := ring.AccountID(values)
		if err != nil {
			t.Skip(err) // too long once escaped
		}
		want := []Attribute{{"org", values[0]}, {"user", values[1]}}
		if got, err := p.AttributesOf("d", id); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %v, %v, want %v", id, got, err, want)
		}
	})
	for _, c := range [][2]string{{"d", "one"}, {"d", "a~b~c"}, {"d", "a~"}, {"d", "a~=zz"}, {"d", "a~b/c"}, {"d", ""}, {"no", "a~b"}, {"e", "a~b"}} {
		if got, err := p.AttributesOf(c[0], c[1]); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s in %s: %v, %v, want ErrInvalid", c[1], c[0], got, err)
		}
	}
}
