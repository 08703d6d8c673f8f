package ledger

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/medledger/medledger/events/store/disk"
	"github.com/medledger/medledger/events/store/segment"
	"github.com/medledger/medledger/ledger/tlog"
	"github.com/medledger/medledger/verifier/kept"
	"github.com/medledger/medledger/verifier/proof"
)

// The ledger keeps the newest checkpoints of both its logs beside the secrets, in
// checkpoints.kept. If 'log' and 'state' are put back from before, together, nothing
// else tells that from a crash, and the state log would go on with other leaves than it
// once signed.
//
// The file has the signed checkpoints one after the other, the log's first, as
// 'medverify audit --keep' writes them. Their signatures authenticate it. It is written
// when the ledger has been opened, at most every keepEvery while it serves, and when it
// is closed; so what was signed in the last moments before a crash is not in it.
//
// It is never ahead of the ledger. A checkpoint is kept after it was published, and
// published after its events and its leaf are durable: so after any crash both logs come
// to at least what the file says before they sign anything new.
const keepEvery = time.Second

// keptCheckpoints are verified checkpoints of both logs, of which any may be nil.
type keptCheckpoints struct{ log, state *tlog.Published }

// findKept verifies the checkpoints that there are in a file.
func findKept(file []byte, log, states note.Verifier) (k keptCheckpoints, err error) {
	found, err := kept.Find(file, log.Name())
	if err != nil {
		return k, err
	}
	if k.log, err = verifyKept(found.Log, log); err != nil {
		return k, err
	}
	if found.State != nil {
		k.state, err = verifyKept(found.State, states)
	}
	return k, err
}

func verifyKept(signed []byte, v note.Verifier) (*tlog.Published, error) {
	c, err := proof.VerifyCheckpoint(signed, v)
	if err != nil {
		return nil, fmt.Errorf("has a checkpoint that is not of %s: %w", v.Name(), err)
	}
	return &tlog.Published{Checkpoint: c, Note: signed}, nil
}

// readKept reads the file. There is none in the folder of an older medledger.
func readKept(f Folder, fsys disk.FS, log, states note.Verifier) (keptCheckpoints, error) {
	file, err := disk.ReadFile(fsys, f.Kept())
	if errors.Is(err, fs.ErrNotExist) {
		return keptCheckpoints{}, nil
	}
	if err != nil {
		return keptCheckpoints{}, fmt.Errorf("reading the checkpoints that were kept: %w", err)
	}
	k, err := findKept(file, log, states)
	if err == nil && k.state == nil {
		err = errors.New("has no checkpoint of the state log")
	}
	if err != nil {
		return keptCheckpoints{}, fmt.Errorf("%s: %w (it %w)", f.Kept(), ErrKept, err)
	}
	return k, nil
}

// gatherKnown sets the checkpoints that the logs must extend: those beside the secrets,
// and those that were given.
func (l *Ledger) gatherKnown(given []keptCheckpoints) error {
	l.known = given
	if l.config.restoring {
		return nil // the restoration holds the logs to the file
	}
	own, err := readKept(l.folder, l.config.FS, l.keys.verifier, l.keys.stateVerifier)
	l.known = append(l.known, own)
	return err
}

// ofLog returns the known checkpoints of the log, ofState those of the state log.
func ofLog(k keptCheckpoints) *tlog.Published   { return k.log }
func ofState(k keptCheckpoints) *tlog.Published { return k.state }

func (l *Ledger) notes(of func(keptCheckpoints) *tlog.Published) (notes [][]byte) {
	for _, k := range l.known {
		if p := of(k); p != nil {
			notes = append(notes, p.Note)
		}
	}
	return notes
}

// knownSize is how many events the known checkpoints are of.
func (l *Ledger) knownSize() (size uint64) {
	for _, k := range l.known {
		if k.log != nil {
			size = max(size, k.log.Checkpoint.Size)
		}
	}
	return size
}

// older wraps an error about the folder if a known checkpoint shows it.
func (l *Ledger) older(err error) error {
	var shows []byte
	lost, history := new(tlog.LostEventsError), new(tlog.HistoryError)
	switch {
	case errors.As(err, &lost):
		shows = lost.Note
	case errors.As(err, &history):
		shows = history.Note
	case !errors.Is(err, segment.ErrLost):
		return err
	}
	isKnown := func(signed []byte) bool { return bytes.Equal(signed, shows) }
	known := append(l.notes(ofLog), l.notes(ofState)...)
	if len(known) == 0 || shows != nil && !slices.ContainsFunc(known, isKnown) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrOlder, err)
}

// keep writes the newest checkpoints, unless the file has them.
//
// A crash before it returns leaves the file as it was, which is older, or as it is to be;
// and perhaps a temporary one, which is written over. A crash after it leaves the new one.
func (l *Ledger) keep() error {
	if l.config.restoring {
		return nil // the folder has no name yet, and another restoration may follow
	}
	log, states := l.pinned()
	file := slices.Concat(log.at.Note, states.at.Note)
	if bytes.Equal(file, l.keptFile) {
		return nil
	}
	if err := disk.WriteFile(l.config.FS, l.folder.Kept(), file, 0o600); err != nil {
		return fmt.Errorf("keeping the newest checkpoints in the folder of the secrets: %w", err)
	}
	l.keptFile = file
	return nil
}

// keepLoop keeps the newest checkpoints while the ledger serves. No turn waits for it.
func (l *Ledger) keepLoop() {
	defer close(l.keeping)
	tick := time.NewTicker(keepEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			l.tryToKeep()
		case <-l.closing:
			return
		}
	}
}

// tryToKeep does without if it must: all that is lost is that a folder from before the
// last checkpoints is not told from a crash. It complains once.
func (l *Ledger) tryToKeep() {
	err := l.keep()
	if err != nil && !l.keepFails {
		l.config.Logger.Warn("the newest checkpoints are not kept; make room in the folder of the secrets, or give the ledger the right to write there", "error", err)
	}
	l.keepFails = err != nil
}

// extends returns an error unless a log extends a checkpoint, which is not beyond it.
func extends(ctx context.Context, log *tlog.Log, known proof.Checkpoint) error {
	now := log.Published().Checkpoint
	hashes, err := log.ConsistencyProof(ctx, known.Size, now.Size)
	if err != nil {
		return err
	}
	return proof.VerifyConsistency(known, now, hashes)
}
