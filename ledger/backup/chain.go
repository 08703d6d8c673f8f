package backup

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"filippo.io/age"

	"github.com/medledger/medledger/events/store/disk"
)

const (
	positionFile   = "position"
	checkpointFile = "checkpoint"
	// chainRoom is how many bytes of increments there may be in a chain besides as
	// many as its first one has.
	chainRoom = 64 << 20
)

// position is where a data side stands.
type position struct {
	Format     int             `json:"format"`
	Origin     string          `json:"origin"`
	Key        string          `json:"key"`
	Number     uint64          `json:"number"`  // of the newest increment
	Base       uint64          `json:"base"`    // of its chain
	Earlier    uint64          `json:"earlier"` // the base of the chain before it; 0 for none
	SHA256     string          `json:"sha256"`  // of the newest increment's file
	Size       uint64          `json:"size"`    // of the log
	State      uint64          `json:"state"`   // of the state log
	Vault      json.RawMessage `json:"vault"`   // the vault's own position
	FirstBytes int64           `json:"first"`   // of the chain's first increment
	RestBytes  int64           `json:"rest"`    // of the others
	Time       time.Time       `json:"time"`    // when the newest was begun
}

// dataSide is a folder of increments.
type dataSide struct {
	fsys disk.FS
	dir  string
}

func incrementName(number uint64) string { return fmt.Sprintf("%010d.age", number) }

func parseIncrementName(name string) (uint64, bool) {
	digits, isOne := strings.CutSuffix(name, ".age")
	n, err := strconv.ParseUint(digits, 10, 64)
	return n, isOne && err == nil && n > 0 && name == incrementName(n)
}

func (d dataSide) path(name string) string { return filepath.Join(d.dir, name) }

// numbers lists the increments that there are, in order.
func (d dataSide) numbers() ([]uint64, error) {
	entries, err := d.fsys.ReadDir(d.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: %w", d.dir, ErrNone)
	}
	if err != nil {
		return nil, fmt.Errorf("looking into the data side: %w", err)
	}
	var list []uint64
	for _, e := range entries {
		if n, ok := parseIncrementName(e.Name()); ok {
			list = append(list, n)
		}
	}
	slices.Sort(list)
	return list, nil
}

// nextIncrement says which increment comes next, and what it goes on from: nil if it
// begins a chain.
type nextIncrement struct {
	number, base, earlier uint64
	from                  *position
}

// next decides how the data side goes on. It begins a new chain if it is told to, if it
// does not know where it stands, if a file is missing, if the vault was restored since, or
// if the chain has become more than twice as long as a new one would be.
func (d dataSide) next(c *Config, src Source, full bool) (nextIncrement, error) {
	numbers, err := d.numbers()
	if err != nil && !errors.Is(err, ErrNone) {
		return nextIncrement{}, err
	}
	newest := uint64(0)
	if len(numbers) > 0 {
		newest = numbers[len(numbers)-1]
	}
	anew := nextIncrement{number: newest + 1, base: newest + 1}
	p, err := d.position(c)
	if errors.Is(err, fs.ErrNotExist) {
		if len(numbers) == 0 {
			err = refuseNonEmpty(d.fsys, d.dir)
		} else {
			c.Logger.Warn("the data side has lost its position; a new chain begins")
			err = nil
		}
		return anew, err
	}
	if errors.Is(err, ErrAltered) {
		c.Logger.Warn("the data side's position is damaged; a new chain begins", "cause", err)
		return anew, nil
	}
	if err != nil {
		return anew, err
	}
	anew.earlier = p.Base
	// One increment more than the position says is one that a crash left: it is made
	// again. More than one are none of ours to overwrite.
	whole := newest <= p.Number+1
	for n := p.Base; n <= p.Number; n++ {
		_, there := slices.BinarySearch(numbers, n)
		whole = whole && there
	}
	if !whole {
		c.Logger.Warn("an increment of the data side is missing, or there are more than it knows; a new chain begins")
		return anew, nil
	}
	if !src.Follows(p.Vault) {
		c.Logger.Info("the vault is another one than in the data side's last increment; a new chain begins")
		full = true
	}
	if full || p.RestBytes > p.FirstBytes+chainRoom {
		anew.number, anew.base = p.Number+1, p.Number+1
		return anew, nil
	}
	return nextIncrement{p.Number + 1, p.Base, p.Earlier, p}, nil
}

