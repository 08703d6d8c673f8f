// Package proof reads, writes and checks the public formats of a transparency
// log: what an auditor needs to hold a log to its word, and nothing that opens
// a file, a socket or a clock. The ledger writes these formats with the same
// code that the auditor reads them with.
//
// Four formats, each a C2SP specification (https://c2sp.org):
//
//	signed-note      text, an empty line, signature lines
//	tlog-checkpoint  the text of a signed note that commits to a whole log
//	tlog-proof       a leaf's place under a checkpoint, as one text
//	tlog-tiles       a log's hashes and leaves, as files of 256
//
// Trees are those of RFC 6962 section 2.1 over SHA-256: the hash of a leaf is
// SHA-256(0x00 || leaf), that of an inner node SHA-256(0x01 || left || right).
//
// Where a specification leaves a choice, this package takes the one form that
// it writes itself and refuses the others, so that every value has exactly one
// spelling: parsing and formatting again gives the same bytes.
package proof
