package bench

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/medledger/medledger/ledger"
	"github.com/medledger/medledger/verifier/audit"
	"github.com/medledger/medledger/verifier/proof"
)

// measureDisk adds up what a closed ledger takes on disk.
func (r *run) measureDisk(context.Context) error {
	f, total := ledger.FolderAt(r.large.folder), int64(0)
	detail := ""
	for _, part := range []struct{ name, path string }{
		{"event store", f.Store()}, {"log", f.Log()}, {"projection", f.StateCopy()}, {"state", f.State()},
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
	events := float64(r.large.size)
	statement := float64(r.large.statements) / events
	r.figure(figure{
		What: "on disk an event, contents aside", Value: float64(total) / events, Unit: octets,
		Budget: atMost(1.3*statement + 100), Events: r.large.size,
		Detail: fmt.Sprintf("%sthe ledger being closed; a statement has %.0f B on average, "+
			"the budget is 1.3 times that and 100 B; contents, documents and keys take %s MB more",
			detail, statement, grouped(float64(vault)/1e6)),
	})
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

// measureAudit has an auditor check everything, as medverify log --dir does, and then
// the state log too, as medverify audit --dir does.
func (r *run) measureAudit(ctx context.Context) error {
	verifier, err := proof.ParseVerifierKey([]byte(r.large.setup.VerifierKey))
	if err != nil {
		return err
	}
	for _, row := range []struct {
		what, checks string
		state        bool
		budget       *budget
	}{
		{"audit from disk", "signatures, lives, decisions, tree and tiles", false, atLeast(15000)},
		{"audit from disk, with the state", "all that, and the map of records at every turn", true, atLeast(10000)},
	} {
		found, took, err := auditFolder(ctx, r.large.folder, verifier, row.state)
		if err != nil {
			return err
		}
		r.figure(figure{
			What: row.what, Value: float64(found.Checked) / took.Seconds(), Unit: perSecond, Budget: row.budget, Events: found.Checked,
			Detail: fmt.Sprintf("%s: %s events in %.1f s, on all cores; files in the page cache", row.checks, grouped(float64(found.Checked)), took.Seconds()),
		})
	}
	return nil
}

// auditFolder audits a ledger's folder, which must have no findings.
func auditFolder(ctx context.Context, folder string, v note.Verifier, state bool) (_ *audit.Report, took time.Duration, err error) {
	source := audit.NewDir(os.DirFS(folder))
	defer func() { err = errors.Join(err, source.Close()) }()
	o := audit.Options{Verifier: v}
	if state {
		o.State = source.State()
	}
	start := time.Now()
	found, err := audit.Log(ctx, source, o)
	took = time.Since(start)
	if err == nil && !found.OK() {
		err = fmt.Errorf("the audit has %d findings: %v", found.Total(), found.Findings)
	}
	return found, took, err
}
