// Package cli is the command line of medledger: it turns arguments into calls of
// the ledger and the ledger's answers into text. Data goes to standard output,
// messages go to standard error, and the exit code says how it went.
//
// root.go puts the commands together; place.go is what those have in common that
// work on a ledger; collector.go is how a server collects its garbage; colour.go and
// files_*.go ask the system. Every other file is one command.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"strings"
	"syscall"

	"k8s.io/klog/v2"
)

// The exit codes of medledger.
const (
	Done   = 0 // what was asked for was done
	Failed = 1 // it was not; standard error says why
	Usage  = 2 // the arguments make no sense; nothing was done
)

// Main runs medledger with the given arguments (without the program's name) and
// returns its exit code. When ctx ends, a server stops in good order and
// everything else gives up. It is for one call in a process: Trillian's log
// messages are a matter of the whole process.
func Main(ctx context.Context, args []string, out, messages io.Writer) int {
	p := &program{out: out, messages: messages}
	routeTrillian(p.logger(slog.LevelWarn))
	root := p.newRoot()
	root.SetArgs(args)
	root.SetOut(out)
	root.SetErr(messages)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return Done
	}
	// A closed standard error leaves nobody to tell.
	_, _ = fmt.Fprintf(messages, "medledger: %s\n", describe(err))
	if errors.As(err, new(*usageError)) {
		return Usage
	}
	return Failed
}

// program is what the commands share.
type program struct {
	out      io.Writer // data
	messages io.Writer // everything else
}

// logger writes log lines of a level and above to the messages.
func (p *program) logger(level slog.Level) *slog.Logger {
	return p.formatted(level, "text")
}

// formatted is a logger whose lines are text or json.
func (p *program) formatted(level slog.Level, format string) *slog.Logger {
	options := &slog.HandlerOptions{Level: level}
	if format == "json" {
		return slog.New(slog.NewJSONHandler(p.messages, options))
	}
	return slog.New(slog.NewTextHandler(p.messages, options))
}

// printf writes data.
func (p *program) printf(format string, args ...any) error {
	if _, err := fmt.Fprintf(p.out, format, args...); err != nil {
		return fmt.Errorf("writing to standard output: %w", err)
	}
	return nil
}

// advise writes a message. Nothing depends on whether somebody reads it.
func (p *program) advise(format string, args ...any) {
	_, _ = fmt.Fprintf(p.messages, format, args...)
}

// routeTrillian sends what Trillian logs (it uses klog) where our own messages
// go. A warning cannot be told from small talk there, so only errors pass.
func routeTrillian(logger *slog.Logger) {
	klog.SetSlogLogger(slog.New(errorsOnly{logger.Handler()}))
}

// errorsOnly is a handler that passes errors on.
type errorsOnly struct{ slog.Handler }

func (errorsOnly) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelError }

func (h errorsOnly) WithAttrs(attrs []slog.Attr) slog.Handler {
	return errorsOnly{h.Handler.WithAttrs(attrs)}
}

func (h errorsOnly) WithGroup(name string) slog.Handler { return errorsOnly{h.Handler.WithGroup(name)} }

// usageError says that the arguments make no sense.
type usageError struct {
	command string // whose help explains it
	err     error
}

func (e *usageError) Error() string {
	return fmt.Sprintf("%v; see '%s --help'", e.err, e.command)
}

func (e *usageError) Unwrap() error { return e.err }

// describe is an error as one line that says what to do next. Most errors say
// that themselves; those of the operating system do not.
func describe(err error) string {
	text := strings.ReplaceAll(strings.TrimSpace(err.Error()), "\n", "; ")
	for _, known := range []struct {
		is     error
		advice string
	}{
		{context.Canceled, "it was interrupted; run the command again"},
		{syscall.EADDRINUSE, "choose another address with --listen, or stop the program that has it"},
		{syscall.EADDRNOTAVAIL, "choose an address of this machine with --listen"},
		{syscall.ENOSPC, "make room on the disk, then run the command again"},
		{fs.ErrPermission, "run the command as a user who may"},
	} {
		if errors.Is(err, known.is) {
			return text + "; " + known.advice
		}
	}
	return text
}