func refuseNonEmpty(fsys disk.FS, dir string) error {
	entries, err := fsys.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("looking into %s: %w", dir, err)
	}
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), temporary) {
			return fmt.Errorf("%s holds something else; choose an empty folder", dir)
		}
	}
	return nil
}

func (d dataSide) position(c *Config) (*position, error) {
	var p position
	if err := readAuthenticated(d.fsys, d.path(positionFile), c.Secret, "position", &p); err != nil {
		return nil, err
	}
	if p.Origin != c.Origin || p.Key != c.VerifierKey {
		return nil, fmt.Errorf("%s holds backups of %q: %w", d.dir, p.Origin, ErrOther)
	}
	if p.Format != incrementFormat {
		return nil, fmt.Errorf("%s has format %d, this program knows %d: use the medledger that wrote it", d.path(positionFile), p.Format, incrementFormat)
	}
	return &p, nil
}

// added is an increment that was written.
type added struct {
	*position
	from       uint64 // the log's size before
	bytes      int64
	checkpoint []byte
}

// add writes the next increment. Crash before it has its name: a temporary file. Crash
// before the position: an increment that the next call makes again, and that a restore
// takes, for it is whole. Crash after: it is there, and perhaps files of chains that
// have had their day.
func (d dataSide) add(ctx context.Context, c *Config, src Source, recipients []age.Recipient, full bool) (*added, error) {
	next, err := d.next(c, src, full)
	if err != nil {
		return nil, err
	}
	if err := disk.MakeDir(d.fsys, d.dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the data side's folder: %w", err)
	}
	w := incrementWriter{c: c, src: src}
	w.header = Header{
		Format: incrementFormat, Origin: c.Origin, Key: c.VerifierKey, Number: next.number, Base: next.base, Time: c.now(),
	}
	if next.from != nil {
		w.since = next.from.Vault
		w.header.Previous = next.from.SHA256
		w.header.Log.From, w.header.State.From = next.from.Size, next.from.State
	}
	sum, size, err := write(d.fsys, d.path(incrementName(next.number)), func(to io.Writer) error {
		sealed, err := age.Encrypt(to, recipients...)
		if err != nil {
			return err
		}
		return errors.Join(w.write(ctx, sealed), sealed.Close())
	})
	if err != nil {
		return nil, fmt.Errorf("writing increment %d: %w", next.number, err)
	}
	p := &position{
		Format: incrementFormat, Origin: c.Origin, Key: c.VerifierKey, Number: next.number, Base: next.base, Earlier: next.earlier,
		SHA256: sum, Size: w.header.Log.To, State: w.header.State.To, Vault: w.vault, Time: w.header.Time,
	}
	if next.from == nil {
		p.FirstBytes = size
	} else {
		p.FirstBytes, p.RestBytes = next.from.FirstBytes, next.from.RestBytes+size
	}
	if err := disk.WriteFile(d.fsys, d.path(checkpointFile), w.checkpoint, 0o644); err != nil {
		return nil, fmt.Errorf("writing the checkpoint: %w", err)
	}
	if err := writeAuthenticated(d.fsys, d.path(positionFile), c.Secret, "position", p); err != nil {
		return nil, fmt.Errorf("writing the data side's position: %w", err)
	}
	return &added{p, w.header.Log.From, size, w.checkpoint}, d.prune(p)
}

// prune removes what is older than the chain before the newest one.
func (d dataSide) prune(p *position) error {
	numbers, err := d.numbers()
	if err != nil || p.Earlier == 0 {
		return err
	}
	removed := false
	for _, n := range numbers {
		if n >= p.Earlier {
			break
		}
		if err := d.fsys.Remove(d.path(incrementName(n))); err != nil {
			return fmt.Errorf("removing an increment of an old chain: %w", err)
		}
		removed = true
	}
	if !removed {
		return nil
	}
	return d.fsys.SyncDir(d.dir)
}
