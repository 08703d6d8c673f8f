package audit

import (
	"context"
	"fmt"
	"sync"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/verifier/life"
	"github.com/medledger/medledger/verifier/proof"
	"github.com/medledger/medledger/verifier/statement"
)

// The audit is a pipeline of four stages, each of which takes batches of one
// entry bundle. The first and the third run on all cores, the second and the
// fourth see the batches in the order of the log:
//
//	read    fetch the bundle; parse and hash its statements; compare the tile
//	        of their hashes
//	key     find the keys that may sign at each place, which announcements in
//	        the log itself decide
//	verify  the signatures, by far the dearest
//	apply   the rest: ids, lives, decisions, tree
//
// The state log is read beside it, and the last stage holds it against the events.
//
// A fixed number of batches is under way, so that memory does not grow with the
// log, but for the ids, the state of its lives and the map of their summaries.

// batch is one entry bundle on its way.
type batch struct {
	tile     proof.Tile // of level 0, with the hashes of the bundle's leaves
	items    []item
	findings []Finding // about the bundle and its tile
	root     tlog.Hash // of the tile, if it is full
	err      error     // could not read
	missing  bool      // the statements are not there: the log ends here
	read     chan struct{}
	verified chan struct{}
}

// first returns the log index of the batch's first statement.
func (b *batch) first() uint64 { return b.tile.FirstLeaf() }

// item is one statement.
type item struct {
	leaf
	hash      tlog.Hash
	statement *statement.Statement // nil if it is none
	keys      statement.KeySet     // that may sign here
	checked   bool                 // signature checked already
	err       error                // what is false about form, key or signature
	retired   *uint64              // the announcement that retired its key
}

// leaf is a statement as a source keeps it.
type leaf struct {
	raw    []byte
	label  bool // whether the source keeps it under an id and a stream
	id     events.ID
	stream string
}

// leafSource is a source that knows more of its statements than their bytes.
type leafSource interface {
	leaves(ctx context.Context, n uint64, width int) ([]leaf, error)
}

// sealedSource is a source with seals of its own. They are checked last.
type sealedSource interface {
	seals(ctx context.Context) ([]Finding, error)
}

// auditor is one audit.
type auditor struct {
	src     Source
	options Options
	report  *Report // of the goroutine that called Log

	// The key stage's.
	keys    statement.KeySet
	current map[string]bool   // the key ids in keys
	retired map[string]uint64 // of earlier keys: which announcement replaced them

	// The apply stage's, which is the goroutine that called Log.
	state    *life.State
	seen     map[events.ID]uint64
	tree     tree
	keptRoot *tlog.Hash  // of as many statements as the kept checkpoint covers
	states   *stateCheck // nil if the state log is not audited
}

// entries runs the pipeline over all statements. The error says that something
// could not be checked.
func (a *auditor) entries(ctx context.Context) error {
	a.state, a.seen = life.NewState(), make(map[events.ID]uint64)
	a.retired = make(map[string]uint64)
	ctx, cancel := context.WithCancel(ctx)
	workers := a.options.Workers
	toRead, toKey := make(chan *batch, workers), make(chan *batch, 2*workers)
	toVerify, toApply := make(chan *batch, workers), make(chan *batch, 2*workers)
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()

	running.Go(func() { a.feed(ctx, toRead, toKey) })
	for range workers {
		running.Go(func() {
			for b := range toRead {
				a.read(ctx, b)
				close(b.read)
			}
		})
		running.Go(func() {
			for b := range toVerify {
				b.verify()
				close(b.verified)
			}
		})
	}
	running.Go(func() { a.keyStage(ctx, toKey, toVerify, toApply) })
	if a.states != nil && a.states.log != nil {
		batches := make(chan *stateBatch, 4)
		a.states.batches = batches
		running.Go(func() { a.states.log.run(ctx, batches) })
	}
	return a.applyStage(ctx, toApply)
}

// feed makes the batches.
func (a *auditor) feed(ctx context.Context, toRead, toKey chan<- *batch) {
	defer close(toRead)
	defer close(toKey)
	for t := range proof.TilesOf(a.report.Checkpoint.Size, 0) {
		b := &batch{tile: t, read: make(chan struct{}), verified: make(chan struct{})}
		if !send(ctx, toKey, b) || !send(ctx, toRead, b) {
			return
		}
	}
}

