package backup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"time"

	"github.com/medledger/medledger/ledger/custody"
)

// Epoch is a span of time whose snapshots of the key tree lie under one key, and die
// with it.
type Epoch struct {
	Number  uint64    `json:"number"`
	Made    time.Time `json:"made"`
	Closes  time.Time `json:"closes"`  // when the next one is made
	Retires time.Time `json:"retires"` // when its key is destroyed
	// Custody is where its key is: the ledger may have moved to another custody since.
	Custody custody.Kind `json:"custody"`
	// Retired says that its key was destroyed here. The epoch is remembered for as
	// long as media may have its snapshot.
	Retired bool `json:"retired"`
	// Media are the key sides that have a snapshot of it.
	Media []string `json:"media"`
	// Snapshot is the newest one; nil if there is none.
	Snapshot *Snapshot `json:"snapshot"`
	// FirstDestroyed is how many destructions there had been before its first snapshot,
	// of which somebody may have a copy; nil if there is none, or format 1 did not say.
	FirstDestroyed *uint64 `json:"first_destroyed,omitempty"`
	// Adopted says that its key was found in custody, and that nothing else is known of it:
	// Made and Closes are when that was. Snapshots under it may be on media anywhere.
	Adopted bool `json:"adopted,omitempty"`
}

// Snapshot says what of the key tree an epoch can bring back.
type Snapshot struct {
	Time       time.Time `json:"time"`
	Generation uint64    `json:"generation"` // of the tree's root key
	Destroyed  uint64    `json:"destroyed"`  // how many destructions there had been
	Size       uint64    `json:"size"`       // of the log in the data side of the same run
}

func (e *Epoch) key() string { return epochKey(e.Number) }

// epochKey is the name of an epoch's key in custody, and of its folder.
func epochKey(number uint64) string { return fmt.Sprintf("epoch-%04d", number) }

// EpochsFile is the file of the epochs in the folder of the secrets. It is made anew of
// the key side when the secrets are, and not a part of them.
const EpochsFile = "backup-epochs"

// epochsFormat is what is written. Earlier ones are read still: 1 had no FirstDestroyed, and
// none before 3 had Adopted.
const epochsFormat = 3

// maxNumber is the greatest number of an epoch. No ledger gets there, and a key that somebody
// put into custody must not leave no number for the next epoch.
const maxNumber = 1 << 48

// epochs is the content of that file.
type epochs struct {
	Format int     `json:"format"`
	Origin string  `json:"origin"`
	Last   uint64  `json:"last"` // the greatest number that an epoch ever had
	Epochs []Epoch `json:"epochs"`
	Run    *Run    `json:"run"` // the last that succeeded

	// trimmed says that nothing is remembered any more of what only retired epochs needed.
	trimmed bool
	// unsure says that there may be keys of epochs that are not listed.
	unsure bool
}

// Run is a backup that was taken.
type Run struct {
	Time  time.Time `json:"time"`  // when it was begun
	Size  uint64    `json:"size"`  // of the log
	Epoch uint64    `json:"epoch"` // whose snapshot was taken
}

func (c *Config) epochsPath() string { return filepath.Join(c.Secrets, EpochsFile) }

// loadEpochs reads the epochs, to go on with them. If there are none yet there may be no
// key of one, but for the first one, which a crash may have left. What is in custody beside
// them adopt finds.
func (c *Config) loadEpochs(ctx context.Context) (*epochs, error) {
	e, err := c.readEpochs()
	if err != nil || e.Last > 0 {
		return e, err
	}
	names, err := c.Custody.Names(ctx)
	if err != nil {
		return nil, fmt.Errorf("looking for the keys of epochs: %w", err)
	}
	for _, name := range names {
		if n, ok := parseEpochKey(name); ok && n > 1 {
			return nil, fmt.Errorf("%s is missing, and there is a key of epoch %d; put the file back, or restore", c.epochsPath(), n)
		}
	}
	return e, nil
}

// readEpochs reads the epochs; none if there is no file.
func (c *Config) readEpochs() (*epochs, error) {
	var e epochs
	err := readAuthenticated(c.FS, c.epochsPath(), c.Secret, "epochs", &e)
	if errors.Is(err, fs.ErrNotExist) {
		return &epochs{Format: epochsFormat, Origin: c.Origin, Epochs: []Epoch{}}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the epochs: %w", err)
	}
	if err := e.check(c); err != nil {
		return nil, err
	}
	e.Format = epochsFormat
	return &e, nil
}

// keysIn are the names of the keys that a custody has.
func keysIn(ctx context.Context, in custody.Custody) (map[string]bool, error) {
	names, err := in.Names(ctx)
	if err != nil {
		return nil, fmt.Errorf("looking for the keys of epochs: %w", err)
	}
	there := make(map[string]bool)
	for _, name := range names {
		there[name] = true
	}
	return there, nil
}

func parseEpochKey(name string) (uint64, bool) {
	var n uint64
	if _, err := fmt.Sscanf(name, "epoch-%d", &n); err != nil || n == 0 || n > maxNumber || name != epochKey(n) {
		return 0, false
	}
	return n, true
}

func (e *epochs) check(c *Config) error {
	if e.Format < 1 || e.Format > epochsFormat {
		return fmt.Errorf("%s has format %d, this program knows %d: use the medledger that wrote it", c.epochsPath(), e.Format, epochsFormat)
	}
	if e.Origin != c.Origin {
		return fmt.Errorf("%s is of %q: %w", c.epochsPath(), e.Origin, ErrOther)
	}
	last := Epoch{}
	for _, epoch := range e.Epochs {
		twice := epoch.Number == last.Number && (!epoch.Adopted || epoch.Custody == last.Custody)
		if epoch.Number == 0 || epoch.Number < last.Number || twice || epoch.Number > e.Last {
			return fmt.Errorf("%s: %w", c.epochsPath(), ErrAltered)
		}
		last = epoch
	}
	return nil
}

