// Package medverify is the auditor's command as a library: the medverify binary
// and the ledger's demonstration run the very same code. It is the edge of the
// verifier, the one place in it that opens files and connections; what it finds
// out is the work of packages audit, history and receipt.
//
// stdout has the result, stderr the messages, and the exit status is
//
//	0  verified
//	1  found false; the evidence is on stdout
//	2  could not check; stderr says what to do
package medverify

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/medledger/medledger/verifier/proof"
)

// The exit statuses.
const (
	Verified      = 0
	FoundFalse    = 1
	CouldNotCheck = 2
)

// Env is what a run needs of the world around it.
type Env struct {
	// Now is the clock; it only tells how long things take. nil means time.Now.
	Now func() time.Time
	// Wait waits before a request is repeated, or until ctx ends. nil means a
	// timer.
	Wait func(ctx context.Context, d time.Duration) error
	// Terminal says that stderr is a terminal, where progress can be shown.
	Terminal bool
	// Transport makes HTTP requests. nil means http.DefaultTransport.
	Transport http.RoundTripper
}

const usage = `medverify checks a medledger with nothing but its public key.

Usage:
  medverify audit   (--url URL | --dir D | --export FILE) --vkey FILE
                    [--token-file FILE] [--checkpoint FILE] [--keep FILE]
  medverify log     the same, of the log without its state log
  medverify record  --vkey FILE [--checkpoint FILE] BUNDLE
  medverify receipt --vkey FILE RECEIPT

Get the verifier key from somebody you trust, not from the log itself.
'medverify audit --help' and so on say more.

Exit status:
  0  verified
  1  found false; the evidence is on standard output
  2  could not check; the message says what to do
`

const auditUsage = `medverify audit checks a whole ledger: all that 'medverify log' checks, and
that the state log says of every record what the events of the log make of it:
no event of a record is hidden, moved or invented, and what was destroyed is
called destroyed.

Usage:
  medverify audit (--url URL | --dir D | --export FILE) --vkey FILE [options]

Where the ledger is, one of:
  --url URL          the service's address, such as https://clinic.example;
                     /log/ and /state/ are read there
  --dir D            a ledger's data folder, or a copy of one
  --export FILE      what 'medledger export' wrote

The key:
  --vkey FILE        the log's verifier key (log.vkey); that of the state log
                     is announced in the log

Options:
  --checkpoint FILE  what --keep wrote at an earlier time, a receipt, or a
                     record's history; both logs must extend it
  --keep FILE        write the checkpoints that were verified, the log's and
                     the state log's, to FILE, to be given to --checkpoint
                     next time
  --token-file FILE  a bearer token for --url; it is sent over https, and
                     over plain http to this machine only

Keep the checkpoints after every audit: they are what exposes a log that was
cut or rewritten by somebody who has its keys.

Exit status: 0 verified, 1 found false, 2 could not check.
`

const logUsage = `medverify log checks a whole log: the checkpoint, every statement and its
signature, the life of every record, every decision, every hash of the tree.
'medverify audit' checks the state log too.

Usage:
  medverify log (--url URL | --dir D | --export FILE) --vkey FILE [options]

Where the log is, one of:
  --url URL          below which the log is served, such as
                     https://clinic.example/log
  --dir D            a ledger's data folder, or a copy of one
  --export FILE      what 'medledger export' wrote

The key:
  --vkey FILE        the log's verifier key (log.vkey)

Options:
  --checkpoint FILE  a checkpoint kept from an earlier time, a receipt, or a
                     record's history; the log must extend it
  --keep FILE        write the checkpoint that was verified to FILE, to be
                     given to --checkpoint next time
  --token-file FILE  a bearer token for --url; it is sent over https, and
                     over plain http to this machine only

Keep a checkpoint after every check: it is what exposes a log that was cut
or rewritten by somebody who has its key.

Exit status: 0 verified, 1 found false, 2 could not check.
`

