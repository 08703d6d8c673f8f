package ledger

import (
	"context"
	"fmt"
	"sync"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/ledger/tlog"
	"github.com/medledger/medledger/verifier/life"
	"github.com/medledger/medledger/verifier/proof"
	"github.com/medledger/medledger/verifier/receipt"
)

// announcements caches what every receipt of one checkpoint has in common: the
// announcements of the statement keys, with their proofs. Under load a turn's
// receipts all want the same.
type announcements struct {
	mu     sync.Mutex
	size   uint64
	proved []receipt.ProvedStatement
	at     []uint64 // the indices of proved
}

// Receipt returns the self-contained proof that the event is in the log, at the
// checkpoint that was published with it.
func (r *Result) Receipt(ctx context.Context) (*receipt.Receipt, error) {
	return r.ledger.prove(ctx, r.Statement, r.Index, r.published)
}

// Receipt returns the receipt of a stored event at the current checkpoint, or an
// error that wraps store.ErrNotFound.
func (l *Ledger) Receipt(ctx context.Context, event events.ID) (*receipt.Receipt, error) {
	record, err := l.store.Lookup(ctx, event)
	if err != nil {
		return nil, err
	}
	published := l.log.Published()
	if indexOf(record) >= published.Checkpoint.Size { // durable, and logged in a moment
		return &receipt.Receipt{Status: receipt.StatusPromised, Statement: record.Statement}, nil
	}
	return l.prove(ctx, record.Statement, indexOf(record), published)
}

func (l *Ledger) prove(ctx context.Context, statement []byte, index uint64, at *tlog.Published) (*receipt.Receipt, error) {
	own, err := l.proved(ctx, statement, index, at)
	if err != nil {
		return nil, err
	}
	announced, err := l.announcedBefore(ctx, index, at)
	if err != nil {
		return nil, err
	}
	return &receipt.Receipt{Status: receipt.StatusProved, Statement: own.Statement, Proof: own.Proof, Announcements: announced}, nil
}

func (l *Ledger) proved(ctx context.Context, statement []byte, index uint64, at *tlog.Published) (receipt.ProvedStatement, error) {
	hashes, err := l.log.InclusionProof(ctx, index, at.Checkpoint.Size)
	if err != nil {
		return receipt.ProvedStatement{}, fmt.Errorf("proving the inclusion of event %d: %w", index, err)
	}
	return receipt.ProvedStatement{Statement: statement, Proof: proof.FormatProof(index, hashes, at.Note)}, nil
}

// announcedBefore returns the announcements that a statement at index needs.
func (l *Ledger) announcedBefore(ctx context.Context, index uint64, at *tlog.Published) ([]receipt.ProvedStatement, error) {
	l.announcements.mu.Lock()
	defer l.announcements.mu.Unlock()
	a := &l.announcements
	if a.size != at.Checkpoint.Size {
		var indices []uint64
		l.view(func(s *life.State) { indices = s.Head().Announcements })
		a.size, a.proved, a.at = 0, nil, nil
		for _, i := range indices {
			if i >= at.Checkpoint.Size {
				break
			}
			statement, err := l.log.Leaf(ctx, i)
			if err != nil {
				return nil, fmt.Errorf("reading the announcement of the statement keys: %w", err)
			}
			p, err := l.proved(ctx, statement, i, at)
			if err != nil {
				return nil, err
			}
			a.proved, a.at = append(a.proved, p), append(a.at, i)
		}
		a.size = at.Checkpoint.Size
	}
	n := 0
	for n < len(a.at) && a.at[n] < index || n == 0 {
		n++
	}
	return a.proved[:n:n], nil
}