func (c *Config) saveEpochs(e *epochs) error {
	if err := writeAuthenticated(c.FS, c.epochsPath(), c.Secret, "epochs", e); err != nil {
		return fmt.Errorf("writing the epochs: %w", err)
	}
	return nil
}

func (e *epochs) find(number uint64) *Epoch {
	for i := range e.Epochs {
		if e.Epochs[i].Number == number {
			return &e.Epochs[i]
		}
	}
	return nil
}

// current returns the epoch whose snapshots are taken now, and makes one if the last has
// closed, was adopted, or has its key in another custody than the ledger has now. Crash after
// its key was made: a key that nothing was sealed with, which is adopted, for it looks like
// any other. Crash after the epochs were written: the epoch.
func (c *Config) current(ctx context.Context, e *epochs, p *Plan) (*Epoch, error) {
	now := c.now()
	if n := len(e.Epochs); n > 0 {
		last := &e.Epochs[n-1]
		there, err := keysIn(ctx, c.Custody)
		if err != nil {
			return nil, err
		}
		if !last.Retired && !last.Adopted && now.Before(last.Closes) && last.Custody == c.Custody.Kind() && there[last.key()] {
			return last, nil
		}
	}
	epoch := Epoch{
		Number: e.Last + 1, Made: now, Closes: now.Add(p.Epoch), Retires: now.Add(p.Keep), Custody: c.Custody.Kind(), Media: []string{},
	}
	// It refuses a name that is taken: the next run adopts that key.
	if err := c.Custody.Create(ctx, epoch.key()); err != nil {
		return nil, fmt.Errorf("making the key of epoch %d: %w", epoch.Number, err)
	}
	e.Last = epoch.Number
	e.Epochs = append(e.Epochs, epoch)
	return &e.Epochs[len(e.Epochs)-1], c.saveEpochs(e)
}

// retire retires the epochs whose day has come.
func (c *Config) retire(ctx context.Context, e *epochs) error {
	now := c.now()
	return c.retireThose(ctx, e, func(epoch *Epoch) bool { return !now.Before(epoch.Retires) })
}

// retireThose destroys the keys of epochs. One that cannot be destroyed keeps no other
// alive. Crash after a key was destroyed: the epoch lives still, and the next call finds its
// key gone. Crash after the epochs were written: it is retired, and on the media still.
func (c *Config) retireThose(ctx context.Context, e *epochs, those func(*Epoch) bool) error {
	var errs []error
	for i := range e.Epochs {
		epoch := &e.Epochs[i]
		if epoch.Retired || !those(epoch) {
			continue
		}
		in, err := c.custodyOf(epoch)
		if err == nil {
			err = in.Destroy(ctx, epoch.key())
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("destroying the key of epoch %d: %w", epoch.Number, err))
			continue
		}
		epoch.Retired = true
		if err := c.saveEpochs(e); err != nil {
			return errors.Join(append(errs, err)...)
		}
		c.Logger.Info("an epoch of the backups was retired: nothing can be restored from it", "epoch", epoch.Number)
	}
	c.trim(ctx, e)
	return errors.Join(append(errs, c.forget(e))...)
}

// custodyOf is where an epoch's key is.
func (c *Config) custodyOf(e *Epoch) (custody.Custody, error) {
	for _, in := range []custody.Custody{c.Custody, c.Elsewhere} {
		if in != nil && in.Kind() == e.Custody {
			return in, nil
		}
	}
	return nil, fmt.Errorf("it is in a custody %q, which the ledger has no longer; move the ledger there with 'medledger vault move', and back with --retire-epochs: %w", e.Custody, custody.ErrUnavailable)
}

// unreached is the last generation of the key tree whose destructions no living epoch
// could undo: that of the newest snapshot of the epochs before the first that lives.
// Snapshots of later epochs came later, so that they are of that generation or a later one.
// What an adopted epoch could undo is not known: while one lives it is all.
func (e *epochs) unreached() (generation uint64) {
	if slices.ContainsFunc(e.Epochs, func(epoch Epoch) bool { return epoch.Adopted && !epoch.Retired }) {
		return 0
	}
	for _, epoch := range e.Epochs {
		if !epoch.Retired {
			break
		}
		if epoch.Snapshot != nil {
			generation = max(generation, epoch.Snapshot.Generation)
		}
	}
	return generation
}

// trim forgets the destructions that only retired epochs could undo. Crash before, or if it
// fails: they are remembered, and so are the epochs that tell, until the next retirement.
// That a register is damaged fails no backup, for one is needed to mend it.
func (c *Config) trim(ctx context.Context, e *epochs) {
	if c.Trim == nil {
		return
	}
	if e.unsure {
		return
	}
	if generation := e.unreached(); generation > 0 {
		if err := c.Trim(ctx, generation); err != nil {
			c.Logger.WarnContext(ctx, "destructions that no backup could undo any more are still in the register; it is tried again", "cause", err)
			return
		}
	}
	e.trimmed = true
}

// forget drops the retired epochs that no medium has any more and that nothing else is
// remembered for.
func (c *Config) forget(e *epochs) error {
	if !e.trimmed {
		return nil
	}
	n := len(e.Epochs)
	e.Epochs = slices.DeleteFunc(e.Epochs, func(epoch Epoch) bool { return epoch.Retired && len(epoch.Media) == 0 })
	if len(e.Epochs) == n {
		return nil
	}
	return c.saveEpochs(e)
}
