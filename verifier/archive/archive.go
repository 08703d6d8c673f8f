// Package archive reads and writes a whole log as one file: what an operator
// hands to an auditor. It holds the statements, the tree and the signed
// checkpoint, and the same of the state log; neither keys nor contents. The verifier key is not in it: an
// auditor who took the key from the file would check the file against itself.
//
// # Format
//
// An archive is an uncompressed POSIX tar file (IEEE Std 1003.1, "ustar
// Interchange Format") of the log as C2SP tlog-tiles at the size of one
// checkpoint. Unpacking it gives a folder that any tlog-tiles client reads, and
// the same log at the same checkpoint always gives the same bytes. Its members
// are regular files, in this order, each exactly once and no others:
//
//	checkpoint          the signed checkpoint (C2SP tlog-checkpoint)
//	tile/0/…            the hash tiles of level 0, by rising index; if the last
//	                    one is partial, it is the only partial one
//	tile/1/… to tile/7/…  the same of every higher level that has tiles
//	tile/entries/…      the entry bundles, by rising index, likewise
//	state/checkpoint    and so on: the same members of the state log
//	                    (verifier/state), each name after "state/"
//
// An archive of a ledger without a state log ends before state/checkpoint. Names,
// widths and contents of tiles and bundles are those of verifier/proof
// for the tree size that the log's own checkpoint states. The state log's checkpoint
// is at least as new as the log's.
//
// Each member is a 512-byte header and its content, padded with zero bytes to a
// multiple of 512. Two blocks of 512 zero bytes end the archive; nothing follows
// them. A header's fields, and no others, are set:
//
//	name      0    100  the name, padded with NUL
//	mode      100  8    "0000644" NUL
//	uid, gid  108  16   "0000000" NUL, twice
//	size      124  12   the content's length: eleven octal digits, NUL
//	mtime     136  12   "00000000000" NUL
//	chksum    148  8    the sum of the header's bytes, with this field as eight
//	                    spaces: six octal digits, NUL, space
//	typeflag  156  1    "0"
//	magic     257  6    "ustar" NUL
//	version   263  2    "00"
//
// A reader refuses every other spelling, so that a log has one archive.
//
// # Bounds
//
// A checkpoint has at most 64 KiB, a hash tile 32 bytes a hash, an entry bundle
// 2 to 65,537 bytes a leaf. Reading needs memory for the place of every bundle
// that the file really has, whatever its checkpoint claims.
package archive

import (
	"errors"
	"fmt"
	"iter"
	"strings"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/medledger/medledger/verifier/proof"
)

const (
	checkpointName = "checkpoint"
	statePrefix    = "state/"
	block          = 512
	trailer        = 2 * block
)

// ErrNotArchive says that a file does not begin like an archive: it is something
// else, and says nothing about any log.
var ErrNotArchive = errors.New("the file is no export of a log; name the file that 'medledger export' wrote")

// TruncatedError says that an archive ends before everything that its own
// checkpoint promises.
type TruncatedError struct {
	Missing    string // the first member that is missing or cut; "" for the end mark
	Size       int64  // how many bytes the file has
	Leaves     uint64 // how many leaves the checkpoint promises; 0 if it is cut itself
	Complete   uint64 // how many leaves there are before the cut
	Checkpoint []byte // the signed checkpoint; nil if it is cut itself
}

func (e *TruncatedError) Error() string {
	missing := e.Missing
	if missing == "" {
		missing = "the end mark"
	}
	return fmt.Sprintf("the export ends after %d bytes, before the end of %s: it has %d of the %d statements that its checkpoint promises",
		e.Size, missing, e.Complete, e.Leaves)
}

// MalformedError says that an archive is not in the one form of the format.
type MalformedError struct {
	Offset     int64  // in the file
	Member     string // the member that should be there; "" for the end mark
	Why        string
	Leaves     uint64 // how many leaves the checkpoint promises
	Checkpoint []byte // the signed checkpoint; nil if that is what is malformed
}

func (e *MalformedError) Error() string {
	member := e.Member
	if member == "" {
		member = "the end mark"
	}
	return fmt.Sprintf("the export is malformed at byte %d, where %s should be: %s", e.Offset, member, e.Why)
}

// members yields the tiles and bundles of a log of size leaves in the order of
// the archive.
func members(size uint64) iter.Seq[proof.Tile] {
	return func(yield func(proof.Tile) bool) {
		for _, level := range []int{0, 1, 2, 3, 4, 5, 6, 7, proof.Entries} {
			for t := range proof.TilesOf(size, level) {
				if !yield(t) {
					return
				}
			}
		}
	}
}

// bounds returns the least and the greatest length of a member in bytes.
func bounds(t proof.Tile) (least, most int64) {
	if t.Level == proof.Entries {
		return 2 * int64(t.Width), (2 + proof.MaxEntry) * int64(t.Width)
	}
	return tlog.HashSize * int64(t.Width), tlog.HashSize * int64(t.Width)
}

// header returns the tar header of a member.
func header(name string, size int64) [block]byte {
	var h [block]byte
	copy(h[0:], name)
	copy(h[100:], "0000644\x000000000\x000000000\x00")
	copy(h[124:], fmt.Sprintf("%011o\x00%011o\x00", size, 0))
	copy(h[148:], strings.Repeat(" ", 8))
	h[156] = '0'
	copy(h[257:], "ustar\x0000")
	var sum int
	for _, b := range h {
		sum += int(b)
	}
	copy(h[148:], fmt.Sprintf("%06o\x00 ", sum))
	return h
}

// padded returns how many bytes a content takes in the file.
func padded(size int64) int64 { return (size + block - 1) / block * block }
