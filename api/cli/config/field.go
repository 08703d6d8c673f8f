package config

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// field is the place of a setting in a Config. What String returns, set accepts,
// and makes the same value of it.
type field interface {
	set(text string) error
	String() string
}

// printable refuses what cannot stand in a line of the printed form.
func printable(text string) error {
	if !utf8.ValidString(text) {
		return errors.New("give it in UTF-8")
	}
	for _, r := range text {
		if !unicode.IsPrint(r) {
			return fmt.Errorf("give it without the character %U", r)
		}
	}
	return nil
}

type text struct{ p *string }

func (f text) set(s string) error { *f.p = s; return nil }
func (f text) String() string     { return *f.p }

type address struct{ p *string }

func (f address) set(s string) error {
	_, port, err := net.SplitHostPort(s)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		return errors.New("give host:port, such as 127.0.0.1:8340 or [::1]:8340, with a port of 0 to 65535")
	}
	*f.p = s
	return nil
}

func (f address) String() string { return *f.p }

type choice struct {
	p       *string
	allowed []string
}

func (f choice) set(s string) error {
	if !slices.Contains(f.allowed, s) {
		return fmt.Errorf("give one of %s", strings.Join(f.allowed, ", "))
	}
	*f.p = s
	return nil
}

func (f choice) String() string { return *f.p }

// levels are the names of slog's levels. slog itself would take INFO+3 too.
var levels = map[string]slog.Level{
	"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError,
}

type level struct{ p *slog.Level }

func (f level) set(s string) error {
	l, known := levels[s]
	if !known {
		return errors.New("give one of debug, info, warn, error")
	}
	*f.p = l
	return nil
}

func (f level) String() string { return strings.ToLower(f.p.String()) }

type count struct {
	p          *int
	least, top int
}

func (f count) set(s string) error {
	n, err := strconv.ParseUint(s, 10, 31)
	if err != nil || int(n) < f.least || int(n) > f.top {
		return fmt.Errorf("give a whole number from %d to %d", f.least, f.top)
	}
	*f.p = int(n)
	return nil
}

func (f count) String() string { return strconv.Itoa(*f.p) }

// sizeUnits are largest first.
var sizeUnits = []struct {
	name  string
	bytes int64
}{{"TiB", tib}, {"GiB", gib}, {"MiB", mib}, {"KiB", kib}}

type size struct {
	p          *int64
	least, top int64
}

func (f size) set(s string) error {
	number, unit := s, int64(1)
	for _, u := range sizeUnits {
		if before, found := strings.CutSuffix(s, u.name); found {
			number, unit = before, u.bytes
			break
		}
	}
	n, err := strconv.ParseUint(number, 10, 63)
	if err != nil || int64(n) > math.MaxInt64/unit || int64(n)*unit < f.least || int64(n)*unit > f.top {
		return fmt.Errorf("give a size from %s to %s: bytes, or a whole number of KiB, MiB, GiB or TiB",
			formatSize(f.least), formatSize(f.top))
	}
	*f.p = int64(n) * unit
	return nil
}

func (f size) String() string { return formatSize(*f.p) }

func formatSize(n int64) string {
	for _, u := range sizeUnits {
		if n > 0 && n%u.bytes == 0 {
			return strconv.FormatInt(n/u.bytes, 10) + u.name
		}
	}
	return strconv.FormatInt(n, 10)
}

type duration struct {
	p          *time.Duration
	least, top time.Duration
}

func (f duration) set(s string) error {
	d, err := parseDuration(s)
	if err != nil || d < f.least || d > f.top {
		return fmt.Errorf("give a duration from %s to %s, such as 30s, 1h30m or 365d",
			formatDuration(f.least), formatDuration(f.top))
	}
	*f.p = d
	return nil
}

func (f duration) String() string { return formatDuration(*f.p) }

func parseDuration(s string) (time.Duration, error) {
	number, days := strings.CutSuffix(s, "d")
	if !days {
		return time.ParseDuration(s)
	}
	n, err := strconv.ParseUint(number, 10, 16) // 65535 days are no overflow
	return time.Duration(n) * day, err
}

// formatDuration is Go's form without the units that are zero, or days.
func formatDuration(d time.Duration) string {
	if d > 0 && d%day == 0 {
		return strconv.FormatInt(int64(d/day), 10) + "d"
	}
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
