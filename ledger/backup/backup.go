package backup

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"filippo.io/age"

	"github.com/medledger/medledger/events/store/disk"
	"github.com/medledger/medledger/ledger/custody"
)

// Log is a log that is backed up.
type Log interface {
	// Newest returns the newest signed checkpoint, and how many entries it covers.
	Newest() (signed []byte, size uint64)
	// Leaves returns n entries, or fewer but one, beginning with the given one.
	Leaves(ctx context.Context, first uint64, n int) ([][]byte, error)
}

// Source is the ledger that is backed up. It goes on meanwhile.
type Source interface {
	// Logs are the log and the state log as they are at one moment.
	Logs() (log, state Log)
	// Vault writes what has come to the ciphertext side of the vault since an earlier
	// position, nil for everything, and returns the new position: JSON in the form of
	// json.Marshal.
	Vault(ctx context.Context, since json.RawMessage, w io.Writer) (json.RawMessage, error)
	// Follows reports whether an increment of the vault can go on from a position. It
	// cannot if the vault is another one, such as one that was restored.
	Follows(since json.RawMessage) bool
	// Keys writes the key tree, its top sealed under a key in custody. What was put
	// into the vault before it began is in the tree, unless it was destroyed.
	Keys(ctx context.Context, w io.Writer, epoch string) (Taken, error)
	// Destroyed is how many destructions there have been.
	Destroyed(ctx context.Context) (uint64, error)
}

// Taken says which key tree was written.
type Taken struct {
	Generation uint64 // of its root key
	Destroyed  uint64 // destructions that had been by then, not more
}

// Exporter is a custody that gives keys away, for those that must outlive it: a file's,
// not a token's.
type Exporter interface {
	// Export returns a key, which the caller wipes.
	Export(ctx context.Context, name string) ([]byte, error)
	// Import takes a key that was exported, durably. custody.ErrExists if the name is
	// taken.
	Import(ctx context.Context, name string, key []byte) error
}

// Config says what is backed up and with what.
type Config struct {
	Origin      string
	VerifierKey string // the log's
	// Secret authenticates what is written, 32 bytes or more. Whoever restores has it
	// from the secrets.
	Secret []byte
	// Secrets is the folder of the secrets, and Dies says which of its files are of keys
	// that must be able to die: those are not backed up.
	Secrets string
	Dies    func(name string) bool
	// Custody is where keys of epochs are made. Elsewhere is one in which there may be
	// keys of earlier ones, or nil.
	Custody   custody.Custody
	Elsewhere custody.Custody
	FS        disk.FS
	Clock     func() time.Time
	// LogTime is the time of the log's last event, or nil. A clock that was set back puts
	// no day off beyond that.
	LogTime func() time.Time
	// Trim forgets the destructions up to a generation of the key tree, which no restoration
	// needs to know of any more. It is called with every retirement, mostly in vain. Nil
	// where no vault is open: then the next retirement with one does it.
	Trim   func(ctx context.Context, generation uint64) error
	Random io.Reader
	Logger *slog.Logger
}

func (c *Config) now() time.Time {
	now := c.Clock()
	if c.LogTime != nil {
		if last := c.LogTime(); last.After(now) {
			now = last
		}
	}
	return now.UTC().Truncate(time.Second)
}

// Plan says where backups go and on which schedule.
type Plan struct {
	// Data and Keys are the folders of the two sides, which should not share a fate.
	Data string `json:"data"`
	Keys string `json:"keys"`
	// Recipients are age's, "age1…": whoever has the identity of one can restore.
	Recipients []string `json:"recipients"`
	// Every is how often a backup is taken. An epoch is in use for Epoch, and retired
	// Keep after it was made.
	Every time.Duration `json:"every"`
	Epoch time.Duration `json:"epoch"`
	Keep  time.Duration `json:"keep"`
}

// What a plan is if nothing else is said.
const (
	DefaultEvery = 24 * time.Hour
	DefaultEpoch = 7 * 24 * time.Hour
	DefaultKeep  = 35 * 24 * time.Hour
)

// Or is the plan, with what another one says where it says nothing.
func (p Plan) Or(other Plan) Plan {
	if p.Data == "" {
		p.Data = other.Data
	}
	if p.Keys == "" {
		p.Keys = other.Keys
	}
	if len(p.Recipients) == 0 {
		p.Recipients = other.Recipients
	}
	for _, d := range []struct{ is, other *time.Duration }{{&p.Every, &other.Every}, {&p.Epoch, &other.Epoch}, {&p.Keep, &other.Keep}} {
		if *d.is == 0 {
			*d.is = *d.other
		}
	}
	return p
}

