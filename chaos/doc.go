// Package chaos breaks a cluster on purpose and judges what it did: faults, workloads, histories,
// invariants and reports. It stays out of production builds; folder simnet holds the network it cuts.
package chaos
