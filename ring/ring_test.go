package ring

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
)

type vectors struct {
	Partitions []struct {
		Domain, Account, Hash string
		Partition             uint16
	}
	Accounts []struct {
		Values  []string
		Account string
	}
	Refused [][]string
}

// publishedVectors were computed by another implementation of xxhash64 and of the escaping.
func publishedVectors(t *testing.T) (v vectors) {
	t.Helper()
	text, err := os.ReadFile("testdata/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &v); err != nil {
		t.Fatal(err)
	}
	if len(v.Partitions) == 0 || len(v.Accounts) == 0 || len(v.Refused) == 0 {
		t.Fatal("vectors are missing")
	}
	return v
}

func TestPartitionOfPublishedVectors(t *testing.T) {
	for _, v := range publishedVectors(t).Partitions {
		if got := fmt.Sprintf("%016x", hash(v.Domain, v.Account)); got != v.Hash {
			t.Errorf("hash(%s, %s) = %s, want %s", v.Domain, v.Account, got, v.Hash)
		}
		if got := Partition(v.Domain, v.Account); got != v.Partition {
			t.Errorf("Partition(%s, %s) = %d, want %d", v.Domain, v.Account, got, v.Partition)
		}
	}
}

func TestAccountIDOfPublishedVectors(t *testing.T) {
	v := publishedVectors(t)
	for _, a := range v.Accounts {
		if got, err := AccountID(a.Values); got != a.Account || err != nil {
			t.Errorf("AccountID(%q) = %q, %v, want %q", a.Values, got, err, a.Account)
		}
	}
	for _, values := range v.Refused {
		if got, err := AccountID(values); got != "" || !errors.Is(err, ErrAccountID) {
			t.Errorf("AccountID(%q) = %q, %v, want ErrAccountID", values, got, err)
		}
	}
}

func TestRequestPathDoesNotAllocate(t *testing.T) {
	values := []string{strings.Repeat("a", AccountBytesMax)}
	domain := strings.Repeat("d", 64)
	if n := testing.AllocsPerRun(100, func() {
		id, err := AccountID(values)
		if err != nil || Partition(domain, id) >= Partitions {
			t.Fatal(id, err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// FuzzAccountID holds that ids can be read back, so that no two accounts share one.
func FuzzAccountID(f *testing.F) {
	f.Add("alice", "")
	f.Add("acme", "alice@example.com")
	f.Add("~", "=7E\xff\x00")
	f.Fuzz(func(t *testing.T, a, b string) {
		values := []string{a}
		if b != "" {
			values = append(values, b)
		}
		id, err := AccountID(values)
		if err != nil {
			if a != "" && 3*len(a)+1+3*len(b) <= AccountBytesMax {
				t.Fatalf("AccountID(%q): %v", values, err)
			}
			return
		}
		if len(id) > AccountBytesMax || strings.Trim(id, allowed+"~=") != "" {
			t.Fatalf("AccountID(%q) = %q", values, id)
		}
		if back := readBack(t, id); !slices.Equal(back, values) {
			t.Fatalf("AccountID(%q) = %q reads back as %q", values, id, back)
		}
	})
}

const allowed = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._@-"

func readBack(t *testing.T, id string) (values []string) {
	t.Helper()
	for _, part := range strings.Split(id, "~") {
		plain, rest, escaped := strings.Cut(part, "=")
		for escaped {
			c, err := strconv.ParseUint(rest[:2], 16, 8)
			if err != nil {
				t.Fatal(err)
			}
			var more string
			more, rest, escaped = strings.Cut(rest[2:], "=")
			plain += string([]byte{byte(c)}) + more
		}
		values = append(values, plain)
	}
	return values
}