// scheduled fills in the schedule.
func (p Plan) scheduled() Plan {
	for _, d := range []struct {
		is      *time.Duration
		initial time.Duration
	}{{&p.Every, DefaultEvery}, {&p.Epoch, DefaultEpoch}, {&p.Keep, DefaultKeep}} {
		if *d.is == 0 {
			*d.is = d.initial
		}
	}
	return p
}

// WithDefaults fills in the schedule, and checks the plan.
func (p Plan) WithDefaults() (Plan, error) {
	p = p.scheduled()
	switch {
	case p.Data == "" || p.Keys == "":
		return p, errors.New("a backup has two sides; name a folder for each, with --data and --keys or in the configuration")
	case len(p.Recipients) == 0:
		return p, errors.New("a backup is encrypted; make an identity with 'medledger backup identity' and name its recipient with --recipients or in the configuration")
	case p.Every < time.Minute || p.Epoch < p.Every || p.Keep < p.Epoch:
		return p, fmt.Errorf("a backup every %v, epochs of %v, kept for %v: want at least a minute, and each at least the one before", p.Every, p.Epoch, p.Keep)
	}
	_, err := p.recipients()
	return p, err
}

func (p *Plan) recipients() ([]age.Recipient, error) {
	var list []age.Recipient
	for _, text := range p.Recipients {
		r, err := age.ParseX25519Recipient(strings.TrimSpace(text))
		if err != nil {
			return nil, fmt.Errorf("%q is no recipient, which looks like age1…: %w", text, err)
		}
		list = append(list, r)
	}
	return list, nil
}

// Backups takes the backups of one ledger. Its methods may be called from several
// goroutines at once.
type Backups struct {
	c  Config
	mu sync.Mutex // held while a backup is taken, and while the epochs are read or written
	// adopted says that the keys in custody were held to the epochs since the ledger was
	// opened. Guarded by mu.
	adopted bool

	healthMu sync.Mutex
	health   Health
}

// Health is how backups go since the ledger was opened.
type Health struct {
	LastSuccess time.Time     // when the last that succeeded was begun, also before that; zero if none did
	Took        time.Duration // the last that succeeded; zero if none did since
	Bytes       int64         // of its increment
	Failures    uint64
}

// New returns the backups of a ledger.
func New(c Config) *Backups {
	b := &Backups{c: c}
	if e, err := c.readEpochs(); err == nil && e.Run != nil {
		b.health.LastSuccess = e.Run.Time
	}
	return b
}

// Health says how backups go.
func (b *Backups) Health() Health {
	b.healthMu.Lock()
	defer b.healthMu.Unlock()
	return b.health
}

// ran keeps how a run went.
func (b *Backups) ran(begun time.Time, report *Report, err error) {
	b.healthMu.Lock()
	defer b.healthMu.Unlock()
	if err != nil {
		b.health.Failures++
		return
	}
	b.health.LastSuccess, b.health.Took, b.health.Bytes = begun.UTC().Truncate(time.Second), b.c.Clock().Sub(begun), report.Bytes
}

// Report says what a run did.
type Report struct {
	Increment uint64 `json:"increment"` // its number
	Base      uint64 `json:"base"`      // of the first of its chain
	From      uint64 `json:"from"`      // the log's size before
	Size      uint64 `json:"size"`      // and now
	Bytes     int64  `json:"bytes"`     // of the increment
	Epoch     uint64 `json:"epoch"`     // whose snapshot was taken
	// Retires is when that epoch is retired.
	Retires time.Time `json:"retires"`
}

// Run takes a backup: an increment, then a snapshot of the key tree, so that the tree has
// the keys of all that is in the data side. Epochs whose day has come are retired first,
// whatever fails afterwards: that is a promise to those whose records were destroyed.
func (b *Backups) Run(ctx context.Context, src Source, p Plan, full bool) (*Report, error) {
	begun := b.c.Clock()
	report, err := b.run(ctx, src, p, full)
	b.ran(begun, report, err)
	return report, err
}

