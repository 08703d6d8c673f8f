package ledger

import (
	"context"
	"errors"
	"fmt"
	"unicode"
	"unicode/utf8"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/ledger/vault"
)

// The directory gives organisations and departments ids. Their names are in the
// vault; the log and everything else has the ids.

// MaxName is the longest name of an organisation or a department in bytes.
const MaxName = 200

// Organisation returns the id of the organisation with a name, which gets one if
// it has none yet.
func (l *Ledger) Organisation(ctx context.Context, name string) (events.ID, error) {
	return l.named(ctx, vault.Term{System: "organisation", Value: name})
}

// Department returns the id of a department of an organisation, likewise.
func (l *Ledger) Department(ctx context.Context, organisation events.ID, name string) (events.ID, error) {
	return l.named(ctx, vault.Term{System: "department of " + organisation.String(), Value: name})
}

// named finds an entry by its name or makes it.
func (l *Ledger) named(ctx context.Context, t vault.Term) (events.ID, error) {
	if err := checkName(t.Value); err != nil {
		return events.ID{}, err
	}
	place, err := l.vault.Find(ctx, vault.Directory, t)
	if err == nil {
		return place.ID, nil
	}
	if !errors.Is(err, vault.ErrNotFound) {
		return events.ID{}, fmt.Errorf("looking a name up: %w", err)
	}
	id, err := l.newID()
	if err != nil {
		return events.ID{}, err
	}
	_, err = l.vault.PutDocument(ctx, vault.Place{Space: vault.Directory, ID: id}, []byte(t.Value), t)
	taken := new(vault.TakenError)
	if errors.As(err, &taken) { // somebody made it at the same moment
		return taken.ID, nil
	}
	if err != nil {
		return events.ID{}, l.notKept("keeping a name", err)
	}
	return id, nil
}

func checkName(name string) error {
	if name == "" || len(name) > MaxName || !utf8.ValidString(name) {
		return ErrName
	}
	for _, r := range name {
		if !unicode.IsPrint(r) {
			return ErrName
		}
	}
	return nil
}

// NameOf returns the name of an organisation or a department, "" if it has none.
func (l *Ledger) NameOf(ctx context.Context, id events.ID) (string, error) {
	name, err := l.vault.Document(ctx, vault.Place{Space: vault.Directory, ID: id})
	if errors.Is(err, vault.ErrNotFound) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("reading a name: %w", err)
	}
	return string(name), nil
}
