package medverify

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/medledger/medledger/verifier/audit"
	"github.com/medledger/medledger/verifier/kept"
)

// logFlags is the command line of 'medverify log' and of 'medverify audit', which
// reads the state log too.
type logFlags struct {
	state            bool
	url, dir, export string
	vkey             string
	tokenFile        string
	checkpoint       string
	keep             string
}

func parseLogFlags(name string, args []string) (*logFlags, error) {
	f := &logFlags{state: name == "audit"}
	set := flag.NewFlagSet(name, flag.ContinueOnError)
	set.SetOutput(io.Discard)
	set.StringVar(&f.url, "url", "", "")
	set.StringVar(&f.dir, "dir", "", "")
	set.StringVar(&f.export, "export", "", "")
	set.StringVar(&f.vkey, "vkey", "", "")
	set.StringVar(&f.tokenFile, "token-file", "", "")
	set.StringVar(&f.checkpoint, "checkpoint", "", "")
	set.StringVar(&f.keep, "keep", "", "")
	if err := set.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return nil, err
		}
		return nil, fmt.Errorf("%w; %w", err, errUsage)
	}
	sources := 0
	for _, s := range []string{f.url, f.dir, f.export} {
		if s != "" {
			sources++
		}
	}
	switch {
	case set.NArg() > 0:
		return nil, fmt.Errorf("unexpected argument %.40q; %w", set.Arg(0), errUsage)
	case sources != 1:
		return nil, fmt.Errorf("name one of --url, --dir and --export; %w", errUsage)
	case f.tokenFile != "" && f.url == "":
		return nil, fmt.Errorf("--token-file goes with --url only; %w", errUsage)
	}
	return f, nil
}

// log is 'medverify log'.
func (r *run) log(ctx context.Context, args []string) (int, error) {
	f, err := parseLogFlags("log", args)
	if errors.Is(err, flag.ErrHelp) {
		return r.print(logUsage)
	}
	if err != nil {
		return CouldNotCheck, err
	}
	return r.check(ctx, f)
}

// audit is 'medverify audit'.
func (r *run) audit(ctx context.Context, args []string) (int, error) {
	f, err := parseLogFlags("audit", args)
	if errors.Is(err, flag.ErrHelp) {
		return r.print(auditUsage)
	}
	if err != nil {
		return CouldNotCheck, err
	}
	return r.check(ctx, f)
}

// check audits what the flags name.
func (r *run) check(ctx context.Context, f *logFlags) (int, error) {
	var o audit.Options
	var err error
	if o.Verifier, err = verifier(f.vkey); err != nil {
		return CouldNotCheck, err
	}
	if f.checkpoint != "" {
		found, err := readKept(f.checkpoint, o.Verifier.Name())
		if err != nil {
			return CouldNotCheck, err
		}
		o.Kept, o.KeptState = found.Log, found.State
	}
	src, err := r.open(f)
	if err != nil {
		return CouldNotCheck, err
	}
	defer src.Close() // opened for reading: nothing is lost
	if f.state {
		o.State = src.state
	} else {
		o.KeptState = nil
	}
	if f.url != "" {
		o.Workers = 8 // a network answers several requests sooner than one by one
	}
	start := r.env.Now()
	p := &progress{out: r.stderr, now: r.env.Now, start: start, quiet: !r.env.Terminal}
	o.Progress = p.show
	report, auditErr := audit.Log(ctx, src.log, o)
	p.clear()
	return r.conclude(f, report, auditErr, r.env.Now().Sub(start))
}

// readKept reads the checkpoints in the file that --keep wrote, or in another that has
// some. What they are worth, whoever has the keys finds out.
func readKept(name, origin string) (kept.Checkpoints, error) {
	f, err := os.Open(name)
	if err != nil {
		return kept.Checkpoints{}, fmt.Errorf("reading the kept checkpoint: %w", err)
	}
	defer f.Close() // opened for reading: nothing is lost
	file, err := io.ReadAll(io.LimitReader(f, kept.MaxSize))
	if err != nil {
		return kept.Checkpoints{}, fmt.Errorf("reading the kept checkpoint: %w", err)
	}
	found, err := kept.Find(file, origin)
	if err != nil {
		return found, fmt.Errorf("%s %w", name, err)
	}
	return found, nil
}

