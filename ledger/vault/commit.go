package vault

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/medledger/medledger/events"
)

const (
	// maxBatch and maxBatchBytes bound what is committed at once.
	maxBatch      = 256
	maxBatchBytes = 8 << 20
)

// operation is what a request asks of the committing goroutine.
type operation int

const (
	opPut operation = iota
	opDiscard
	opDestroy
	opPutDocument
	opDiscardDocument
	opSweep
)

// request is one write. The fields below done are the answer, to be read after
// done was received from.
type request struct {
	op      operation
	record  events.ID      // opPut, opDiscard
	version uint32         // opPut, opDiscard
	wrapped []byte         // opPut: the version's secrets
	sealed  []byte         // opPut: a segment record, nil if the content is in a file
	at      location       // opPut: of the file; of the record, filled in by stage
	serial  serial         // opPut: of the row, filled in by insert
	fresh   *[keySize]byte // opPut, opPutDocument: the named key, nil if it is there already
	key     slot           // opPut, opPutDocument: of the named key; of a fresh one, filled in
	name    keyName        // opDestroy
	doc     *documentRow   // opPutDocument, opDiscardDocument
	upTo    serial         // opSweep
	done    chan struct{}

	err     error
	keys    int             // opDestroy
	live    map[uint32]bool // opSweep
	current uint32          // opSweep: the segment being written
}

// step names a moment of a commit at which tests make it fail.
type step int

const (
	stepWrite      step = iota // the rows of a batch, inside the transaction
	stepCommit                 // COMMIT
	stepRoot                   // the root key of the next generation
	stepStage                  // its nodes, beside those of the last one
	stepVerify                 // reading them back
	stepRegister               // registering what is destroyed
	stepGeneration             // making them count
	stepRetire                 // destroying the former root key
	stepTruncate               // truncating the write-ahead log
	stepMark                   // marking that the root key moves
	stepMoved                  // removing that mark
	stepBuild                  // building the key database of an upgrade or a restoration
	stepAside                  // renaming the old key database
	stepSwap                   // renaming the new key database to its name
	stepErase                  // overwriting the old key database
)

// stepHook is asked before and after each step; its error takes the place of
// the step's success. Outside tests it is noHook.
type stepHook func(s step, after bool) error

func noHook(step, bool) error { return nil }

// do runs one step.
func (h stepHook) do(s step, f func() error) error {
	if err := h(s, false); err != nil {
		return err
	}
	if err := f(); err != nil {
		return err
	}
	return h(s, true)
}

// submit hands a request to the committing goroutine and waits for its end. It
// does not watch a context: a request that was handed over happens.
func (v *Vault) submit(r *request) error {
	r.done, r.err = make(chan struct{}), nil
	v.queue <- r
	<-r.done
	return r.err
}

// commitLoop is the committing goroutine: the only one that writes segments and
// SQLite. While it commits, more requests gather; it takes them all at once.
func (v *Vault) commitLoop() {
	defer close(v.done)
	var stopped error
	for first := range v.queue {
		batch := v.gather(first)
		if stopped == nil {
			stopped = v.commit(batch)
			if stopped != nil {
				v.cfg.Logger.Error("vault stopped: close it and open it again", "error", stopped)
			}
		} else {
			answer(batch, fmt.Errorf("%w: %w", ErrStopped, stopped))
		}
	}
}

func (v *Vault) gather(first *request) []*request {
	batch := []*request{first}
	for size := len(first.sealed); len(batch) < maxBatch && size < maxBatchBytes; {
		select {
		case r, ok := <-v.queue:
			if !ok {
				return batch
			}
			batch = append(batch, r)
			size += len(r.sealed)
		default:
			return batch
		}
	}
	return batch
}

// answer ends the requests that have no answer yet.
func answer(batch []*request, err error) {
	for _, r := range batch {
		if err != nil {
			r.err = err
		}
		close(r.done)
	}
}

