// Package tree is the ledger's state as a Merkle prefix tree (the format of
// verifier/mpt) that is too large for memory and must not be computed anew at every
// start: it is for ledger/state, which says what the entries are.
//
// The tree is derived from the events. Update puts a turn's changes in and returns the
// root; what changed reaches a copy in SQLite some time later, one transaction for many
// turns. The copy may lag, and never leads, so that a crash costs the events from its
// position on, and deleting it costs all of them.
//
// # Pages
//
// An entry is kept as its stored form, opaque bytes, from which Config.Leaf derives the
// key and the value that is hashed. A page has all entries whose keys begin with the same
// bits, as many as the page's depth; it is split by the next bit when it exceeds 1 KB. Above
// the pages there is the directory in memory, a trie over those bits whose nodes keep the
// hashes of what is below, some 170 bytes a page. A batch of changes writes each page that
// it touches anew, and computes each hash above it once.
//
// In memory are the data of the pages that changed since the last flush and, up to a
// bound, of those that an Update used of late. The others are read when they are needed,
// and must then be what was written. Keys and hashes of leaves are derived when a page is
// opened, and forgotten after the Update.
//
// # File
//
//	page  id    INTEGER
//	      data  depth, 2 bytes, high first; then each entry in the order of the
//	            keys: the length of its stored form, an unsigned varint, and the form
//	head  version  INTEGER, the format
//	      value    position, the number of events covered: 8 bytes, high first;
//	               root, 32 bytes
//	      mac      HMAC-SHA256 over "head", 0x00, version (8 bytes), the sum of the
//	               pages' digests (16 bytes) and value
//
// A page's digest is the first 16 bytes of HMAC-SHA256 over "page", 0x00, id (8 bytes)
// and data; they are added modulo 2^128. Open reads every page, computes every hash, and
// believes the copy only if it is what was written with the key. Any other copy is
// replaced by an empty one at position 0.
package tree
