package bench

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/medledger/medledger/api/cli/load"
	"github.com/medledger/medledger/ledger"
	"github.com/medledger/medledger/verifier/audit"
	"github.com/medledger/medledger/verifier/proof"
)

// measureDisk adds up what a closed ledger takes on disk.
func (r *run) measureDisk(context.Context) error {
	f, total := ledger.Folder(r.folder), int64(0)
	detail := ""
	for _, part := range []struct{ name, path string }{
		{"event store", f.Store()}, {"log", f.Log()}, {"projection", f.StateCopy()},
	} {
		size, err := diskUse(part.path)
		if err != nil {
			return err
		}
		total += size
		detail += fmt.Sprintf("%s %s MB, ", part.name, grouped(float64(size)/1e6))
	}
	vault, err := diskUse(f.Vault())
	if err != nil {
		return err
	}
	events := float64(r.size)
	limit := 1.3*float64(r.statements)/events + 100
	r.figure("on disk an event, contents aside", float64(total)/events, octets, atMost(limit), r.size,
		fmt.Sprintf("%sthe ledger being closed; a statement has %.0f B on average, "+
			"the budget is 1.3 times that and 100 B; contents and keys take %s MB more",
			detail, float64(r.statements)/events, grouped(float64(vault)/1e6)))
	return nil
}

// diskUse adds up the sizes of the files in a folder, or of one file, in bytes.
func diskUse(path string) (total int64, err error) {
	err = filepath.WalkDir(path, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			total += info.Size()
		}
		return err
	})
	return total, err
}

// measureAudit has an auditor check everything, as medverify log --dir does.
func (r *run) measureAudit(ctx context.Context) error {
	vkey, err := os.ReadFile(ledger.Folder(r.folder).VerifierKey())
	if err != nil {
		return err
	}
	verifier, err := proof.ParseVerifierKey(vkey)
	if err != nil {
		return err
	}
	source := audit.NewDir(os.DirFS(r.folder))
	start := time.Now()
	found, err := audit.Log(ctx, source, audit.Options{Verifier: verifier})
	took := time.Since(start)
	if err := errors.Join(err, source.Close()); err != nil {
		return err
	}
	if !found.OK() {
		return fmt.Errorf("the audit has %d findings: %v", found.Total(), found.Findings)
	}
	r.figure("audit from disk", float64(found.Checked)/took.Seconds(), perSecond, atLeast(15000), found.Checked,
		fmt.Sprintf("signatures, lives, tree and tiles of %s events in %.1f s, on all cores; files in the page cache",
			grouped(float64(found.Checked)), took.Seconds()))
	return nil
}

// killAfter is how many events a process under load has acknowledged when it is
// killed.
const killAfter = 5000

// measureStart kills a process that has the ledger open and works on it, and
// then has another process open the ledger and serve from it.
func (r *run) measureStart(ctx context.Context) error {
	if err := r.crash(ctx); err != nil {
		return fmt.Errorf("a process to be killed: %w", err)
	}
	cmd := r.command(ctx, "bench", "--probe", "--dir", r.folder, "--time", r.lasting.String())
	raw, err := cmd.Output()
	if err != nil {
		return childError(err)
	}
	var p probed
	if err := json.Unmarshal(raw, &p); err != nil {
		return fmt.Errorf("reading what another process found: %w", err)
	}
	r.figure("start after a crash", p.Opened.Seconds(), seconds, atMost(3).full(), r.size+killAfter,
		fmt.Sprintf("the medledger process was killed (SIGKILL) under load, %s events after a clean start; "+
			"files in the page cache", grouped(killAfter)))
	r.figure("resident memory, after load", float64(p.Loaded.Now)/1e6, megabytes, atMost(400).full(), r.size+killAfter,
		fmt.Sprintf("of the process that started after the crash, when it had served %s reads and appends "+
			"to %d callers; %s MB right after opening, %s MB at most",
			grouped(float64(p.Calls)), submitters, grouped(float64(p.Fresh.Now)/1e6), grouped(float64(p.Loaded.Peak)/1e6)))
	return nil
}

// command is this program in another process.
func (r *run) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, r.self, args...)
	cmd.Stderr = r.progress
	return cmd
}

// crash puts a load on the ledger from another process and kills that.
func (r *run) crash(ctx context.Context) error {
	cmd := r.command(ctx, "load", "--dir", r.folder)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	lines := bufio.NewScanner(out)
	seen := 0
	for seen < killAfter && lines.Scan() {
		seen++
	}
	killErr := cmd.Process.Kill()
	waitErr := cmd.Wait()
	if seen < killAfter {
		return fmt.Errorf("it ended by itself after %d events: %w", seen, errors.Join(lines.Err(), waitErr))
	}
	return killErr
}

// childError adds nothing to what the child has said on standard error itself.
func childError(err error) error {
	return fmt.Errorf("another process of this program failed: %w", err)
}

// probed is what a fresh process tells about a ledger that it opened.
type probed struct {
	Opened time.Duration `json:"opened"` // from before ledger.Open to after it
	Calls  int           `json:"calls"`  // reads and appends served since
	Fresh  resident      `json:"fresh"`  // memory right after opening
	Loaded resident      `json:"loaded"` // memory after the calls
}

// probe opens the ledger in a folder, measures that, serves reads and appends
// for a while, and writes down what it found as JSON.
func probe(ctx context.Context, config ledger.Config, d time.Duration, out io.Writer) (err error) {
	var p probed
	start := time.Now()
	l, err := ledger.Open(ctx, config)
	if err != nil {
		return err
	}
	p.Opened = time.Since(start)
	defer func() { err = errors.Join(err, l.Close()) }()
	if p.Fresh, err = residentMemory(); err != nil {
		return err
	}
	if err := p.serve(ctx, l, d); err != nil {
		return err
	}
	if p.Loaded, err = residentMemory(); err != nil {
		return err
	}
	return json.NewEncoder(out).Encode(p)
}

// serve puts a load of reads and appends, as many of the one as of the other, on
// the ledger.
func (p *probed) serve(ctx context.Context, l *ledger.Ledger, d time.Duration) error {
	s, err := enter(ctx, l)
	if err != nil {
		return err
	}
	size := s.Size()
	if err := s.Survey(ctx, size-min(size, 16384)); err != nil {
		return err
	}
	served, err := drive(ctx, seed+10, submitters, load.Lasting(d), func(ctx context.Context, w *load.Worker) error {
		if w.IntN(2) == 0 {
			return s.append(ctx, w)
		}
		return s.read(ctx, w)
	})
	if err != nil {
		return err
	}
	p.Calls = len(served.took)
	return nil
}
