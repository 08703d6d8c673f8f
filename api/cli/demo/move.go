package demo

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/ledger"
)

// The names of the first machine and of the backup's parts in commands that are printed.
const (
	firstMachine = "$PC"
	diskName     = "$DISK"
	stickName    = "$STICK"
	paperName    = "$PAPER"
	noonName     = "$DISK_OF_NOON"
)

// A backup is a disk with the data side, a stick with the key side, and the identity that
// both are decrypted with, which a clinic keeps on paper.
func (s *story) disk() string  { return filepath.Join(s.scratch, "disk") }
func (s *story) stick() string { return filepath.Join(s.scratch, "stick") }
func (s *story) paper() string { return filepath.Join(s.scratch, "paper") }

// diskOfNoon is a copy of the disk that was made at noon.
func (s *story) diskOfNoon() string { return filepath.Join(s.scratch, "disk-of-noon") }

// backUpAtNoon takes the first backup, while the service runs, and puts a copy of the
// disk aside.
func (s *story) backUpAtNoon(ctx context.Context) error {
	s.command("medledger", "backup", "identity", ">", paperName)
	paper, err := s.medledger.run(ctx, "backup", "identity")
	if err != nil {
		return err
	}
	if err := os.WriteFile(s.paper(), []byte(paper), 0o600); err != nil {
		return fmt.Errorf("keeping the identity: %w", err)
	}
	first, _, _ := strings.Cut(paper, "\n")
	s.recipient = first[strings.LastIndex(first, " ")+1:]
	if err := s.backUp(ctx); err != nil {
		return err
	}
	if err := os.CopyFS(s.diskOfNoon(), os.DirFS(s.disk())); err != nil {
		return fmt.Errorf("copying the disk: %w", err)
	}
	return nil
}

// backUp takes a backup while the service runs.
func (s *story) backUp(ctx context.Context) error {
	s.command("medledger", "backup", "run", "--dir", firstMachine, "--data", diskName, "--keys", stickName, "--recipients", "age1...")
	output, err := s.medledger.run(ctx, "backup", "run", "--dir", s.old.Data, "--data", s.disk(), "--keys", s.stick(), "--recipients", s.recipient)
	if err != nil {
		return err
	}
	s.done("a backup, while the service runs", "events "+field(output, "from")+" to "+field(output, "size"))
	return nil
}

// field is a value of what a command printed, one a line.
func field(output, name string) string {
	for line := range strings.Lines(output) {
		if parts := strings.Fields(line); len(parts) == 2 && parts[0] == name {
			return parts[1]
		}
	}
	return "?"
}

// move is the scene in which the first machine is lost, and the ledger goes on
// elsewhere.
func (s *story) move(ctx context.Context) error {
	s.scene("The PC is lost; the ledger goes on elsewhere")
	if err := s.passBy(ctx); err != nil {
		return err
	}
	if err := s.backUp(ctx); err != nil {
		return err
	}
	if err := s.put(ctx, &s.late); err != nil {
		return err
	}
	if err := s.halt("the service is told to stop"); err != nil {
		return err
	}
	if err := errors.Join(os.RemoveAll(s.old.Data), os.RemoveAll(s.old.Secrets)); err != nil {
		return fmt.Errorf("losing the first machine: %w", err)
	}
	s.done("the PC is gone, with its secrets; what is left are disk, stick and paper", "lost")
	return s.restore(ctx)
}

// passBy has the auditor audit the service and keep its checkpoints.
func (s *story) passBy(ctx context.Context) error {
	token := filepath.Join(s.scratch, "auditor.token")
	if err := os.WriteFile(token, []byte(s.cast.auditor.Token+"\n"), 0o600); err != nil {
		return fmt.Errorf("writing the auditor's token: %w", err)
	}
	s.command("medverify", "audit", "--url", s.server.url, "--vkey", firstMachine+"/log.vkey",
		"--token-file", "auditor.token", "--keep", "checkpoint.kept")
	exit, _, err := s.medverify(ctx, []string{
		"audit", "--url", s.server.url, "--vkey", s.old.VerifierKey(), "--token-file", token, "--keep", s.file("checkpoint.kept"),
	})
	s.expect("the auditor passes by, and keeps both logs' checkpoints", verified, exit)
	return err
}

// halt stops the service.
func (s *story) halt(what string) error {
	s.http.CloseIdleConnections()
	how := s.server.stop()
	s.server = nil
	s.expect(what, stopped, how)
	if how != stopped {
		return fmt.Errorf("the server did not stop in good order; its messages are in %s", s.messages.Name())
	}
	return nil
}

