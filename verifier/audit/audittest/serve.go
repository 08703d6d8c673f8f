package audittest

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io/fs"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/medledger/medledger/verifier/proof"
	"github.com/medledger/medledger/verifier/segment"
)

// Files are files by their names.
type Files map[string][]byte

// Serve returns what a log of statements serves as C2SP tlog-tiles: the
// checkpoint, the hash tiles and the entry bundles.
func Serve(statements [][]byte, signer note.Signer) Files {
	size := uint64(len(statements))
	files := make(Files)
	hashes := make([]tlog.Hash, size)
	for i, raw := range statements {
		hashes[i] = proof.LeafHash(raw)
	}
	for t := range proof.TilesOf(size, proof.Entries) {
		bundle, err := proof.FormatBundle(statements[t.Index*proof.TileWidth:][:t.Width])
		must(err)
		files[proof.FormatPath(t)] = bundle
	}
	for level, row := 0, hashes; len(row) > 0; level++ {
		for t := range proof.TilesOf(size, level) {
			files[proof.FormatPath(t)] = proof.FormatHashTile(row[t.Index*proof.TileWidth:][:t.Width])
		}
		var above []tlog.Hash
		for ; len(row) >= proof.TileWidth; row = row[proof.TileWidth:] {
			above = append(above, Root(row[:proof.TileWidth]))
		}
		row = above
	}
	files["checkpoint"] = Checkpoint(hashes, signer)
	return files
}

// Checkpoint signs the tree of some leaf hashes.
func Checkpoint(hashes []tlog.Hash, signer note.Signer) []byte {
	signed, err := proof.SignCheckpoint(proof.Checkpoint{Origin: signer.Name(), Size: uint64(len(hashes)), Root: Root(hashes)}, signer)
	must(err)
	return signed
}

// Root is RFC 6962's definition of a tree's root, word by word.
func Root(hashes []tlog.Hash) tlog.Hash {
	switch len(hashes) {
	case 0:
		return proof.EmptyRoot()
	case 1:
		return hashes[0]
	}
	k := 1
	for 2*k < len(hashes) {
		k *= 2
	}
	return tlog.NodeHash(Root(hashes[:k]), Root(hashes[k:]))
}

// Serve serves the history.
func (h *History) Serve() Files { return Serve(h.Statements, h.LogSigner) }

// Folder returns a ledger's data folder: the log's checkpoint and tiles, and the
// statements in segments of at most perSegment records, all but the last of them
// sealed.
func (h *History) Folder(perSegment int) Files {
	folder := make(Files)
	for name, data := range h.Serve() {
		if t, err := proof.ParsePath(name); err == nil && t.Level == proof.Entries {
			continue
		}
		folder["log/"+name] = data
	}
	for first := 0; first < len(h.Events); first += perSegment {
		last := min(first+perSegment, len(h.Events))
		folder["store/"+segment.FileName(uint64(first))] = Segment(uint64(first), h.Records()[first:last], last < len(h.Events))
	}
	return folder
}

// Records returns the records that an event store keeps of the history.
func (h *History) Records() []segment.Record {
	records := make([]segment.Record, len(h.Events))
	for i, e := range h.Events {
		records[i] = segment.Record{ID: e.ID, Stream: e.Stream(), Statement: h.Statements[i]}
	}
	return records
}

// Segment returns a segment file.
func Segment(base uint64, records []segment.Record, sealed bool) []byte {
	b := segment.AppendHeader(nil, base)
	var offsets []uint32
	for i, r := range records {
		offsets = append(offsets, uint32(len(b)))
		r.Number = base + uint64(i)
		b = r.Append(b)
	}
	if sealed {
		b = segment.AppendFooter(b, offsets, sha256.Sum256(b))
	}
	return b
}

// Checkpoint implements audit.Source.
func (f Files) Checkpoint(context.Context) ([]byte, error) { return f.read("checkpoint") }

// Entries implements audit.Source.
func (f Files) Entries(_ context.Context, n uint64, width int) ([]byte, error) {
	return f.read(proof.FormatPath(proof.Tile{Level: proof.Entries, Index: n, Width: width}))
}

// Tile implements audit.Source.
func (f Files) Tile(_ context.Context, t proof.Tile) ([]byte, error) {
	return f.read(proof.FormatPath(t))
}

func (f Files) read(name string) ([]byte, error) {
	data, ok := f[name]
	if !ok {
		return nil, fmt.Errorf("%s: %w", name, fs.ErrNotExist)
	}
	return data, nil
}
