package demo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"

	"github.com/medledger/medledger/ledger"
	"github.com/medledger/medledger/verifier/medverify"
	"github.com/medledger/medledger/verifier/receipt"
	"github.com/medledger/medledger/verifier/statement"
)

// What medverify's exit codes mean.
const (
	verified   = "exit 0: verified"
	foundFalse = "exit 1: found false"
	notChecked = "exit 2: could not check"
)

// Names in a command line as it is printed.
const (
	folder      = "$D"    // the ledger's folder
	copied      = "$COPY" // a copy of it
	verifierKey = folder + "/log.vkey"
	keptFile    = folder + "/demo/checkpoint.kept" // the auditor's
)

// offline are the auditor's commands on files, as they are printed.
func (s *story) offline() [][]string {
	return [][]string{
		{"receipt", "--vkey", verifierKey, folder + "/demo/receipts/" + receiptName(s.final)},
		{"record", "--vkey", verifierKey, bundleFile(destroyedBundle)},
		{"audit", "--dir", folder, "--vkey", verifierKey},
		{"audit", "--export", folder + "/demo/log.export", "--vkey", verifierKey},
		{"audit", "--dir", folder, "--vkey", verifierKey, "--checkpoint", keptFile},
	}
}

// audit is the scene in which the auditor checks everything: over HTTP while the
// service runs, and then offline.
func (s *story) audit(ctx context.Context) error {
	s.scene("An auditor verifies all of it with one public key")
	if err := s.leaveTokens(); err != nil {
		return err
	}
	online := []string{
		"audit", "--url", s.server.url, "--vkey", verifierKey, "--token-file", folder + "/demo/tokens/auditor",
		"--checkpoint", keptFile,
	}
	if err := s.verdict(ctx, online, 100); err != nil {
		return err
	}
	if err := s.hand(ctx); err != nil {
		return err
	}
	for i, args := range s.offline() {
		s.line("", "")
		lines := 6 // what is known already is cut short
		if i == 0 {
			lines = 100
		}
		if err := s.verdict(ctx, args, lines); err != nil {
			return err
		}
	}
	return nil
}

// verdict runs the auditor's program, which must verify, and shows what it says.
func (s *story) verdict(ctx context.Context, args []string, lines int) error {
	exit, output, err := s.medverify(ctx, args)
	if err != nil {
		return err
	}
	s.command(append([]string{"medverify"}, s.shown(args)...)...)
	s.quote(output, lines)
	s.expect("the auditor's verdict", verified, exit)
	return nil
}

// hand closes the service and hands over the log as one file.
func (s *story) hand(ctx context.Context) error {
	if err := s.put(ctx, &s.newest); err != nil {
		return err
	}
	s.line("", "")
	if err := s.halt("the service is told to stop; the rest is offline"); err != nil {
		return err
	}
	export := s.file("log.export")
	if _, err := s.medledger.run(ctx, "export", "--dir", s.at.Data, export); err != nil {
		return err
	}
	info, err := os.Stat(export)
	if err != nil {
		return fmt.Errorf("looking at the export: %w", err)
	}
	s.done("medledger export: both logs, no keys, no contents", fmt.Sprintf("%d events, %d kB", s.newest.size, info.Size()/1000))
	kept, err := s.receiptsOfAll(ctx)
	s.expect("a receipt of every event, those that nobody asked for too", fmt.Sprintf("%d × %s", s.newest.size, proved),
		fmt.Sprintf("%d × %s", kept, proved))
	return err
}

// receiptsOfAll keeps the receipts that nobody was given in the story, and returns how
// many there are of all events.
func (s *story) receiptsOfAll(ctx context.Context) (kept uint64, err error) {
	l, err := ledger.Open(ctx, ledger.Config{Dir: s.at.Data, Secrets: s.at.Secrets, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return 0, fmt.Errorf("opening the ledger for its receipts: %w", err)
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	for index := uint64(0); index < s.newest.size; {
		leaves, err := l.Log().Leaves(ctx, index, 1024)
		if err != nil {
			return kept, fmt.Errorf("reading the log for its receipts: %w", err)
		}
		for _, leaf := range leaves {
			if err := s.receiptOf(ctx, l, index, leaf); err != nil {
				return kept, fmt.Errorf("the receipt of event %d: %w", index, err)
			}
			kept++
			index++
		}
	}
	return kept, nil
}

// receiptOf keeps the receipt of an event, unless somebody in the story has it.
func (s *story) receiptOf(ctx context.Context, l *ledger.Ledger, index uint64, leaf []byte) error {
	if _, err := os.Stat(s.file("receipts", receiptName(index))); err == nil {
		return nil
	}
	parsed, err := statement.Parse(leaf)
	if err != nil {
		return err
	}
	r, err := l.Receipt(ctx, parsed.Event.ID)
	if err != nil {
		return err
	}
	raw, err := receipt.Marshal(r)
	if err != nil {
		return err
	}
	v, err := s.check(raw)
	if err == nil && v.Index != index {
		err = fmt.Errorf("it is of event %d", v.Index)
	}
	return err
}

// medverify runs the auditor's program and returns what its exit code means and
// what it printed.
func (s *story) medverify(ctx context.Context, args []string) (exit, output string, err error) {
	real := make([]string, len(args))
	for i, a := range args {
		real[i] = strings.Replace(a, folder, s.at.Data, 1)
	}
	var stdout, stderr bytes.Buffer
	code := medverify.Run(ctx, real, &stdout, &stderr, medverify.Env{})
	if err := ctx.Err(); err != nil {
		return "", "", err
	}
	output = stdout.String() + stderr.String()
	switch code {
	case medverify.Verified:
		return verified, output, nil
	case medverify.FoundFalse:
		return foundFalse, output, nil
	case medverify.CouldNotCheck:
		return notChecked, output, nil
	}
	return "", "", fmt.Errorf("medverify's exit code is %d, which has no meaning", code)
}

// shown puts the variable in quotes if the folder's name needs them.
func (s *story) shown(args []string) []string {
	if quoted(s.at.Data) == s.at.Data {
		return args
	}
	list := make([]string, len(args))
	for i, a := range args {
		list[i] = strings.Replace(a, folder, `"`+folder+`"`, 1)
	}
	return list
}
