package cluster

import "strconv"

// generationBits are the low bits of an epoch, which count views; those above count the generations of a cluster. A generation
// ends when the quorum of its voters is lost for good and one survivor begins the next one alone. So the epochs of one are
// beyond all of those before, also beyond those that only the lost voters knew.
const generationBits = 32

// Lineage names the cluster and its generation. Nodes of different lineages are of different Raft groups and must not hear
// each other.
func (v *View) Lineage() string {
	if n := v.Epoch >> generationBits; n > 0 {
		return v.Cluster + "." + strconv.FormatUint(n, 10)
	}
	return v.Cluster
}

// NextGeneration returns the view with which the next generation begins: the same but for its epoch, so that the tenures go on.
func (v *View) NextGeneration() *View {
	next := *v
	next.Epoch = (v.Epoch>>generationBits + 1) << generationBits
	return &next
}