// restore makes the ledger anew from its backup, and lets the clinic go on.
func (s *story) restore(ctx context.Context) error {
	from := func(data string) []string {
		return []string{"restore", "--dir", s.at.Data, "--data", data, "--keys", s.stick(), "--identity", s.paper(), "--checkpoint", s.file("checkpoint.kept"), "--nothing-newer"}
	}
	shown := func(data string) {
		s.command("medledger", "restore", "--dir", s.shown([]string{folder})[0], "--data", data, "--keys", stickName,
			"--identity", paperName, "--checkpoint", "checkpoint.kept", "--nothing-newer")
	}
	shown(noonName)
	_, err := s.medledger.run(ctx, from(s.diskOfNoon())...)
	s.expect("the disk of noon: the log had gone on since", "refused: two histories", refusedFork(err))
	shown(diskName)
	output, err := s.medledger.run(ctx, from(s.disk())...)
	if err != nil {
		return err
	}
	s.done("the disk of the evening", "of "+field(output, "size")+" events, "+field(output, "increments")+" increments")
	if err := s.lookInto(ctx, "its vault, past the service", s.at, noKey); err != nil {
		return err
	}
	if err := s.keepEvidenceBeside(); err != nil {
		return err
	}
	if _, err := s.medledger.run(ctx, "keys", "rotate", "--dir", s.at.Data); err != nil {
		return err
	}
	s.done("the key that signs events is replaced", "an event too")
	if err := s.serve(ctx, s.at); err != nil {
		return err
	}
	s.moved()
	return s.goOn(ctx)
}

func refusedFork(err error) string {
	var failed *failedError
	switch {
	case err == nil:
		return "restored"
	case errors.As(err, &failed) && strings.Contains(failed.message, ledger.ErrWouldFork.Error()):
		return "refused: two histories"
	}
	return err.Error()
}

// goOn checks that the restored ledger is the same, and goes on with it.
func (s *story) goOn(ctx context.Context) error {
	token, err := s.medledger.run(ctx, "admin", "token", "--dir", s.at.Data)
	if err != nil {
		return err
	}
	lost, admin := s.cast.administrator, s.holding(strings.TrimSpace(token))
	if err := os.WriteFile(s.at.AdminToken(), []byte(admin.Token+"\n"), 0o600); err != nil {
		return fmt.Errorf("writing the administrator's new token: %w", err)
	}
	s.done("medledger admin token: a new one for the administrator", "given")
	var now signed
	if err := s.put(ctx, &now); err != nil {
		return err
	}
	next, err := s.event(ctx, s.late.size, now.size)
	s.expect(fmt.Sprintf("event %d, the log's next, says", s.late.size), string(events.TypeLedgerRestored),
		outcome(err, string(next.Type)))
	issued, err := s.event(ctx, firstToken, now.size)
	if err != nil {
		return err
	}
	t, ok := issued.Data.(*events.TokenIssued)
	if !ok {
		return fmt.Errorf("event %d is no token of the first administrator", firstToken)
	}
	admin.id = issued.Subject
	err = admin.RevokeToken(ctx, issued.Subject, t.Token)
	s.expect("the token that lay on the lost PC", "revoked", outcome(err, "revoked"))
	s.cast.administrator = admin
	_, err = lost.RegisterActor(ctx, nightNurse)
	s.expect("whoever found it uses it", "401: unauthorized", outcome(err, "let in"))
	s.expect("the clerk finds the other patient by the number", "the same patient", s.find(ctx, numberOfBen, s.ben))
	s.expect("the doctor reads that record", released, s.access(ctx, s.cast.doctor, s.visit, 1, events.PurposeTreatment))
	s.expect("the nurse reads it", released, s.access(ctx, s.cast.nurse, s.visit, 1, events.PurposeTreatment))
	s.expect("the doctor amends it", "version 2", s.amend(ctx, s.visit))
	s.expect("the patient reads what was destroyed", "410: record-destroyed",
		s.access(ctx, s.cast.patient, s.first, 1, events.PurposePatient))
	return nil
}

// firstToken is the index of the event that gave the first administrator a token.
const firstToken = 3

// keepEvidenceBeside moves what was kept so far to beside the restored ledger.
func (s *story) keepEvidenceBeside() error {
	beside := filepath.Join(s.at.Data, "demo")
	if err := os.CopyFS(beside, os.DirFS(s.evidence)); err != nil {
		return fmt.Errorf("moving the evidence: %w", err)
	}
	messages, err := os.OpenFile(filepath.Join(beside, "server.log"), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return fmt.Errorf("moving the server's messages: %w", err)
	}
	if err := s.messages.Close(); err != nil {
		return errors.Join(fmt.Errorf("moving the server's messages: %w", err), messages.Close())
	}
	s.messages, s.evidence = messages, beside
	return nil
}
