package vault

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
)

const (
	// MaxTerms is how many terms may lead to one document.
	MaxTerms = 64
	// MaxTerm is the longest system and the longest value of a term in bytes.
	MaxTerm = 1024

	termContext = "medledger/vault/term/v1\x00"
)

// Term is what a document is found by: a value that is unique in a system, such
// as the number of a patient in a hospital's. It is compared byte by byte:
// whoever wants spellings to be alike makes them alike before.
type Term struct{ System, Value string }

// ledgerSecrets are the ledger's own keys, opened as long as the vault is open.
type ledgerSecrets struct{ index [keySize]byte }

func openLedgerKeys(ctx context.Context, k *keyStore) (ledgerSecrets, error) {
	name := keyName{kind: indexKey}
	s, proof, err := k.lookupKey(ctx, name)
	if err != nil {
		return ledgerSecrets{}, fmt.Errorf("opening the key of the index: %w", err)
	}
	key, err := k.namedKey(ctx, name, s, proof)
	if err != nil {
		return ledgerSecrets{}, fmt.Errorf("opening the key of the index, restore %s from its backup: %w", keysFile, err)
	}
	return ledgerSecrets{key}, nil
}

func (l *ledgerSecrets) wipe() { clear(l.index[:]) }

// digests returns what the index holds of terms, each once.
func (l *ledgerSecrets) digests(s Space, terms []Term) (list [][]byte, err error) {
	if len(terms) > MaxTerms {
		return nil, fmt.Errorf("%d terms, at most %d are allowed: %w", len(terms), MaxTerms, ErrInvalid)
	}
	for _, t := range terms {
		if t.Value == "" || len(t.Value) > MaxTerm || len(t.System) > MaxTerm {
			return nil, fmt.Errorf("a term wants a value, and no part of over %d bytes: %w", MaxTerm, ErrInvalid)
		}
		d := l.digest(s, t)
		if !slices.ContainsFunc(list, func(other []byte) bool { return bytes.Equal(d, other) }) {
			list = append(list, d)
		}
	}
	return list, nil
}

func (l *ledgerSecrets) digest(s Space, t Term) []byte {
	mac := hmac.New(sha256.New, l.index[:])
	b := append([]byte(termContext), byte(s))
	for _, part := range []string{t.System, t.Value} {
		b = binary.BigEndian.AppendUint32(b, uint32(len(part)))
		b = append(b, part...)
	}
	defer clear(b)
	mac.Write(b)
	return mac.Sum(nil)
}
