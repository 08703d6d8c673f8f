// Package tlog is a transparency log: Trillian, in this process, as a log over
// the events of one event store. The ledger's pipeline is its only writer; the
// entrances read from it.
//
// The order of durability is: the events (the store's fsync is the commit), then
// the tiles (derived from the events and computed again if lost), then the
// signed checkpoint, then the answer to whoever waits. So a checkpoint never
// covers what is not durable, and what is durable is in the next checkpoint.
//
// The event store gives leaves their order: its n-th event is the leaf of index
// n, a PREORDERED_LOG in Trillian's terms. There is no second copy of the
// leaves (see tilestore).
//
// A log's folder holds
//
//	checkpoint   the latest checkpoint, a C2SP signed note (verifier/proof)
//	signed       the same, kept so that no crash can lose it (see signed.go)
//	tile/...     hash tiles, C2SP tlog-tiles
//	synced       how much of the tiles is known to be on the disk
//
// Several logs may live in one process, each with its own folder, store, origin
// and key.
package tlog