const receiptUsage = `medverify receipt checks that an event was signed and is in the log,
without the log: the receipt holds all that it takes but the key.

Usage:
  medverify receipt --vkey FILE RECEIPT

  --vkey FILE  the log's verifier key (log.vkey)
  RECEIPT      a receipt as the ledger answered it; - is standard input

Exit status: 0 verified, 1 found false, 2 could not check.
`

const recordUsage = `medverify record checks a record's history: that every event in it was signed
and is in the log, and that none was left out. The bundle holds all that it
takes but the key; it may also prove that there is no such record.

Usage:
  medverify record --vkey FILE [--checkpoint FILE] BUNDLE

  --vkey FILE        the log's verifier key (log.vkey)
  --checkpoint FILE  a checkpoint kept from an earlier time: what 'medverify
                     audit --keep' wrote, a receipt, or another history; this
                     one must be no older, and of the same log
  BUNDLE             a record's history as the ledger answered it; - is
                     standard input

See that the record is the one that you asked for, and that the checkpoint is
no older than others have. A record that lived on after its end is found false,
and so is a history that is older than the checkpoint beside it, or than the one
that you kept. That a newer one extends the one that you kept takes the log:
'medverify audit --checkpoint' shows it.

Exit status: 0 verified, 1 found false, 2 could not check.
`

// errUsage is wrapped by the errors of a command line that makes no sense.
var errUsage = errors.New("'medverify --help' says how to call it")

// Run runs a command line, without the program's name, and returns its exit
// status.
func Run(ctx context.Context, args []string, stdout, stderr io.Writer, env Env) int {
	if env.Now == nil {
		env.Now = time.Now
	}
	if env.Wait == nil {
		env.Wait = wait
	}
	r := &run{stdout: stdout, stderr: stderr, env: env}
	status, err := r.dispatch(ctx, args)
	if err != nil {
		fmt.Fprint(stderr, wrap("medverify: "+err.Error(), 0))
		if status == Verified {
			status = CouldNotCheck
		}
	}
	return status
}

// run is one run of the command.
type run struct {
	stdout, stderr io.Writer
	env            Env
}

func (r *run) dispatch(ctx context.Context, args []string) (int, error) {
	if len(args) == 0 {
		_, err := io.WriteString(r.stderr, usage)
		return CouldNotCheck, err
	}
	switch args[0] {
	case "audit":
		return r.audit(ctx, args[1:])
	case "log":
		return r.log(ctx, args[1:])
	case "record":
		return r.record(args[1:])
	case "receipt":
		return r.receipt(args[1:])
	case "help", "-h", "-help", "--help":
		return r.print(usage)
	}
	return CouldNotCheck, fmt.Errorf("unknown command %.40q; %w", args[0], errUsage)
}

// print writes text as the whole of a verified result.
func (r *run) print(text string) (int, error) {
	if _, err := io.WriteString(r.stdout, text); err != nil {
		return CouldNotCheck, fmt.Errorf("writing the result: %w", err)
	}
	return Verified, nil
}

// maxKey bounds a verifier key's file in bytes.
const maxKey = 4096

// verifier reads a log's verifier key.
func verifier(file string) (note.Verifier, error) {
	if file == "" {
		return nil, fmt.Errorf("--vkey is missing: name the file with the log's verifier key (the ledger's log.vkey); %w", errUsage)
	}
	raw, err := readFile(file, maxKey)
	if err != nil {
		return nil, fmt.Errorf("reading the verifier key: %w", err)
	}
	v, err := proof.ParseVerifierKey(raw)
	if err != nil {
		return nil, fmt.Errorf("%s holds no verifier key (%w); it should be one line, NAME+HASH+KEY", file, err)
	}
	return v, nil
}

// readFile reads a file of at most limit bytes.
func readFile(name string, limit int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close() // opened for reading: nothing is lost
	return readAll(f, name, limit)
}

func readAll(r io.Reader, name string, limit int64) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("%s has more than %d bytes", name, limit)
	}
	return data, nil
}

// wait waits for d or until ctx ends.
func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
