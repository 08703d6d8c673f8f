package ledger

import (
	"bytes"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"strings"

	"golang.org/x/mod/sumdb/note"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/events/store/disk"
	"github.com/medledger/medledger/verifier/proof"
	"github.com/medledger/medledger/verifier/state"
	"github.com/medledger/medledger/verifier/statement"
)

// The files of the folder of the secrets, each of mode 0600:
//
//	log.key              signs checkpoints (a C2SP signed-note key)
//	state.key            signs those of the state log
//	statement-KID.pem    signs statements (Ed25519, PKCS #8); KID in hex
//	commands.key         derives event ids from idempotency keys, and the key that
//	                     authenticates the copy of the state (HMAC-SHA256)
//	keys/                the root key of the vault's key tree, and those of backups
//	                     (ledger/custody)
//	backup-epochs        the epochs of the backups (ledger/backup)
//	destroyed.register   what the vault destroyed, so that a restoration does so again
//	checkpoints.kept     the newest checkpoints of both logs (kept.go)
const (
	logKeyFile      = "log.key"
	stateKeyFile    = "state.key"
	commandsKeyFile = "commands.key"
)

// keys are a ledger's secrets, except the vault's.
type keys struct {
	log      note.Signer
	verifier note.Verifier
	state    note.Signer // of the state log
	// stateVerifier is its public side.
	stateVerifier note.Verifier
	// statement are the signers on disk by key id: the current one, and after
	// a crash in the middle of a rotation its successor.
	statement map[string]*statement.Signer
	commands  [32]byte
}

// createKeys makes the keys that the folder lacks. It is called until the folder
// is marked, so a crash half-way leaves keys that the next call finds.
func createKeys(f Folder, fsys disk.FS, random io.Reader, origin string) error {
	if err := disk.MakeDir(fsys, f.Secrets, 0o700); err != nil {
		return fmt.Errorf("making the folder of the secrets: %w", err)
	}
	if err := createNoteKey(fsys, random, origin, filepath.Join(f.Secrets, logKeyFile), f.VerifierKey()); err != nil {
		return fmt.Errorf("making the log's key: %w", err)
	}
	if err := createStateKey(f, fsys, random, origin); err != nil {
		return err
	}
	if err := createCommandsKey(f, fsys, random); err != nil {
		return fmt.Errorf("making the key of idempotent commands: %w", err)
	}
	existing, err := statementKeys(f, fsys)
	if err != nil {
		return err
	}
	if len(existing) == 0 {
		_, err = createStatementKey(f, fsys, random)
	}
	return err
}

func createStateKey(f Folder, fsys disk.FS, random io.Reader, origin string) error {
	if err := createNoteKey(fsys, random, state.Origin(origin), filepath.Join(f.Secrets, stateKeyFile), f.StateVerifierKey()); err != nil {
		return fmt.Errorf("making the state log's key: %w", err)
	}
	return nil
}

// createNoteKey makes a signed-note key, unless there is one.
func createNoteKey(fsys disk.FS, random io.Reader, name, secret, public string) error {
	if exists, err := present(fsys, secret); err != nil || exists {
		return err
	}
	skey, vkey, err := note.GenerateKey(random, name)
	if err != nil {
		return err
	}
	// The public half first: a secret half without it would be found by the
	// next call and taken for done.
	if err := disk.WriteFile(fsys, public, []byte(vkey+"\n"), 0o644); err != nil {
		return err
	}
	return disk.WriteFile(fsys, secret, []byte(skey+"\n"), 0o600)
}

func createCommandsKey(f Folder, fsys disk.FS, random io.Reader) error {
	path := filepath.Join(f.Secrets, commandsKeyFile)
	if exists, err := present(fsys, path); err != nil || exists {
		return err
	}
	var key [32]byte
	if _, err := io.ReadFull(random, key[:]); err != nil {
		return err
	}
	return disk.WriteFile(fsys, path, append(hex.AppendEncode(nil, key[:]), '\n'), 0o600)
}