// conclude prints what an audit found out.
func (r *run) conclude(f *logFlags, report *audit.Report, auditErr error, took time.Duration) (int, error) {
	if errors.Is(auditErr, audit.ErrKept) || errors.Is(auditErr, audit.ErrKeptState) {
		auditErr = fmt.Errorf("%s: %w; give the checkpoint that --keep wrote when this log was verified, and the same --vkey", f.checkpoint, auditErr)
	}
	if report.FoundFalse() {
		if _, err := io.WriteString(r.stdout, falseReport(report)); err != nil {
			return FoundFalse, fmt.Errorf("writing the findings: %w", err)
		}
		if auditErr != nil {
			return FoundFalse, fmt.Errorf("the check did not get further: %w", auditErr)
		}
		return FoundFalse, nil
	}
	if auditErr != nil {
		return CouldNotCheck, explain(auditErr, f)
	}
	if !report.OK() {
		return CouldNotCheck, fmt.Errorf("only %d of %d events were checked", report.Checked, report.Checkpoint.Size)
	}
	if f.keep != "" {
		checkpoints := report.Signed
		if report.State != nil {
			checkpoints = slices.Concat(checkpoints, report.State.Signed)
		}
		if err := keep(f.keep, checkpoints); err != nil {
			return CouldNotCheck, fmt.Errorf("the log is verified, but its checkpoint could not be kept: %w", err)
		}
	}
	return r.print(goodReport(report, f.keep, took))
}

// explain adds what to do to the errors that have a usual cause.
func explain(err error, f *logFlags) error {
	if f.dir != "" && errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w; --dir wants a ledger's data folder, which has log/checkpoint and store/", err)
	}
	return err
}

// source is a log, its state log, and what is to be closed when they have been read.
type source struct {
	log, state audit.Source
	io.Closer
}

// open opens the source that the flags name.
func (r *run) open(f *logFlags) (*source, error) {
	switch {
	case f.dir != "":
		info, err := os.Stat(f.dir)
		if err != nil {
			return nil, fmt.Errorf("opening the data folder: %w", err)
		}
		if !info.IsDir() {
			return nil, fmt.Errorf("%s is not a folder; --export reads an exported file", f.dir)
		}
		d := audit.NewDir(os.DirFS(f.dir))
		return &source{d, d.State(), d}, nil
	case f.export != "":
		return openExport(f.export)
	}
	return r.openServer(f)
}

// openServer reads the log below the URL, or, to read the state log too, both logs
// below the address of the service.
func (r *run) openServer(f *logFlags) (*source, error) {
	if !f.state {
		log, err := r.newServer(f.url, f.tokenFile)
		return &source{log, nil, io.NopCloser(nil)}, err
	}
	base := strings.TrimSuffix(strings.TrimSuffix(f.url, "/"), "/log")
	service, err := r.newServer(base, f.tokenFile)
	if err != nil {
		return nil, err
	}
	return &source{service.below("log"), service.below("state"), io.NopCloser(nil)}, nil
}

func openExport(name string) (_ *source, err error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("opening the export: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, file.Close())
		}
	}()
	info, err := file.Stat()
	if err != nil {
		return nil, fmt.Errorf("opening the export: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a file; --dir reads a data folder", name)
	}
	src, err := audit.NewExport(file, info.Size())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return &source{src, src.State(), file}, nil
}

// keep writes a file durably. A crash before the rename leaves the old file and
// perhaps a temporary one beside it, a crash after it the new one.
func keep(name string, data []byte) (err error) {
	tmp, err := os.CreateTemp(filepath.Dir(name), ".medverify-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(tmp.Name()))
		}
	}()
	_, err = tmp.Write(data)
	if err == nil {
		err = tmp.Chmod(0o644)
	}
	if err == nil {
		err = tmp.Sync()
	}
	if err := errors.Join(err, tmp.Close()); err != nil {
		return err
	}
	if err := os.Rename(tmp.Name(), name); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(name))
	if err != nil {
		return fmt.Errorf("%s is written, but perhaps not durable: %w", name, err)
	}
	return errors.Join(dir.Sync(), dir.Close())
}
