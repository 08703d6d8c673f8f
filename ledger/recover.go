package ledger

import (
	"context"
	"errors"
	"fmt"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/ledger/vault"
	"github.com/medledger/medledger/verifier/life"
)

// recover completes what a crash interrupted.
func (l *Ledger) recover(ctx context.Context) error {
	known := func(record events.ID, version uint32) bool {
		r := l.state().Record(record)
		return r != nil && version <= r.Versions
	}
	removed, err := l.vault.Collect(ctx, vault.Keep{Version: known, Document: l.knowsDocument})
	if err != nil {
		return fmt.Errorf("removing orphans from the vault: %w", err)
	}
	if removed > 0 {
		l.config.Logger.Info("removed contents whose events never happened", "count", removed)
	}
	if err := l.eraseAgain(ctx); err != nil {
		return err
	}
	unfinished := make(map[events.ID]events.ID) // record -> destruction
	var destroyed []events.ID
	for id, r := range l.state().Records {
		switch r.Phase {
		case life.Destroying:
			unfinished[id] = r.Destruction
		case life.Destroyed:
			destroyed = append(destroyed, id)
		}
	}
	if err := l.destroyAgain(ctx, destroyed); err != nil {
		return err
	}
	for record, destruction := range unfinished {
		if _, err := l.completeDestruction(ctx, record, destruction, Command{}); err != nil {
			return fmt.Errorf("completing a started destruction: %w", err)
		}
		l.config.Logger.Info("completed a destruction that was interrupted", "record", record)
	}
	return nil
}

// destroyAgain destroys the keys of records whose destruction is in the log and
// not in the vault. A vault that was put back from a backup is like that.
func (l *Ledger) destroyAgain(ctx context.Context, destroyed []events.ID) error {
	forgotten, err := l.vault.WithoutTombstone(ctx, destroyed)
	if err != nil || len(forgotten) == 0 {
		return err
	}
	l.config.Logger.Warn("the vault is older than the log; destroying again what was destroyed",
		"destroyed", len(destroyed), "forgotten", len(forgotten))
	for _, record := range forgotten {
		if _, err := l.vault.Destroy(ctx, record); err != nil {
			return fmt.Errorf("destroying a record again: %w", err)
		}
	}
	return nil
}

// eraseAgain destroys the keys of patients whose erasure is in the log, and which the
// vault still has.
func (l *Ledger) eraseAgain(ctx context.Context) error {
	var erased []events.ID
	for id, p := range l.state().Patients {
		if p.Erased {
			erased = append(erased, id)
		}
	}
	for _, id := range erased {
		if _, err := l.vault.Document(ctx, identityOf(id)); errors.Is(err, vault.ErrDestroyed) {
			continue
		}
		if err := l.destroyPatientKeys(ctx, id); err != nil {
			return err
		}
	}
	return nil
}

// knowsDocument reports whether the event of a document happened. The directory has
// no events.
func (l *Ledger) knowsDocument(p vault.Place) bool {
	switch p.Space {
	case vault.Identity:
		return l.state().Patient(p.ID) != nil
	case vault.Accounting:
		return !l.state().Shared(p.ID).IsZero()
	}
	return true
}