func (b *Backups) run(ctx context.Context, src Source, p Plan, full bool) (*Report, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	c := &b.c
	e, err := c.loadEpochs(ctx)
	if err != nil {
		return nil, err
	}
	late := b.adoptAndRetire(ctx, e)
	p, err = p.WithDefaults()
	if err != nil {
		return nil, errors.Join(late, err)
	}
	recipients, err := p.recipients()
	if err != nil {
		return nil, errors.Join(late, err)
	}
	report, err := c.run(ctx, src, e, &p, recipients, full)
	return report, errors.Join(late, err)
}

func (c *Config) run(ctx context.Context, src Source, e *epochs, p *Plan, recipients []age.Recipient, full bool) (*Report, error) {
	keys := keySide{c.FS, p.Keys}
	m, err := keys.open(c)
	if err != nil {
		return nil, err
	}
	if err := keys.clean(c, m, e); err != nil {
		return nil, err
	}
	data := dataSide{c.FS, p.Data}
	added, err := data.add(ctx, c, src, recipients, full)
	if err != nil {
		return nil, err
	}
	if err := keys.putSecrets(c, m, p, recipients); err != nil {
		return nil, err
	}
	epoch, err := c.current(ctx, e, p)
	if err != nil {
		return nil, err
	}
	// That the medium has the epoch is known before it does, and so is what its first
	// snapshot could bring back.
	if first := epoch.Snapshot == nil && epoch.FirstDestroyed == nil; first || !slices.Contains(epoch.Media, m.ID) {
		if first {
			before, err := src.Destroyed(ctx)
			if err != nil {
				return nil, err
			}
			epoch.FirstDestroyed = &before
		}
		if !slices.Contains(epoch.Media, m.ID) {
			epoch.Media = append(epoch.Media, m.ID)
		}
		if err := c.saveEpochs(e); err != nil {
			return nil, err
		}
	}
	if err := keys.snapshot(ctx, c, src, epoch, p, recipients, added.position, added.checkpoint); err != nil {
		return nil, fmt.Errorf("taking a snapshot of the key tree into epoch %d: %w", epoch.Number, err)
	}
	e.Run = &Run{Time: added.Time, Size: added.Size, Epoch: epoch.Number}
	report := &Report{
		Increment: added.Number, Base: added.Base, From: added.from, Size: added.Size, Bytes: added.bytes,
		Epoch: epoch.Number, Retires: epoch.Retires,
	}
	return report, c.saveEpochs(e)
}

// adopt adopts what is in custody. mu is held.
func (b *Backups) adopt(ctx context.Context, e *epochs) error {
	err := b.c.adoptDurably(ctx, e)
	b.adopted = err == nil
	return err
}

// Retire retires the epochs whose day has come. The next Run removes them from the key
// side. It looks for keys to adopt once only, for it is called often; each Run looks.
func (b *Backups) Retire(ctx context.Context) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	e, err := b.c.loadEpochs(ctx)
	if err != nil {
		return err
	}
	if b.adopted {
		return b.c.retire(ctx, e)
	}
	return b.adoptAndRetire(ctx, e)
}

// adoptAndRetire does both. If custody does not tell which keys it has, nothing is trimmed:
// one of them may need the register.
func (b *Backups) adoptAndRetire(ctx context.Context, e *epochs) error {
	err := b.adopt(ctx, e)
	e.unsure = err != nil
	return errors.Join(err, b.c.retire(ctx, e))
}

// LivingIn lists the epochs that are not retired and whose key is in a custody of a kind,
// also those that would be adopted.
func (b *Backups) LivingIn(ctx context.Context, kind custody.Kind) ([]uint64, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	e, err := b.c.readEpochs()
	if err != nil {
		return nil, err
	}
	if _, err := b.c.adopt(ctx, e, b.c.Custody, b.c.Elsewhere); err != nil {
		return nil, err
	}
	var living []uint64
	for _, epoch := range e.Epochs {
		if !epoch.Retired && epoch.Custody == kind {
			living = append(living, epoch.Number)
		}
	}
	return living, nil
}

// RetireIn retires the epochs whose key is in a custody of a kind before their day: nothing
// is restored from them any more. So it does with keys that no epoch is known of.
func (b *Backups) RetireIn(ctx context.Context, kind custody.Kind) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	e, err := b.c.readEpochs()
	if err != nil {
		return err
	}
	err = b.c.adoptDurably(ctx, e)
	return errors.Join(err, b.c.retireThose(ctx, e, func(epoch *Epoch) bool { return epoch.Custody == kind }))
}
