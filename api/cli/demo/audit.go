package demo

import (
	"bytes"
	"context"
	"fmt"
	"strings"

	"github.com/medledger/medledger/verifier/medverify"
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
)

// commands are the auditor's, as they are printed.
func (s *story) commands() [][]string {
	return [][]string{
		{"receipt", "--vkey", verifierKey, folder + "/demo/receipts/" + receiptName(s.final)},
		{"log", "--dir", folder, "--vkey", verifierKey},
		{"log", "--export", folder + "/demo/log.export", "--vkey", verifierKey},
		{"log", "--dir", folder, "--vkey", verifierKey, "--checkpoint", folder + "/demo/checkpoint.kept"},
	}
}

// audit is the scene in which the auditor checks everything.
func (s *story) audit(ctx context.Context) error {
	s.scene("An auditor verifies all of it, offline, with one public key")
	for i, args := range s.commands() {
		if i > 0 {
			s.line("", "")
		}
		exit, output, err := s.medverify(ctx, args)
		if err != nil {
			return err
		}
		s.command(append([]string{"medverify"}, s.shown(args)...)...)
		lines := 6 // the first log is shown in full
		if i < 2 {
			lines = 100
		}
		s.quote(output, lines)
		s.expect("the auditor's verdict", verified, exit)
	}
	return nil
}

// medverify runs the auditor's program and returns what its exit code means and
// what it printed.
func (s *story) medverify(ctx context.Context, args []string) (exit, output string, err error) {
	real := make([]string, len(args))
	for i, a := range args {
		real[i] = strings.Replace(a, folder, s.dir, 1)
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
	if quoted(s.dir) == s.dir {
		return args
	}
	list := make([]string, len(args))
	for i, a := range args {
		list[i] = strings.Replace(a, folder, `"`+folder+`"`, 1)
	}
	return list
}
