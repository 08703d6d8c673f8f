package demo

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/mod/sumdb/note"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/verifier/proof"
	"github.com/medledger/medledger/verifier/state"
	"github.com/medledger/medledger/verifier/statement"
)

// sign signs the checkpoints of a forgery as it is now.
func (f *forgery) sign(log, states note.Signer) (err error) {
	if f.checkpoint, err = proof.SignCheckpoint(checkpointOf(log.Name(), f.leafHashes()), log); err != nil {
		return fmt.Errorf("forging a checkpoint: %w", err)
	}
	if f.stateCheckpoint, err = proof.SignCheckpoint(checkpointOf(states.Name(), f.stateHashes()), states); err != nil {
		return fmt.Errorf("forging a checkpoint of the state log: %w", err)
	}
	return nil
}

// ownKeys are keys that a forger makes himself.
type ownKeys struct {
	log, state  note.Signer
	statement   *statement.Signer
	logPublic   string // a verifier key
	statePublic string // as the log announces it
}

func newKeys() (*ownKeys, error) {
	own := new(ownKeys)
	var statePublic string
	var err error
	if own.statement, err = newSigner(); err != nil {
		return nil, err
	}
	if own.log, own.logPublic, err = newNoteKey(origin); err != nil {
		return nil, err
	}
	if own.state, statePublic, err = newNoteKey(state.Origin(origin)); err != nil {
		return nil, err
	}
	// NAME+HASH+KEY, where KEY is one byte for Ed25519 and the key itself
	// (golang.org/x/mod/sumdb/note).
	key, err := base64.StdEncoding.DecodeString(strings.SplitN(statePublic, "+", 3)[2])
	if err != nil {
		return nil, fmt.Errorf("making a key to forge with: %w", err)
	}
	own.statePublic = state.Announce(key[1:]).PublicKey
	return own, nil
}

func newSigner() (*statement.Signer, error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making a key to forge with: %w", err)
	}
	return statement.NewSigner(key), nil
}

// newNoteKey makes a key that signs checkpoints.
func newNoteKey(name string) (note.Signer, string, error) {
	secret, public, err := note.GenerateKey(rand.Reader, name)
	if err != nil {
		return nil, "", fmt.Errorf("making a key to forge with: %w", err)
	}
	signer, err := note.NewSigner(secret)
	if err != nil {
		return nil, "", fmt.Errorf("making a key to forge with: %w", err)
	}
	return signer, public, nil
}

// stolenKeys are all keys of the ledger.
type stolenKeys struct {
	log, state note.Signer
	statements map[string]*statement.Signer // by key id
}

// steal reads the keys from copies of the folder of the secrets: a key that was
// replaced since is in the older one only.
func steal(folders ...string) (*stolenKeys, error) {
	k := &stolenKeys{statements: make(map[string]*statement.Signer)}
	for _, folder := range folders {
		var err error
		if k.log, err = stealNoteKey(filepath.Join(folder, "log.key")); err != nil {
			return nil, err
		}
		if k.state, err = stealNoteKey(filepath.Join(folder, "state.key")); err != nil {
			return nil, err
		}
		files, err := filepath.Glob(filepath.Join(folder, "statement-*.pem"))
		if err != nil || len(files) != 1 {
			return nil, errors.Join(fmt.Errorf("there are %d statement keys to steal, want 1", len(files)), err)
		}
		signer, err := stealSigner(files[0])
		if err != nil {
			return nil, err
		}
		k.statements[signer.JWK().Kid] = signer
	}
	return k, nil
}

// again signs an event with the key of the given id.
func (k *stolenKeys) again(kid string, e events.Event) ([]byte, error) {
	signer := k.statements[kid]
	if signer == nil {
		return nil, fmt.Errorf("key %s was not stolen", kid)
	}
	return signer.Sign(e)
}

func stealNoteKey(file string) (note.Signer, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("stealing a log's key: %w", err)
	}
	signer, err := note.NewSigner(strings.TrimSpace(string(text)))
	if err != nil {
		return nil, fmt.Errorf("stealing a log's key: %w", err)
	}
	return signer, nil
}

// stealSigner reads a statement key.
func stealSigner(file string) (*statement.Signer, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("stealing a statement key: %w", err)
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, errors.New("the statement key to steal is no PEM file")
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("stealing a statement key: %w", err)
	}
	key, ok := parsed.(ed25519.PrivateKey)
	if !ok {
		return nil, errors.New("the statement key to steal is not an Ed25519 key")
	}
	return statement.NewSigner(key), nil
}
