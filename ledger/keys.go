package ledger

import (
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
	"github.com/medledger/medledger/verifier/statement"
)

// The files of the folder of the secrets, each of mode 0600:
//
//	log.key              signs checkpoints (a C2SP signed-note key)
//	statement-KID.pem    signs statements (Ed25519, PKCS #8); KID in hex
//	commands.key         derives event ids from idempotency keys, and the key that
//	                     authenticates the copy of the state (HMAC-SHA256)
//	keys/                the root key of the vault's key tree, and those of backups
//	                     (ledger/custody)
//	backup-epochs        the epochs of the backups (ledger/backup)
//	destroyed.register   what the vault destroyed, so that a restoration does so again
const (
	logKeyFile      = "log.key"
	commandsKeyFile = "commands.key"
)

// keys are a ledger's secrets, except the vault's.
type keys struct {
	log      note.Signer
	verifier note.Verifier
	// statement are the signers on disk by key id: the current one, and after
	// a crash in the middle of a rotation its successor.
	statement map[string]*statement.Signer
	commands  [32]byte
}

// createKeys makes the keys that the folder lacks. It is called until the folder
// is marked, so a crash half-way leaves keys that the next call finds.
func createKeys(f Folder, fsys disk.FS, random io.Reader, origin string) error {
	if err := disk.MakeDir(fsys, f.Custody, 0o700); err != nil {
		return fmt.Errorf("making the folder of the secrets: %w", err)
	}
	if err := createLogKey(f, fsys, random, origin); err != nil {
		return fmt.Errorf("making the log's key: %w", err)
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

func createLogKey(f Folder, fsys disk.FS, random io.Reader, origin string) error {
	path := filepath.Join(f.Custody, logKeyFile)
	if exists, err := present(fsys, path); err != nil || exists {
		return err
	}
	skey, vkey, err := note.GenerateKey(random, origin)
	if err != nil {
		return err
	}
	// The public half first: a secret half without it would be found by the
	// next call and taken for done.
	if err := disk.WriteFile(fsys, f.VerifierKey(), []byte(vkey+"\n"), 0o644); err != nil {
		return err
	}
	return disk.WriteFile(fsys, path, []byte(skey+"\n"), 0o600)
}

func createCommandsKey(f Folder, fsys disk.FS, random io.Reader) error {
	path := filepath.Join(f.Custody, commandsKeyFile)
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
	return filepath.Join(f.Custody, "statement-"+hex.EncodeToString(raw)+".pem")
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
	if k.log, k.verifier, err = logKeys(f, fsys, origin); err != nil {
		return nil, err
	}
	if err := readCommandsKey(f, fsys, k); err != nil {
		return nil, err
	}
	k.statement, err = statementKeys(f, fsys)
	return k, err
}

func readCommandsKey(f Folder, fsys disk.FS, k *keys) error {
	raw, err := disk.ReadFile(fsys, filepath.Join(f.Custody, commandsKeyFile))
	if err != nil {
		return fmt.Errorf("reading the key of idempotent commands; put it back from your copy of the secrets: %w", err)
	}
	if n, err := hex.Decode(k.commands[:], []byte(strings.TrimSpace(string(raw)))); err != nil || n != len(k.commands) {
		return fmt.Errorf("%s is not 64 hex digits; put it back from your copy of the secrets", commandsKeyFile)
	}
	return nil
}

// verifierOf returns the log's verifier key, as text too, of the secret key in the
// folder of the secrets.
func verifierOf(f Folder, fsys disk.FS) (string, note.Verifier, error) {
	skey, err := disk.ReadFile(fsys, filepath.Join(f.Custody, logKeyFile))
	if err != nil {
		return "", nil, fmt.Errorf("reading the log's key; put the secrets back where they belong, or name their folder with --custody: %w", err)
	}
	// PRIVATE+KEY+name+hash+key, where key is one byte for Ed25519 and the seed
	// (golang.org/x/mod/sumdb/note).
	parts := strings.SplitN(strings.TrimSpace(string(skey)), "+", 5)
	if len(parts) != 5 {
		return "", nil, fmt.Errorf("%s is no signed-note key; put it back from your copy of the secrets", logKeyFile)
	}
	raw, err := base64.StdEncoding.DecodeString(parts[4])
	if err != nil || len(raw) != 1+ed25519.SeedSize {
		return "", nil, fmt.Errorf("%s is no signed-note key; put it back from your copy of the secrets", logKeyFile)
	}
	public, _ := ed25519.NewKeyFromSeed(raw[1:]).Public().(ed25519.PublicKey)
	vkey, err := note.NewEd25519VerifierKey(parts[2], public)
	if err != nil {
		return "", nil, fmt.Errorf("deriving the log's verifier key: %w", err)
	}
	verifier, err := note.NewVerifier(vkey)
	return vkey, verifier, err
}

func logKeys(f Folder, fsys disk.FS, origin string) (note.Signer, note.Verifier, error) {
	skey, err := disk.ReadFile(fsys, filepath.Join(f.Custody, logKeyFile))
	if err != nil {
		return nil, nil, fmt.Errorf("reading the log's key; put the secrets back where they belong, or name their folder with --custody: %w", err)
	}
	signer, err := note.NewSigner(strings.TrimSpace(string(skey)))
	if err != nil {
		return nil, nil, fmt.Errorf("%s is no signed-note key; put it back from your copy of the secrets: %w", logKeyFile, err)
	}
	vkey, err := disk.ReadFile(fsys, f.VerifierKey())
	if err != nil {
		return nil, nil, fmt.Errorf("reading the log's verifier key: %w", err)
	}
	verifier, err := proof.ParseVerifierKey(vkey)
	if err != nil {
		return nil, nil, fmt.Errorf("%s is no signed-note key: %w", f.VerifierKey(), err)
	}
	if signer.Name() != origin || verifier.Name() != origin || signer.KeyHash() != verifier.KeyHash() {
		return nil, nil, fmt.Errorf("the log's keys are those of %q and %q, the folder's origin is %q: %w",
			signer.Name(), verifier.Name(), origin, ErrOtherOrigin)
	}
	return signer, verifier, nil
}

func statementKeys(f Folder, fsys disk.FS) (map[string]*statement.Signer, error) {
	entries, err := fsys.ReadDir(f.Custody)
	if err != nil {
		return nil, fmt.Errorf("reading the folder of the secrets: %w", err)
	}
	signers := make(map[string]*statement.Signer)
	for _, entry := range entries {
		if !strings.HasPrefix(entry.Name(), "statement-") || !strings.HasSuffix(entry.Name(), ".pem") {
			continue
		}
		raw, err := disk.ReadFile(fsys, filepath.Join(f.Custody, entry.Name()))
		if err != nil {
			return nil, fmt.Errorf("reading a statement key: %w", err)
		}
		block, _ := pem.Decode(raw)
		if block == nil {
			return nil, fmt.Errorf("%s is no PEM file; put it back from your copy of the secrets", entry.Name())
		}
		key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%s holds no PKCS #8 key; put it back from your copy of the secrets: %w", entry.Name(), err)
		}
		private, ok := key.(ed25519.PrivateKey)
		if !ok {
			return nil, fmt.Errorf("%s holds no Ed25519 key; put it back from your copy of the secrets", entry.Name())
		}
		signer := statement.NewSigner(private)
		signers[signer.JWK().Kid] = signer
	}
	return signers, nil
}

// copyKey authenticates the copy of the state.
func (k *keys) copyKey() []byte {
	mac := hmac.New(sha256.New, k.commands[:])
	mac.Write([]byte("copy of the state\x00"))
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
