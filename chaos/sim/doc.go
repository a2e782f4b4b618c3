// Package sim runs whole clusters of unmodified nodes in virtual time, inside testing/synctest, and breaks them by a
// schedule that a seed draws or a file holds: links, disks, clocks and processes fail, every fault proves that it bit,
// and clients at work note all they asked and were answered in a chaos.History, which judges then read.
//
// A schedule repeats what is done, not the order in which goroutines run: the same seed gives the same faults and
// nearly the same history. One bubble is one process, so a paused node's timers go on; see the fault table.
package sim