// createStatementKey makes a key that signs statements and returns its signer.
// Until an event announces the key, nothing is signed with it.
func createStatementKey(f Folder, fsys disk.FS, random io.Reader) (*statement.Signer, error) {
	_, private, err := ed25519.GenerateKey(random)
	if err != nil {
		return nil, fmt.Errorf("making a statement key: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, fmt.Errorf("making a statement key: %w", err)
	}
	signer := statement.NewSigner(private)
	block := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	if err := disk.WriteFile(fsys, f.statementKey(signer.JWK().Kid), block, 0o600); err != nil {
		return nil, fmt.Errorf("writing a statement key: %w", err)
	}
	return signer, nil
}

// statementKey is the file of the statement key with the given kid, which the
// file's name has in hex: base64url does not survive file systems that fold case.
func (f Folder) statementKey(kid string) string {
	raw, _ := base64.RawURLEncoding.DecodeString(kid) // made by statement.Signer
	return filepath.Join(f.Secrets, "statement-"+hex.EncodeToString(raw)+".pem")
}

func present(fsys disk.FS, path string) (bool, error) {
	_, err := fsys.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// loadKeys reads the keys of a folder and holds them against its origin.
func loadKeys(f Folder, fsys disk.FS, origin string) (*keys, error) {
	k := new(keys)
	var err error
	if k.log, k.verifier, err = noteKeys(fsys, origin, filepath.Join(f.Secrets, logKeyFile), f.VerifierKey()); err != nil {
		return nil, err
	}
	k.state, k.stateVerifier, err = noteKeys(fsys, state.Origin(origin), filepath.Join(f.Secrets, stateKeyFile), f.StateVerifierKey())
	if err != nil {
		return nil, err
	}
	if err := readCommandsKey(f, fsys, k); err != nil {
		return nil, err
	}
	k.statement, err = statementKeys(f, fsys)
	return k, err
}

func readCommandsKey(f Folder, fsys disk.FS, k *keys) error {
	raw, err := disk.ReadFile(fsys, filepath.Join(f.Secrets, commandsKeyFile))
	if err != nil {
		return fmt.Errorf("reading the key of idempotent commands; restore the ledger from a backup, whose key side has the secrets: %w", err)
	}
	if n, err := hex.Decode(k.commands[:], []byte(strings.TrimSpace(string(raw)))); err != nil || n != len(k.commands) {
		return fmt.Errorf("%s is not 64 hex digits; restore the ledger from a backup, whose key side has the secrets", commandsKeyFile)
	}
	return nil
}

// verifierOf returns the verifier key, as text too, of a secret signed-note key.
func verifierOf(fsys disk.FS, secret string) (string, note.Verifier, error) {
	skey, err := disk.ReadFile(fsys, secret)
	if err != nil {
		return "", nil, fmt.Errorf("reading a log's key; put the secrets back where they belong, or name their folder with --custody: %w", err)
	}
	private, ok := bytes.CutPrefix(bytes.TrimSpace(skey), []byte("PRIVATE+KEY+"))
	name, seed, err := ed25519Key(private)
	if !ok || err != nil {
		return "", nil, fmt.Errorf("%s: %w; restore the ledger from a backup, whose key side has the secrets", filepath.Base(secret), errNoteKey)
	}
	public, _ := ed25519.NewKeyFromSeed(seed).Public().(ed25519.PublicKey)
	vkey, err := note.NewEd25519VerifierKey(name, public)
	if err != nil {
		return "", nil, fmt.Errorf("deriving a log's verifier key: %w", err)
	}
	verifier, err := note.NewVerifier(vkey)
	return vkey, verifier, err
}

var errNoteKey = errors.New("this is no signed-note key")

// ed25519Key returns the name in a signed-note key, without PRIVATE+KEY+ in front of a
// secret one, and its 32 bytes: the public key, or the seed of a secret one.
func ed25519Key(text []byte) (name string, key []byte, err error) {
	// name+hash+key, where key is one byte, 1 for Ed25519, and the key itself
	// (golang.org/x/mod/sumdb/note).
	parts := strings.SplitN(strings.TrimSpace(string(text)), "+", 3)
	raw, err := base64.StdEncoding.DecodeString(parts[len(parts)-1])
	if err != nil || len(parts) != 3 || len(raw) != 1+ed25519.PublicKeySize || raw[0] != 1 {
		return "", nil, errNoteKey
	}
	return parts[0], raw[1:], nil
}

// noteKeys reads both halves of a signed-note key and holds them against its name.
func noteKeys(fsys disk.FS, name, secret, public string) (note.Signer, note.Verifier, error) {
	skey, err := disk.ReadFile(fsys, secret)
	if err != nil {
		return nil, nil, fmt.Errorf("reading the key of %s; put the secrets back where they belong, or name their folder with --custody: %w", name, err)
	}
	signer, err := note.NewSigner(strings.TrimSpace(string(skey)))
	if err != nil {
		return nil, nil, fmt.Errorf("%s is no signed-note key; restore the ledger from a backup, whose key side has the secrets: %w", filepath.Base(secret), err)
	}
	vkey, err := disk.ReadFile(fsys, public)
	if err != nil {
		return nil, nil, fmt.Errorf("reading the verifier key of %s: %w", name, err)
	}
	verifier, err := proof.ParseVerifierKey(vkey)
	if err != nil {
		return nil, nil, fmt.Errorf("%s is no signed-note key: %w", public, err)
	}
	if signer.Name() != name || verifier.Name() != name || signer.KeyHash() != verifier.KeyHash() {
		return nil, nil, fmt.Errorf("the keys are those of %q and %q, and should be those of %q: %w",
			signer.Name(), verifier.Name(), name, ErrOtherOrigin)
	}
	return signer, verifier, nil
}

func statementKeys(f Folder, fsys disk.FS) (map[string]*statement.Signer, error) {
	entries, err := fsys.ReadDir(f.Secrets)
	if err != nil {
		return nil, fmt.Errorf("reading the folder of the secrets: %w", err)
	}
	signers := make(map[string]*statement.Signer)
	for _, entry := range entries {
		if !strings.HasPrefix(entry.Name(), "statement-") || !strings.HasSuffix(entry.Name(), ".pem") {
			continue
		}
		raw, err := disk.ReadFile(fsys, filepath.Join(f.Secrets, entry.Name()))
		if err != nil {
			return nil, fmt.Errorf("reading a statement key: %w", err)
		}
		block, _ := pem.Decode(raw)
		if block == nil {
			return nil, fmt.Errorf("%s is no PEM file; restore the ledger from a backup, whose key side has the secrets", entry.Name())
		}
		key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%s holds no PKCS #8 key; restore the ledger from a backup, whose key side has the secrets: %w", entry.Name(), err)
		}
		private, ok := key.(ed25519.PrivateKey)
		if !ok {
			return nil, fmt.Errorf("%s holds no Ed25519 key; restore the ledger from a backup, whose key side has the secrets", entry.Name())
		}
		signer := statement.NewSigner(private)
		signers[signer.JWK().Kid] = signer
	}
	return signers, nil
}

// copyKey authenticates the copy of the state, mapKey that of the map of records,
// backupKey what backups are made of.
func (k *keys) copyKey() []byte   { return k.subkey("copy of the state") }
func (k *keys) mapKey() []byte    { return k.subkey("map of records") }
func (k *keys) backupKey() []byte { return k.subkey("backups") }

func (k *keys) subkey(label string) []byte {
	mac := hmac.New(sha256.New, k.commands[:])
	mac.Write([]byte(label))
	mac.Write([]byte{0})
	return mac.Sum(nil)
}

// commandID derives the id of the event that a command leads to from who gives
// it and the key they tell it apart by, so that a retry after a crash finds it.
func (k *keys) commandID(actor events.ID, idempotencyKey string) events.ID {
	return k.derive("command", actor, idempotencyKey)
}

// completionID derives the id of the event that completes a destruction, so
// that it is completed once.
func (k *keys) completionID(destruction events.ID) events.ID {
	return k.derive("completion", destruction, "")
}

// deliveryID derives the id of the event that says that a release did not arrive.
func (k *keys) deliveryID(release events.ID) events.ID { return k.derive("delivery", release, "") }

func (k *keys) derive(label string, id events.ID, rest string) events.ID {
	mac := hmac.New(sha256.New, k.commands[:])
	mac.Write([]byte(label))
	mac.Write([]byte{0})
	mac.Write(id[:])
	mac.Write([]byte(rest))
	return events.DerivedID(mac.Sum(nil))
}
