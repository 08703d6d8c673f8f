package demo

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/mod/sumdb/note"

	"github.com/medledger/medledger/api/client"
	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/ledger"
)

// origin is the name of the demo's ledger.
const origin = "demo.medledger.example/clinic"

// story is what the scenes share.
type story struct {
	*page
	medledger *program
	at        ledger.Folder // where the ledger is left; in the day it lies in old
	old       ledger.Folder // on the clinic's first machine
	scratch   string        // for what the story needs for itself
	recipient string        // of the identity that backups are encrypted to
	// copied is a copy of the first machine's disks, of before the destructions.
	copied   ledger.Folder
	evidence string // the folder with what is left beside the ledger
	kept     bool   // the folder is left
	bundled  bool   // the documents are the demo's own
	docs     []document
	attacks  []attack // without the logs' keys
	lies     []attack // with all keys
	// distortions are the lies about a record's history.
	distortions []distortion

	server   *server // nil while none runs
	http     *http.Client
	messages *os.File // of the servers
	verifier note.Verifier
	cast     cast
	ward     events.ID // the department of the doctor and the nurse
	// elsewhere is the name of the other doctor's department.
	elsewhere string

	// ana is the patient of the story, twin the same person again, registered by
	// mistake, and ben another patient.
	ana, twin, ben events.ID
	// first, image and letter are about ana, visit is about ben, and rest are
	// about one patient each.
	first, image, letter, visit *record
	rest                        []*record
	brief                       brief // the share that ends by itself

	early  signed // a checkpoint that the attacker put aside
	late   signed // the newest when the first machine was lost
	newest signed // at the end
	final  uint64 // the index of the event that ended the first record
}

// newStory prepares a story that is set on a page. The ledger is left at a folder;
// scratch is for what the story needs for itself. Both belong to the caller.
func newStory(p *page, medledger *program, at ledger.Folder, scratch string, docs []document) *story {
	s := &story{
		page: p, medledger: medledger, at: at, scratch: scratch, docs: docs, http: connections(),
		old:      ledger.FolderAt(filepath.Join(scratch, "first-machine")),
		evidence: filepath.Join(scratch, "evidence"), elsewhere: "Ward 2",
	}
	s.copied = ledger.FolderAt(filepath.Join(scratch, "copied"))
	s.attacks, s.lies, s.distortions = s.ways(), s.insidersWays(), distortions()
	return s
}

// record is a document that lives in the ledger.
type record struct {
	document
	id, patient, share events.ID
	destroyed          bool
}

// signed is a signed checkpoint of the log, and one of the state log.
type signed struct {
	note, state []byte
	size        uint64 // of the log
}

// tell tells the whole story. It returns ErrUnmet if an expectation was not met.
func (s *story) tell(ctx context.Context) (err error) {
	if err := os.MkdirAll(s.file("receipts"), 0o755); err != nil {
		return fmt.Errorf("making the folder of receipts: %w", err)
	}
	if s.messages, err = os.Create(s.file("server.log")); err != nil {
		return fmt.Errorf("making the file for the server's messages: %w", err)
	}
	defer func() {
		if s.server != nil {
			s.server.stop() // the story broke off; why is said already
		}
		err = errors.Join(err, s.messages.Close())
	}()
	s.title()
	for _, scene := range []func(context.Context) error{
		s.open, s.arrive, s.write, s.read, s.correct, s.own, s.withdraw, s.share, s.destroy, s.account,
		s.look, s.move, s.prove, s.audit, s.tamper, s.betray,
	} {
		if err := errors.Join(scene(ctx), ctx.Err()); err != nil {
			return err
		}
	}
	s.close()
	if s.page.err != nil {
		return fmt.Errorf("writing the story: %w", s.page.err)
	}
	if s.unmet > 0 {
		return ErrUnmet
	}
	return nil
}

func (s *story) title() {
	input := fmt.Sprintf("%d invented documents", len(s.docs))
	if !s.bundled {
		input = fmt.Sprintf("%d documents of --records", len(s.docs))
	}
	s.line(bold, "medledger: a clinic's day, with "+input+", and an auditor")
	s.line("", "")
	s.say("What follows happens now, on this machine: the service runs in a process of its own, and everybody talks to it over HTTP, each with a token of their own. A ✓ marks what was checked; the right margin says how long it took.")
}

// close says what it all came to.
func (s *story) close() {
	s.scene("What was proved, and what was not")
	s.say("Proved: without the logs' private keys nobody can change, drop, insert, move or reorder one event unseen by those who hold the public key and a checkpoint that they kept; nor can who has the keys, up to the last checkpoint, receipt or history that others hold. Where every record stands follows from the events, and every decision about a right was the one that the rules demand.")
	s.say("Not proved: that all that happened was entered; that whoever holds the logs' private keys shows the same history to everybody (comparing kept checkpoints tells); that the person who holds a token is the person it was given to.")
	s.say("Not undone: a photograph of a screen, a copy that a recipient kept; nor, while the secrets are files, a copy of both disks from before a destruction.")
	s.line("", "")
	verdict, dye := "Everything was as it must be.", green
	if s.unmet > 0 {
		verdict, dye = fmt.Sprintf("NOT AS IT MUST BE: %d lines, marked ✗.", s.unmet), red
	}
	s.line(bold+dye, fmt.Sprintf("    %s %d events, %s in all.", verdict, s.newest.size, duration(s.now().Sub(s.begun))))
	s.line("", "")
	if !s.kept {
		s.say("To keep the ledger and play on with it: medledger demo --dir D")
		return
	}
	s.say("Try it yourself; medverify is what 'go build ./verifier/cmd/medverify' makes. Receipts of every kind lie in $D/demo/receipts, everybody's token in $D/demo/tokens. The secrets of the ledger lie beside it:")
	s.line("", "")
	s.line(bold, "    D="+quoted(s.at.Data))
	s.line(bold, "    ls "+s.shown([]string{folder})[0]+".custody")
	for _, args := range s.offline() {
		s.command(append([]string{"medverify"}, s.shown(args)...)...)
	}
	s.command("medledger", "serve", "--dir", s.shown([]string{folder})[0])
}

// quoted writes a path for a shell.
func quoted(path string) string {
	if strings.Trim(path, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-") == "" {
		return path
	}
	return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'"
}

// outcome puts what came of a call into words: the status and the reason where the
// answer has one.
func outcome(err error, done string) string {
	var answer *client.Error
	switch {
	case err == nil:
		return done
	case !errors.As(err, &answer):
		return "error: " + err.Error()
	case answer.Reason != "":
		return fmt.Sprintf("%d: %s", answer.Status, answer.Reason)
	}
	return fmt.Sprintf("%d: %s", answer.Status, strings.ToLower(http.StatusText(answer.Status)))
}

// file is a file that the demo leaves beside the ledger.
func (s *story) file(elem ...string) string {
	return filepath.Join(append([]string{s.evidence}, elem...)...)
}