// commit makes a batch durable and answers it. An error means that it is not
// known what became durable: nothing more may be written before the vault is
// opened again.
//
// The segment is written and synced while SQLite works on the rows, and COMMIT
// waits for it, so that a row that can be seen has its ciphertext. A crash
// leaves
//
//   - before the COMMIT is durable: nothing, or ciphertext without a row, dead
//     bytes in the segment;
//   - after it: everything happened, acknowledged or not. A version that was
//     not acknowledged has no event, and Collect removes it.
func (v *Vault) commit(batch []*request) error {
	ctx := context.Background()
	written := v.writeSegment(batch)
	err := v.commitRows(ctx, batch, written)
	if err != nil {
		v.keys.tree.reload(ctx)
		answer(batch, fmt.Errorf("%w: %w", ErrStopped, err))
		return err
	}
	v.keys.tree.release()
	var puts, destroys []*request
	for _, r := range batch {
		if r.op == opDestroy {
			destroys = append(destroys, r)
		} else {
			puts = append(puts, r)
		}
	}
	answer(puts, nil)
	if len(destroys) == 0 {
		return nil
	}
	// Crash before, or in it: the tombstone is durable and closes the record, and
	// what is pending the next Open completes. Crash after: the keys are gone.
	err = v.keys.tree.complete(ctx, false)
	if errors.Is(err, errUnsure) || errors.Is(err, ErrUnverified) {
		v.keys.tree.reload(ctx)
		answer(destroys, fmt.Errorf("destruction is committed but not complete: %w: %w", ErrStopped, err))
		return err
	}
	if err != nil {
		err = fmt.Errorf("destruction is committed but not complete, destroy it again: %w", err)
	}
	answer(destroys, err)
	return nil
}

// writeSegment begins the durable write of a batch's small ciphertexts and
// returns what waits for its end, to be called once.
func (v *Vault) writeSegment(batch []*request) (wait func() error) {
	var small []*request
	for _, r := range batch {
		if r.sealed != nil {
			small = append(small, r)
		}
	}
	if len(small) == 0 {
		return func() error { return nil }
	}
	data, err := v.segments.stage(small)
	if err != nil {
		return func() error { return err }
	}
	written := make(chan error, 1)
	go func() { written <- v.segments.write(data) }()
	return func() error { return <-written }
}

// commitRows applies a batch to SQLite in one transaction, which it commits
// after written. What a request may not do is its own error; an error of
// commitRows is everybody's.
func (v *Vault) commitRows(ctx context.Context, batch []*request, written func() error) error {
	k := v.keys
	_, err := k.write.begin.ExecContext(ctx)
	if err == nil {
		err = k.hook.do(stepWrite, func() error { return v.applyAll(ctx, batch) })
	}
	if err == nil {
		err = k.flush(ctx)
	}
	if err = errors.Join(err, written()); err == nil {
		err = k.hook.do(stepCommit, func() error {
			_, err := k.write.commit.ExecContext(ctx)
			return err
		})
	}
	if err != nil {
		// If there is nothing to roll back, because BEGIN failed or COMMIT took
		// effect, SQLite says so.
		_, _ = k.write.rollback.ExecContext(ctx)
		return fmt.Errorf("committing contents: %w", err)
	}
	return nil
}

// applyAll applies a batch in its order. Puts that follow each other are applied
// together.
func (v *Vault) applyAll(ctx context.Context, batch []*request) error {
	for rest := batch; len(rest) > 0; {
		n := slices.IndexFunc(rest, func(r *request) bool { return r.op != opPut })
		if n < 0 {
			n = len(rest)
		}
		if err := v.keys.insert(ctx, rest[:n]); err != nil {
			return err
		}
		if rest = rest[n:]; len(rest) == 0 {
			break
		}
		if err := v.apply(ctx, rest[0]); isRefusal(err) {
			rest[0].err = err
		} else if err != nil {
			return err
		}
		rest = rest[1:]
	}
	var added, segment int
	for _, r := range batch {
		if r.op == opPut && r.err == nil && r.at.segment != 0 {
			added, segment = added+1, int(r.at.segment)
		}
	}
	if added == 0 {
		return nil
	}
	_, err := v.keys.write.addLive.ExecContext(ctx, segment, added)
	return err
}

// apply applies a request that is no put.
func (v *Vault) apply(ctx context.Context, r *request) (err error) {
	switch r.op {
	case opDiscard:
		return v.keys.discard(ctx, r.record, r.version)
	case opDestroy:
		r.keys, err = v.keys.destroy(ctx, r.name)
		return err
	case opPutDocument:
		return v.keys.putDocument(ctx, r)
	case opDiscardDocument:
		return v.keys.discardDocument(ctx, r.doc.place)
	case opSweep:
		r.current = v.segments.number
		r.live, err = v.keys.sweep(ctx, r.upTo, r.current)
		return err
	}
	return fmt.Errorf("operation %d: %w", r.op, ErrInvalid)
}

// isRefusal reports whether an error is an answer to one request, which has
// written nothing.
func isRefusal(err error) bool {
	for _, refusal := range []error{ErrNotFound, ErrDestroyed, ErrExists, ErrTaken, errKeyChanged} {
		if errors.Is(err, refusal) {
			return true
		}
	}
	return false
}
