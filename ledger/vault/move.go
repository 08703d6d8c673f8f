package vault

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/medledger/medledger/ledger/custody"
)

// MoveCustody moves the root key of the vault in cfg.Dir from cfg.Custody to another
// custody, of the same kind or not. Keys never leave a custody: the tree gets a new
// generation, whose root key is made in the other one, and then the former root keys
// are destroyed. Everything else stays. Nobody else may use the folder meanwhile.
//
// Crash, or an error, at any moment: the vault as it was; or one that Open refuses
// with ErrMoving, until the same call has completed it; or one that has moved. Of a
// move that came to nothing a root key may be left in the other custody, with which
// nothing is sealed; another move to it removes it.
func MoveCustody(ctx context.Context, cfg Config, to custody.Custody) error {
	return moveCustody(ctx, cfg, to, noHook)
}

func moveCustody(ctx context.Context, cfg Config, to custody.Custody, hook stepHook) (err error) {
	if to == nil || to == cfg.Custody {
		return fmt.Errorf("moving the root key wants another custody: %w", ErrInvalid)
	}
	cfg.moveTo = to
	v, err := open(ctx, cfg, hook)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, v.Close()) }()
	if err := v.keys.tree.move(ctx, cfg.Custody, to); err != nil {
		return fmt.Errorf("moving the root key to custody %q; run it again: %w", to.Kind(), err)
	}
	return nil
}

// moving is the mark of a move: the generation it began in, and the kind of custody
// that it moves out of.
type moving struct {
	generation uint64
	from       custody.Kind
}

func (m moving) marshal() []byte {
	return append(binary.BigEndian.AppendUint64(nil, m.generation), m.from...)
}

// readMoving returns the mark of a move, nil if there is none.
func readMoving(ctx context.Context, on querier) (*moving, error) {
	b, err := readMeta(ctx, on, metaMoving)
	if err != nil || b == nil {
		return nil, err
	}
	if len(b) < 8 {
		return nil, fmt.Errorf("bad mark of a move: restore %s from its backup", keysFile)
	}
	return &moving{binary.BigEndian.Uint64(b), custody.Kind(bytes.Clone(b[8:]))}, nil
}

// resumeMove looks at what a move has left when the tree is opened. One that had not
// committed its generation is forgotten. One that had goes on if it is called again.
func (t *tree) resumeMove(ctx context.Context, to custody.Custody) error {
	m, err := readMoving(ctx, t.conn)
	if err != nil || m == nil {
		return err
	}
	if m.generation == t.state.generation {
		for _, query := range []string{"DELETE FROM staged", "DELETE FROM meta WHERE name IN ('" + metaStaged + "', '" + metaMoving + "')"} {
			// Crash before or between: what the next Open forgets.
			if _, err := t.conn.ExecContext(ctx, query); err != nil {
				return fmt.Errorf("forgetting an unfinished move: %w", err)
			}
		}
		return nil
	}
	if to == nil || to.Kind() != t.state.kind || t.custody.Kind() != m.from {
		return fmt.Errorf("%w: from custody %q to %q", ErrMoving, m.from, t.state.kind)
	}
	t.custody = to
	return nil
}

// move makes a generation without doomed slots whose root key is in another custody,
// unless an interrupted move had come that far.
func (t *tree) move(ctx context.Context, from, to custody.Custody) error {
	if t.custody != to {
		// Crash before: nothing. Crash after: a mark, which Open forgets as long as the
		// generation is the same, and refuses later.
		err := t.hook.do(stepMark, func() error {
			return t.setMeta(ctx, metaMoving, moving{t.state.generation, from.Kind()}.marshal())
		})
		if err != nil {
			return err
		}
		if err := t.swap(ctx, nil, to); err != nil {
			return err
		}
	}
	// Crash before: the mark, and root keys in the former custody. Crash after: the
	// mark.
	err := t.hook.do(stepRetire, func() error {
		for _, id := range t.lineage() {
			if err := removeRoots(ctx, from, id); err != nil {
				return err
			}
		}
		return t.retire(ctx, to, true)
	})
	if err != nil {
		return err
	}
	// Crash before: as above. Crash after: a vault that has moved.
	return t.hook.do(stepMoved, func() error {
		_, err := t.write.deleteMeta.ExecContext(ctx, metaMoving)
		return err
	})
}
