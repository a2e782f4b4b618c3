// Package transport is every byte that enters or leaves a node: the network seam, the peer port that Raft and
// nodes share, gRPC for clients and peers, and HTTP/JSON. It translates between the wire and the vocabulary
// of policy, cluster and ledger, and decides nothing itself.
package transport