// send reports whether b was sent before ctx ended.
func send[T any](ctx context.Context, to chan<- T, b T) bool {
	select {
	case to <- b:
		return true
	case <-ctx.Done():
		return false
	}
}

// wait reports whether done was closed before ctx ended.
func wait(ctx context.Context, done <-chan struct{}) bool {
	select {
	case <-done:
		return true
	case <-ctx.Done():
		return false
	}
}

// read fetches a batch's statements, parses and hashes them, and compares the
// tile of their hashes with the one served.
func (a *auditor) read(ctx context.Context, b *batch) {
	leaves, err := a.fetch(ctx, b.tile)
	if err != nil {
		b.missing = b.blame(err)
		return
	}
	b.items = make([]item, len(leaves))
	hashes := make([]tlog.Hash, len(leaves))
	for i, l := range leaves {
		it := &b.items[i]
		it.leaf, it.hash = l, proof.LeafHash(l.raw)
		it.statement, it.err = statement.Parse(l.raw)
		hashes[i] = it.hash
	}
	if b.tile.Width == proof.TileWidth {
		b.root = subtree(hashes)
	}
	differs, err := compare(ctx, a.src, b.tile, hashes)
	if err != nil {
		b.blame(err)
	}
	if differs != nil {
		f := differs.finding(b.tile, ofLog)
		if s := b.items[differs.at].statement; s != nil {
			f.Event, f.Type = s.Event.ID, s.Event.Type
		}
		b.findings = append(b.findings, f)
	}
}

// blame keeps an error of a source as a finding, and returns true, or as the
// reason why something could not be checked.
func (b *batch) blame(err error) bool {
	if f, ok := defectIn(err); ok {
		b.findings = append(b.findings, f)
		return true
	}
	b.err = err
	return false
}

// fetch returns a bundle's leaves.
func (a *auditor) fetch(ctx context.Context, t proof.Tile) ([]leaf, error) {
	if src, ok := a.src.(leafSource); ok {
		return src.leaves(ctx, t.Index, t.Width)
	}
	bundle, err := a.src.Entries(ctx, t.Index, t.Width)
	if err != nil {
		return nil, err
	}
	raws, err := proof.ParseBundle(bundle, t.Width)
	if err != nil {
		return nil, &DefectError{Err: err, Finding: Finding{
			What: BundleMalformed, Located: true, Index: t.FirstLeaf(),
			Why: fmt.Sprintf("entry bundle %d: %v", t.Index, err),
		}}
	}
	leaves := make([]leaf, len(raws))
	for i, raw := range raws {
		leaves[i].raw = raw
	}
	return leaves, nil
}

// keyStage gives each batch's statements the keys that may sign them, in order.
func (a *auditor) keyStage(ctx context.Context, toKey <-chan *batch, toVerify, toApply chan<- *batch) {
	defer close(toVerify)
	defer close(toApply)
	for b := range toKey {
		if !wait(ctx, b.read) {
			return
		}
		for i := range b.items {
			if it := &b.items[i]; it.err == nil {
				a.key(b.first()+uint64(i), it)
			}
		}
		if !send(ctx, toVerify, b) || !send(ctx, toApply, b) {
			return
		}
	}
}

// key finds the keys that may sign a statement. Those that a verified
// announcement makes hold from the next statement on.
func (a *auditor) key(index uint64, it *item) {
	it.keys = a.keys
	if announced := it.statement.Event.StatementKeys(); len(announced) > 0 {
		a.announce(index, it, announced)
	}
	if _, may := it.keys.Key(it.statement.KeyID); !may {
		if at, ok := a.retired[it.statement.KeyID.String()]; ok {
			it.retired = &at
		}
	}
}

// announce verifies an announcement, which is a point that the log has to pass
// in order.
func (a *auditor) announce(index uint64, it *item, announced []events.StatementKey) {
	it.checked = true
	next, err := a.keys.Announce(it.statement, index)
	if err != nil {
		it.err = err
		return
	}
	kids := make(map[string]bool, len(announced))
	for _, k := range announced {
		kids[k.Kid] = true
		delete(a.retired, k.Kid)
	}
	for kid := range a.current {
		if !kids[kid] {
			a.retired[kid] = index
		}
	}
	a.current = kids
	a.keys = next
}

// verify checks the signatures of a batch.
func (b *batch) verify() {
	for i := range b.items {
		if it := &b.items[i]; it.err == nil && !it.checked {
			it.err = it.keys.Check(it.statement)
		}
	}
}
