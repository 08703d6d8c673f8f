// Package tilestore is Trillian's storage for medledger's logs: a
// storage.LogStorage and a storage.AdminStorage (Trillian v1.8.0) for trees of
// type PREORDERED_LOG. Only ledger/tlog calls it.
//
// It keeps no second copy of anything. Leaves stay where the event store put
// them (Leaves); tree nodes are kept as C2SP tlog-tiles (Tiles), so that the
// folder of tiles is Trillian's node table and the log's public read API at
// once. Nodes are derived from leaves: a tile that is lost or damaged is
// computed again, and none is synced on the hot path.
//
// The files under a Tiles folder are
//
//	tile/L/N        full hash tiles, written once
//	tile/L/N.p/W    at most one partial tile a level, the right edge; it is
//	                renamed and appended to as it grows, so a reader with an older
//	                checkpoint takes the first hashes of a wider tile
//	synced          the durable mark: decimal N and a newline; every full tile
//	                within the first N leaves has been synced
//
// named as verifier/proof specifies. Entry bundles are not stored; they are
// made from the leaves when asked for.
package tilestore
