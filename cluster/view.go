package cluster

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/weir-cluster/weir/ring"
)

// Member is a node as the others know it. Name and Boot say which incarnation it is; the addresses are
// where it can be reached now and may change.
type Member struct {
	Name    string `json:"n"`
	Boot    string `json:"b"`           // drawn at every start
	Server  string `json:"s"`           // id in the Raft group: name/storage-id
	Peer    string `json:"p"`           // host:port of Raft and peer gRPC
	Gossip  string `json:"a,omitempty"` // host:port of gossip
	HTTP    string `json:"h"`
	GRPC    string `json:"g"`
	Zone    string `json:"z,omitempty"`
	Voter   bool   `json:"v,omitempty"` // willing to vote in the Raft group
	Leaving bool   `json:"l,omitempty"` // wants to own nothing any more
	Weight  uint8  `json:"w,omitempty"` // its share of the partitions, compared with the others'; 0 counts as 1
	// LeaseMS is for how many milliseconds after it asked for its lease the process must be taken to hold it; 0: it does not say.
	LeaseMS uint32 `json:"ls,omitempty"`

	// Standing is what the view says of the member; gossip does not set it. It is Absent, Steady, or Leaving while it is home of
	// something still.
	Standing ring.Standing `json:"st,omitempty"`
	// Joining says that not all of the roster may have heard of the member yet, so that they count without it: its own share
	// of a limit is none. The view sets it.
	Joining bool `json:"j,omitempty"`
}

// View is what the cluster agreed on: who is in it, and which node is home of which partition. Views are
// totally ordered by Epoch. A View is immutable once it is shared.
type View struct {
	Epoch   uint64
	Cluster string   // minted with the first view; nodes of another cluster are refused
	Secret  [16]byte // of the bucket hash; known to nodes only
	Roster  []Member // the table's indexes point into it
	Table   *ring.Table
}

// Home returns the member that decides for a partition, and whether there is one.
func (v *View) Home(partition uint16) (Member, bool) { return v.at(v.Table.Homes[partition]) }

// Deputy returns the member that takes over when the home is lost, and whether there is one.
func (v *View) Deputy(partition uint16) (Member, bool) { return v.at(v.Table.Deputies[partition]) }

// Next returns the member that a planned move brings the partition to once it has copied all, and whether there is one.
func (v *View) Next(partition uint16) (Member, bool) { return v.at(v.Table.Nexts[partition]) }

func (v *View) at(i uint16) (Member, bool) {
	if int(i) >= len(v.Roster) {
		return Member{}, false
	}
	return v.Roster[i], true
}

// Find returns the index of the named member in the roster, or -1.
func (v *View) Find(name string) int {
	for i := range v.Roster {
		if v.Roster[i].Name == name {
			return i
		}
	}
	return -1
}

// viewWire is the encoded form: the table as little-endian arrays, since JSON numbers would be thrice the
// size in every log entry.
type viewWire struct {
	Epoch    uint64   `json:"epoch"`
	Cluster  string   `json:"cluster"`
	Secret   []byte   `json:"secret"`
	Roster   []Member `json:"roster"`
	Homes    string   `json:"homes"`
	Deputies string   `json:"deputies"`
	Nexts    string   `json:"nexts,omitempty"` // absent: no partition moves
	Since    string   `json:"since"`
	Priors   string   `json:"priors,omitempty"` // absent: no tenure has one before it
}

// Encode returns the view as bytes that DecodeView reads.
func (v *View) Encode() []byte {
	w := viewWire{
		Epoch: v.Epoch, Cluster: v.Cluster, Secret: v.Secret[:], Roster: v.Roster,
		Homes: pack16(v.Table.Homes[:]), Deputies: pack16(v.Table.Deputies[:]), Since: pack64(v.Table.Since[:]),
	}
	if v.Table.Moving() > 0 {
		w.Nexts = pack16(v.Table.Nexts[:])
	}
	if v.Table.Priors != [ring.Partitions]uint64{} {
		w.Priors = pack64(v.Table.Priors[:])
	}
	b, err := json.Marshal(w)
	if err != nil {
		panic(fmt.Sprintf("encode view: %v", err)) // strings and integers always encode
	}
	return b
}

// DecodeView reads an encoded view and checks that it is whole.
func DecodeView(b []byte) (*View, error) {
	var w viewWire
	if err := json.Unmarshal(b, &w); err != nil {
		return nil, fmt.Errorf("decode view: %w", err)
	}
	v := &View{Epoch: w.Epoch, Cluster: w.Cluster, Roster: w.Roster, Table: new(ring.Table)}
	if len(w.Secret) != len(v.Secret) || w.Epoch == 0 || len(w.Roster) >= ring.None {
		return nil, fmt.Errorf("decode view: epoch %d, %d members, secret of %d bytes", w.Epoch, len(w.Roster), len(w.Secret))
	}
	copy(v.Secret[:], w.Secret)
	if w.Nexts == "" {
		w.Nexts = pack16(slices.Repeat([]uint16{ring.None}, ring.Partitions))
	}
	for _, part := range []struct {
		text string
		out  []uint16
	}{{w.Homes, v.Table.Homes[:]}, {w.Deputies, v.Table.Deputies[:]}, {w.Nexts, v.Table.Nexts[:]}} {
		if err := unpack16(part.text, part.out, len(w.Roster)); err != nil {
			return nil, fmt.Errorf("decode view: %w", err)
		}
	}
	if err := unpack64(w.Since, v.Table.Since[:]); err != nil {
		return nil, fmt.Errorf("decode view: %w", err)
	}
	if w.Priors == "" {
		return v, nil
	}
	if err := unpack64(w.Priors, v.Table.Priors[:]); err != nil {
		return nil, fmt.Errorf("decode view: %w", err)
	}
	return v, nil
}

func pack16(in []uint16) string {
	b := make([]byte, 0, 2*len(in))
	for _, x := range in {
		b = binary.LittleEndian.AppendUint16(b, x)
	}
	return base64.StdEncoding.EncodeToString(b)
}

func pack64(in []uint64) string {
	b := make([]byte, 0, 8*len(in))
	for _, x := range in {
		b = binary.LittleEndian.AppendUint64(b, x)
	}
	return base64.StdEncoding.EncodeToString(b)
}

func unpack16(text string, out []uint16, members int) error {
	b, err := base64.StdEncoding.DecodeString(text)
	if err != nil || len(b) != 2*len(out) {
		return fmt.Errorf("table of %d bytes, want %d", len(b), 2*len(out))
	}
	for i := range out {
		out[i] = binary.LittleEndian.Uint16(b[2*i:])
		if out[i] != ring.None && int(out[i]) >= members {
			return fmt.Errorf("partition %d belongs to member %d of %d", i, out[i], members)
		}
	}
	return nil
}

func unpack64(text string, out []uint64) error {
	b, err := base64.StdEncoding.DecodeString(text)
	if err != nil || len(b) != 8*len(out) {
		return fmt.Errorf("table of %d bytes, want %d", len(b), 8*len(out))
	}
	for i := range out {
		out[i] = binary.LittleEndian.Uint64(b[8*i:])
	}
	return nil
}
