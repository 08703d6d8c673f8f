package ledger

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/events/store/disk"
)

// Folder is where a ledger lies: its data folder, and the folder of its secrets,
// which is another one so that a copy of the data alone says nothing.
//
// The data folder:
//
//	medledger.json   format and origin; written last, so it marks a whole ledger
//	log.vkey         the log's verifier key, for everybody
//	state.vkey       that of the state log
//	admin.token      the first administrator's token, until somebody removes it
//	store/           the event store: every statement
//	log/             the transparency log: checkpoint and tiles
//	state/           where every record stands, and the state log
//	vault/           contents, documents and their keys, encrypted
//	access.sqlite    a copy of the state, derived from store/
//
// The folder of the secrets is in keys.go.
type Folder struct {
	Data, Secrets string
}

// FolderAt is the folder of a ledger whose secrets lie where they do by default.
func FolderAt(data string) Folder { return Folder{data, DefaultCustody(data)} }

// DefaultCustody is where the secrets of a ledger lie by default: beside the data
// folder, not in it.
func DefaultCustody(data string) string { return filepath.Clean(data) + ".custody" }

func (f Folder) String() string { return f.Data }

func (f Folder) path(elem ...string) string {
	return filepath.Join(append([]string{f.Data}, elem...)...)
}

// Store is where the event store lies.
func (f Folder) Store() string { return f.path("store") }

// Log is where the log's checkpoint and tiles lie.
func (f Folder) Log() string { return f.path("log") }

// VerifierKey is the file with the log's verifier key.
func (f Folder) VerifierKey() string { return f.path("log.vkey") }

// State is where the map of records and the state log lie.
func (f Folder) State() string { return f.path("state") }

// StateVerifierKey is the file with the state log's verifier key.
func (f Folder) StateVerifierKey() string { return f.path("state.vkey") }

// Vault is where contents and their keys lie, encrypted.
func (f Folder) Vault() string { return f.path("vault") }

// StateCopy is the file with the copy of the state. SQLite keeps further files
// beside it.
func (f Folder) StateCopy() string { return f.path("access.sqlite") }

// AdminToken is the file with the first administrator's token.
func (f Folder) AdminToken() string { return f.path("admin.token") }

// RootKeys is where the vault's root keys are, and those of backups' epochs, as long as
// their custody is a folder.
func (f Folder) RootKeys() string { return filepath.Join(f.Secrets, "keys") }

// Register is the file in which the vault registers what it destroyed.
func (f Folder) Register() string { return filepath.Join(f.Secrets, registerFile) }

// Kept is the file with the newest checkpoints of both logs.
func (f Folder) Kept() string { return filepath.Join(f.Secrets, keptFile) }

const (
	registerFile = "destroyed.register"
	keptFile     = "checkpoints.kept"
)

// markerFile says that the folder is a ledger's, and of which format.
const markerFile = "medledger.json"

func (f Folder) marker() string { return f.path(markerFile) }

// folderFormat is the format of the data folder that this program writes. In format
// 1 the secrets lay in the data folder, and the vault had no keys of records; in
// format 2 there was no state log, and the vault had no key tree, but one root key in
// a file.
const folderFormat = 3

type marker struct {
	Format int    `json:"format"`
	Origin string `json:"origin"`
}

// Origin reads which ledger the folder holds, or ErrNoLedger.
func (f Folder) Origin(fsys disk.FS) (string, error) {
	raw, err := disk.ReadFile(fsys, f.marker())
	if errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("%s: %w", f, ErrNoLedger)
	}
	if err != nil {
		return "", fmt.Errorf("reading what the folder holds: %w", err)
	}
	var m marker
	d := json.NewDecoder(bytes.NewReader(raw))
	if err := d.Decode(&m); err != nil {
		return "", fmt.Errorf("%s is damaged (%w); it should read {\"format\":%d,\"origin\":\"…\"}", f.marker(), err, folderFormat)
	}
	if m.Format > folderFormat {
		return "", fmt.Errorf("%s has format %d, this program reads up to %d: %w", f, m.Format, folderFormat, ErrNewerFormat)
	}
	if m.Format == 1 || m.Format == 2 {
		return m.Origin, fmt.Errorf("%s has format %d: %w", f, m.Format, ErrOldFormat)
	}
	if m.Format < 1 {
		return "", fmt.Errorf("%s names format %d; it should read {\"format\":%d,\"origin\":\"…\"}", f.marker(), m.Format, folderFormat)
	}
	return m.Origin, events.CheckOrigin(m.Origin)
}

func (f Folder) mark(fsys disk.FS, origin string) error {
	raw, err := json.Marshal(marker{Format: folderFormat, Origin: origin})
	if err != nil {
		return err
	}
	return disk.WriteFile(fsys, f.marker(), append(raw, '\n'), 0o644)
}
