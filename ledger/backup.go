package ledger

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"strings"
	"time"

	"github.com/medledger/medledger/events/store/disk"
	"github.com/medledger/medledger/ledger/backup"
	"github.com/medledger/medledger/ledger/custody"
	"github.com/medledger/medledger/ledger/tlog"
	"github.com/medledger/medledger/ledger/vault"
	"github.com/medledger/medledger/verifier/life"
)

// Backup takes a backup (ledger/backup says what one is), while the ledger goes on. full
// begins a new chain of increments.
func (l *Ledger) Backup(ctx context.Context, p backup.Plan, full bool) (*backup.Report, error) {
	if err := l.refuseFolders(p); err != nil {
		return nil, errors.Join(err, l.backups.Retire(ctx)) // a promise, whatever fails
	}
	return l.backups.Run(ctx, source{l}, p, full)
}

// KeepBackups takes a backup whenever the plan says so, until ctx ends.
func (l *Ledger) KeepBackups(ctx context.Context, p backup.Plan) error {
	if err := l.refuseFolders(p); err != nil {
		return err
	}
	return l.backups.Keep(ctx, source{l}, p)
}

// KeepRetiring retires the epochs of backups on their day until ctx ends. It belongs beside
// every ledger that is open for long, also if no backups are taken.
func (l *Ledger) KeepRetiring(ctx context.Context) { l.backups.KeepRetiring(ctx) }

// BackupStatus says what could be restored, and what of the destroyed that could bring
// back.
func (l *Ledger) BackupStatus(ctx context.Context, p backup.Plan) (*backup.Status, error) {
	return l.backups.Status(ctx, source{l}, p)
}

// BackupHealth says how backups went since the ledger was opened.
func (l *Ledger) BackupHealth() backup.Health { return l.backups.Health() }

// source is the ledger as backups see it.
type source struct{ l *Ledger }

// Logs implements backup.Source.
func (s source) Logs() (log, states backup.Log) {
	at, stateAt := s.l.pinned()
	return at, stateAt
}

// Vault implements backup.Source.
func (s source) Vault(ctx context.Context, since json.RawMessage, w io.Writer) (json.RawMessage, error) {
	var from vault.Position
	if since != nil {
		if err := json.Unmarshal(since, &from); err != nil {
			return nil, fmt.Errorf("the position of the vault: %w", err)
		}
	}
	upTo, err := s.l.vault.Increment(ctx, from, w)
	if err != nil {
		return nil, err
	}
	return json.Marshal(upTo)
}

// Keys implements backup.Source.
func (s source) Keys(ctx context.Context, w io.Writer, epoch string) (backup.Taken, error) {
	destroyed, err := s.Destroyed(ctx) // before, so that it is not more than the tree lacks
	if err != nil {
		return backup.Taken{}, err
	}
	first := &beginning{w: w}
	if err := s.l.vault.BackupKeys(ctx, first, epoch); err != nil {
		return backup.Taken{}, err
	}
	info, err := vault.InspectKeys(bytes.NewReader(first.kept))
	return backup.Taken{Generation: info.Generation, Destroyed: destroyed}, err
}

// beginning keeps the beginning of what is written.
type beginning struct {
	w    io.Writer
	kept []byte
}

// Write implements io.Writer.
func (b *beginning) Write(p []byte) (int, error) {
	const enough = 64 << 10
	b.kept = append(b.kept, p[:min(len(p), enough-len(b.kept))]...)
	return b.w.Write(p)
}

// Follows implements backup.Source.
func (s source) Follows(since json.RawMessage) bool {
	var from vault.Position
	return json.Unmarshal(since, &from) == nil && s.l.vault.Follows(from)
}

// Destroyed implements backup.Source.
func (s source) Destroyed(ctx context.Context) (uint64, error) {
	n, err := s.l.vault.Tombstones(ctx)
	return uint64(n), err
}

// pinned is a log as it was at one of its checkpoints.
type pinned struct {
	*tlog.Log
	at *tlog.Published
}

