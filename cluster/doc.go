// Package cluster knows who is here and who owns what.
//
// Gossip tells who is alive; the view, agreed through Raft, tells which node is home of which partition; the
// Steward of the leader keeps the second in step with the first; the Keeper brings every node to the newest
// view; the Router sends a check to its home. DESIGN.md beside this file tells why it is built so.
package cluster
