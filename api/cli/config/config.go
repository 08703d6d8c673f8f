// Package config is the configuration of the service: what an operator can set,
// where it is set, and which of several values counts.
//
// # Precedence
//
// Each setting is taken from the first of these that has it:
//
//	flag         --max-batch 500
//	environment  MEDLEDGER_MAX_BATCH=500
//	file         max-batch: 500
//	default
//
// A value that another one overrides must be right all the same: a mistake that
// waits behind a flag is found now and not on the day the flag goes.
//
// # File
//
// The file is the one that --config names, else MEDLEDGER_CONFIG, else there is
// none: nothing is looked for in places that nobody named. It is YAML, at most
// 64 KiB: one mapping of names of settings to plain values. Unknown names, names
// given twice, lists, nested mappings, anchors, aliases, tags and empty values
// are refused, with the line. Relative paths start, like those of flags, at the
// folder in which the program was started.
//
// # Values
//
//	path      text; "" for none
//	size      bytes, or a number of KiB, MiB, GiB or TiB: 4294967296 or 4GiB
//	count     a whole number
//	duration  Go's form or whole days: 30s, 1h30m, 365d
//
// No setting is secret: secrets lie in files, and settings name the files. So
// values may stand in messages.
package config

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/pflag"
)

// Config is the settings in force. Load makes one; the table in table.go says
// what each is.
type Config struct {
	Dir            string
	Custody        string
	CustodySocket  string
	CustodyUser    int
	Listen         string
	TLSCertificate string
	TLSKey         string
	MaxBody        int64
	MaxJSON        int64
	MaxBatch       int
	MaxInFlight    int
	MaxConnections int
	BodyTimeout    time.Duration
	WriteTimeout   time.Duration
	Grace          time.Duration
	LogLevel       slog.Level
	LogFormat      string
	TokenLifetime  time.Duration

	BackupData       string
	BackupKeys       string
	BackupRecipients string
	BackupEvery      time.Duration
	BackupEpoch      time.Duration
	BackupKeep       time.Duration

	origins map[string]string // where the value of each setting came from
}

// ErrNoFolder says that no data folder was named. Load allows that: a
// configuration may be printed before there is a ledger.
var ErrNoFolder = errors.New(`no data folder is set: name one with --dir D, MEDLEDGER_DIR or "dir:" in the file that --config names`)

// Sources is where Load takes settings from.
type Sources struct {
	// Flags are the flags that AddFlags made, parsed.
	Flags *pflag.FlagSet
	// LookupEnv looks up a variable of the environment, as os.LookupEnv does.
	LookupEnv func(name string) (string, bool)
	// Open opens the file.
	Open func(name string) (io.ReadCloser, error)
}

// value is what one source says of one setting.
type value struct {
	setting *setting
	text    string
	origin  string
}

// Load reads and checks the configuration. Its error has everything that is
// wrong, each with the setting, the source and what to do.
func Load(s Sources) (*Config, error) {
	fromFile, err := s.file()
	if err != nil {
		return nil, err
	}
	c := &Config{origins: make(map[string]string)}
	var errs []error
	for _, values := range [][]value{defaults(), fromFile, s.environment(), s.flags()} {
		for _, v := range values {
			errs = append(errs, c.set(v))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	c.defaultCustody()
	return c, c.check()
}

func (c *Config) set(v value) error {
	if err := errors.Join(printable(v.text), v.setting.field(c).set(v.text)); err != nil {
		return fmt.Errorf("%s is %q (%s): %w", v.setting.name, v.text, v.origin, err)
	}
	c.origins[v.setting.name] = v.origin
	return nil
}

func defaults() []value {
	values := make([]value, len(table))
	for i := range table {
		values[i] = value{&table[i], table[i].initial, "default"}
	}
	return values
}

func (s Sources) environment() []value {
	var values []value
	for i := range table {
		if text, found := s.LookupEnv(table[i].env()); found {
			values = append(values, value{&table[i], text, "environment " + table[i].env()})
		}
	}
	return values
}

func (s Sources) flags() []value {
	var values []value
	for i := range table {
		if f := s.Flags.Lookup(table[i].name); f != nil && f.Changed {
			values = append(values, value{&table[i], f.Value.String(), "flag --" + table[i].name})
		}
	}
	return values
}

// defaultCustody puts the secrets beside the data folder.
func (c *Config) defaultCustody() {
	separator := func(r rune) bool { return r < utf8.RuneSelf && os.IsPathSeparator(uint8(r)) }
	if dir := strings.TrimRightFunc(c.Dir, separator); c.Custody == "" && dir != "" {
		c.Custody = dir + ".custody"
	}
}

// check looks at settings together.
func (c *Config) check() error {
	var errs []error
	if (c.TLSCertificate == "") != (c.TLSKey == "") {
		given, missing := "tls-certificate", "tls-key"
		if c.TLSCertificate == "" {
			given, missing = missing, given
		}
		errs = append(errs, fmt.Errorf("%s is set (%s) and %s is not (%s): set both for TLS, or neither",
			given, c.origins[given], missing, c.origins[missing]))
	}
	if c.Dir != "" {
		errs = append(errs, c.checkCustody())
	}
	errs = append(errs, c.checkBackup())
	return errors.Join(errs...)
}

// checkBackup wants all that a backup needs, or nothing.
func (c *Config) checkBackup() error {
	var given, missing []string
	for _, s := range []struct{ name, value string }{
		{"backup-data", c.BackupData}, {"backup-keys", c.BackupKeys}, {"backup-recipients", c.BackupRecipients},
	} {
		if s.value == "" {
			missing = append(missing, s.name)
		} else {
			given = append(given, fmt.Sprintf("%s is set (%s)", s.name, c.origins[s.name]))
		}
	}
	if len(given) > 0 && len(missing) > 0 {
		return fmt.Errorf("%s, but not %s: a backup wants all three, or none", strings.Join(given, ", "), strings.Join(missing, " and "))
	}
	if c.BackupEpoch < c.BackupEvery || c.BackupKeep < c.BackupEpoch {
		return fmt.Errorf("backup-every is %s, backup-epoch %s and backup-keep %s: none may be shorter than the one before",
			formatDuration(c.BackupEvery), formatDuration(c.BackupEpoch), formatDuration(c.BackupKeep))
	}
	return nil
}

// checkCustody keeps the secrets out of the data folder, so that no copy of the
// data holds them, and the data out of theirs. It compares the paths as they are
// written: where links lead is not followed.
func (c *Config) checkCustody() error {
	if c.Custody == "" {
		return fmt.Errorf("dir is %q (%s), which has no folder beside it: name the folder of the secrets with custody", c.Dir, c.origins["dir"])
	}
	dir, err := filepath.Abs(c.Dir)
	if err != nil {
		return fmt.Errorf("dir is %q (%s): %w", c.Dir, c.origins["dir"], err)
	}
	custody, err := filepath.Abs(c.Custody)
	if err != nil {
		return fmt.Errorf("custody is %q (%s): %w", c.Custody, c.origins["custody"], err)
	}
	if within(custody, dir) || within(dir, custody) {
		return fmt.Errorf("custody is %q (%s) and dir is %q (%s): neither may lie within the other; choose another custody folder",
			c.Custody, c.origins["custody"], c.Dir, c.origins["dir"])
	}
	return nil
}

// within reports whether a clean absolute path is a folder or lies in it.
func within(path, folder string) bool {
	relative, err := filepath.Rel(folder, path)
	return err == nil && relative != ".." && !strings.HasPrefix(relative, ".."+string(filepath.Separator))
}