// Newest implements backup.Log.
func (p pinned) Newest() (signed []byte, size uint64) { return p.at.Note, p.at.Checkpoint.Size }

// pinned returns the log and the state log as they are at one moment.
func (l *Ledger) pinned() (log, states pinned) {
	l.standing.Between(func() {
		log = pinned{l.log, l.log.Published()}
		states = pinned{l.standing.Log(), l.standing.Log().Published()}
	})
	return log, states
}

// dies says which files of the folder of the secrets are not backed up: what the vault
// destroyed since is known from there only if the folder survived, and so is what the
// logs have signed since. The keys that must be able to die lie in a folder below it.
func dies(name string) bool { return name == registerFile || name == keptFile }

// backupConfig is what backups of a ledger are made and read with.
func backupConfig(f Folder, c Config, k *keys, vkey, origin string, in custody.Custody) backup.Config {
	return backup.Config{
		Origin: origin, VerifierKey: vkey, Secret: k.backupKey(), Secrets: f.Secrets, Dies: dies, Custody: in,
		FS: c.FS, Clock: c.Clock, Random: c.Random, Logger: c.Logger,
	}
}

// openBackups comes once the vault is open.
func (l *Ledger) openBackups(ctx context.Context) error {
	vkey, err := disk.ReadFile(l.config.FS, l.folder.VerifierKey())
	if err != nil {
		return fmt.Errorf("reading the log's verifier key: %w", err)
	}
	c := backupConfig(l.folder, l.config, l.keys, strings.TrimSpace(string(vkey)), l.origin, l.custody)
	c.LogTime = func() (last time.Time) {
		l.view(func(s *life.State) { last = s.Head().Time.Time() })
		return last
	}
	c.Trim = l.vault.TrimRegister
	if l.custody.Kind() == custody.Token {
		without := l.config
		without.Helper = Helper{}
		if l.elsewhere, err = openCustody(ctx, l.folder, without); err != nil {
			return err
		}
		c.Elsewhere = l.elsewhere
	}
	l.backups = backup.New(c)
	return nil
}

// refuseFolders refuses to back up into the ledger's own folders: a backup shares no
// fate with the data, and no folder with the secrets; nor do its two sides with each
// other. And it refuses a folder of a backup in which somebody has put links: what they
// point at would be overwritten, or removed as what has had its day.
func (l *Ledger) refuseFolders(p backup.Plan) error {
	if p.Data == "" || p.Keys == "" {
		return nil // the plan itself is refused
	}
	if inside(resolved(p.Data), resolved(p.Keys)) || inside(resolved(p.Keys), resolved(p.Data)) {
		return fmt.Errorf("the two sides of a backup lie apart, best on two media, and %s and %s do not; choose another folder", p.Data, p.Keys)
	}
	for _, dst := range []string{p.Data, p.Keys} {
		if err := l.refuseFolder(dst); err != nil {
			return err
		}
	}
	return nil
}

func (l *Ledger) refuseFolder(dst string) error {
	for _, own := range []string{l.folder.Data, l.folder.Secrets} {
		if inside(resolved(own), resolved(dst)) {
			return fmt.Errorf("%s lies in %s, which is the ledger's own; choose a folder elsewhere, best on another disk", dst, own)
		}
	}
	err := filepath.WalkDir(resolved(dst), func(name string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() && !e.Type().IsRegular() {
			err = fmt.Errorf("%s is no file that a backup has; choose another folder", name)
		}
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("looking into the backup's folder: %w", err)
	}
	return nil
}

// resolved is where a path leads once its links are followed, as far as it exists.
func resolved(path string) string {
	absolute, err := filepath.Abs(path)
	if err != nil {
		return path
	}
	if real, err := filepath.EvalSymlinks(absolute); err == nil {
		return real
	}
	parent := filepath.Dir(absolute)
	if parent == absolute {
		return absolute
	}
	return filepath.Join(resolved(parent), filepath.Base(absolute))
}
