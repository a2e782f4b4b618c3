package policy

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"time"
	"unicode/utf8"
)

// Versions that a Put may expect the cluster's policy to be at, besides a number.
const (
	AnyVersion int64 = -1 // whatever it is
	NoVersion  int64 = 0  // the cluster has no policy yet
)

// Version is a policy document that was agreed on.
type Version struct {
	Version uint64
	At      time.Time // by the log's clock; zero when an old release agreed on it
	Note    string    // of who put it; may be empty
	Bytes   int
	Hash    string // SHA-256 of the text, in hex
}

// Put makes text the policy of the cluster if that is at version expect, and returns the new version. When it returns,
// this node decides by it. Text that does not parse is refused here, as Mistakes, and never proposed; name is what they
// call the file. A note of at most 256 bytes goes into the history. A text equal to the current one changes nothing and
// returns its version, so a Put of unknown outcome is simply repeated. Returns ErrVersionConflict, or what p returned.
func (b *Book) Put(ctx context.Context, p Proposer, name string, text []byte, expect int64, note string) (uint64, error) {
	parsed, err := Parse(name, text)
	if err != nil {
		return 0, err
	}
	if expect < AnyVersion {
		return 0, invalid("expected version %d is not a version", expect)
	}
	if len(note) > wordMax || !utf8.ValidString(note) {
		return 0, invalid("the note is not UTF-8 of at most %d bytes", wordMax)
	}
	b.parsed.Store(parsed)
	at, err := b.propose(ctx, p, &command{kind: kindPut, expect: expect, note: note, text: text})
	if err != nil {
		return at.version, fmt.Errorf("put policy %s: %w", name, err)
	}
	return at.version, nil
}

// Rollback makes the text of an earlier version the policy of the cluster again, under a new version, which it
// returns. It is a Put of that text, as this node remembers it; a version that it does not is ErrInvalid.
func (b *Book) Rollback(ctx context.Context, p Proposer, version uint64, expect int64) (uint64, error) {
	text, err := b.TextOf(version)
	if err != nil {
		return 0, err
	}
	return b.Put(ctx, p, fmt.Sprintf("version %d", version), text, expect, fmt.Sprintf("rollback to version %d", version))
}

// History returns the versions that are remembered, at most VersionsMax, newest first; the first is in force.
func (b *Book) History() []Version {
	known := b.agreed()
	all := make([]Version, len(known.versions))
	for i, v := range known.versions {
		sum := sha256.Sum256(v.text)
		all[len(all)-1-i] = Version{v.number, v.at, v.note, len(v.text), hex.EncodeToString(sum[:])}
	}
	return all
}

// TextOf returns the document of a version, which must not be changed; ErrInvalid for one that is not remembered.
func (b *Book) TextOf(version uint64) ([]byte, error) {
	known := b.agreed()
	for _, v := range known.versions {
		if v.number == version {
			return v.text, nil
		}
	}
	if len(known.versions) == 0 {
		return nil, invalid("there is no policy version %d, nor any other yet", version)
	}
	return nil, invalid("policy version %d is not remembered, only %d to %d are", version, known.versions[0].number, known.current().number)
}
