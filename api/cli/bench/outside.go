package bench

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/medledger/medledger/ledger"
	"github.com/medledger/medledger/verifier/audit"
	"github.com/medledger/medledger/verifier/proof"
)

// measureDisk adds up what a closed ledger takes on disk.
func (r *run) measureDisk(context.Context) error {
	f, total := ledger.FolderAt(r.large.folder), int64(0)
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

// measureAudit has an auditor check everything, as medverify log --dir does.
func (r *run) measureAudit(ctx context.Context) error {
	verifier, err := proof.ParseVerifierKey([]byte(r.large.setup.VerifierKey))
	if err != nil {
		return err
	}
	source := audit.NewDir(os.DirFS(r.large.folder))
	start := time.Now()
	found, err := audit.Log(ctx, source, audit.Options{Verifier: verifier})
	took := time.Since(start)
	if err := errors.Join(err, source.Close()); err != nil {
		return err
	}
	if !found.OK() {
		return fmt.Errorf("the audit has %d findings: %v", found.Total(), found.Findings)
	}
	r.figure(figure{
		What: "audit from disk", Value: float64(found.Checked) / took.Seconds(), Unit: perSecond, Budget: atLeast(15000),
		Events: found.Checked, Detail: fmt.Sprintf("signatures, lives, decisions, tree and tiles of %s events in %.1f s, on all cores; files in the page cache",
			grouped(float64(found.Checked)), took.Seconds()),
	})
	return nil
}
