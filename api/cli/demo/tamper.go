package demo

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/medledger/medledger/verifier/audit"
)

// attack is a way to tamper with a log.
type attack struct {
	name string
	// do changes a copy of the log.
	do func(*forgery) error
	// flags are what the auditor needs beside the folder and the log's key.
	flags []string
	// want is what medverify must find, among others perhaps.
	want audit.Code
	// others are auditors who have something else in hand: what shows that the
	// attacker did all the rest well, or who else can find him out.
	others []other
}

// other is a further auditor.
type other struct {
	name  string
	key   string // the verifier key; COPY stands for the copy's folder
	flags []string
	want  string // the exit code
}

// ways are the attacks that somebody without the log's key can try.
func (s *story) ways() []attack {
	kept := []string{"--checkpoint", keptFile}
	noKept := []other{{"… an auditor who kept none sees an older state", verifierKey, nil, verified}}
	hisKey := []other{{"… an auditor who takes the public key from him", copied + "/log.vkey", nil, verified}}
	return []attack{
		{"flipped byte: one bit, nothing repaired", (*forgery).flipRaw, nil, audit.StoreDamaged, nil},
		{"flipped byte: a reading gets another time", (*forgery).flip, nil, audit.StatementSignature, nil},
		{"removed tail: the last three events", (*forgery).cut, nil, audit.StatementsMissing, nil},
		{"removed tail: an old checkpoint put back", s.rollBack, kept, audit.KeptLarger, noKept},
		{"swapped events: two readings", (*forgery).swap, nil, audit.RootMismatch, nil},
		{"forged statement: signed with a key of his own", s.forge, nil, audit.StatementKey, nil},
		{"forged statement: signed with the stolen key", s.forgeStolen, nil, audit.RootMismatch, nil},
		{"moved event: a reading, to another record", s.misplace, nil, audit.StatementSignature, nil},
		{"rewritten history: all of it, with his own keys", s.rewrite, nil, audit.CheckpointSignature, hisKey},
	}
}

// insidersWays are the lies of somebody who has all keys.
func (s *story) insidersWays() []attack {
	kept := []string{"--checkpoint", keptFile}
	rewritten := []other{
		{"… by the checkpoint in the patient's bundle", verifierKey, []string{"--checkpoint", patientsCheckpoint}, foundFalse},
		{"… an auditor who has neither", verifierKey, nil, verified},
	}
	thinned := []other{{"… an auditor who kept none", verifierKey, nil, verified}}
	return []attack{
		{"hidden event: the log made anew without it", s.with(hide), kept, audit.KeptFork, rewritten},
		{"hidden event: left out of the map only", s.with(leaveOut), nil, audit.StateRootMismatch, nil},
		{"forgotten destruction: the map has the record alive", s.with(forget), nil, audit.StateRootMismatch, nil},
		{"revived record: the map's last word is that it lives", s.with(revive), nil, audit.StateRootMismatch, nil},
		{"wrong time: a checkpoint with the map of another", s.with(mistime), nil, audit.StateRootMismatch, nil},
		{"shrunken state log: every second leaf is gone", s.with(shrink), kept, audit.StateKeptLarger, thinned},
		{"missing state log: removed, as if there were none", (*forgery).lose, nil, audit.StateMissing, nil},
	}
}

// tamper is the scene in which copies of the log are tampered with.
func (s *story) tamper(ctx context.Context) error {
	s.scene("Somebody who owns the machine rewrites the log")
	s.say("He has every file but the private keys of the two logs. Each time he takes a fresh copy, changes it, and repairs what he can: lengths, checksums, digests, hash tiles, the map of records. Then the auditor runs")
	s.command("medverify", "audit", "--dir", copied, "--vkey", s.shown([]string{verifierKey})[0])
	return s.attackAll(ctx, s.attacks)
}

// betray is the scene in which somebody lies who has all keys.
func (s *story) betray(ctx context.Context) error {
	s.scene("An insider who has every key lies")
	s.say("He has the secrets of the lost PC and of the new one, and signs anew what he changes: every signature is good. What gives him away is what others kept, and that the map of records must follow from the events. The auditor runs the same.")
	return s.attackAll(ctx, s.lies)
}

func (s *story) attackAll(ctx context.Context, list []attack) error {
	for _, a := range list {
		dir, err := os.MkdirTemp(s.scratch, "copy-")
		if err != nil {
			return fmt.Errorf("making a folder for a copy: %w", err)
		}
		if err := s.attack(ctx, a, dir); err != nil {
			return fmt.Errorf("tampering, %s: %w", a.name, err)
		}
	}
	return nil
}

// attack tampers with one copy of the log and has the auditors look at it.
func (s *story) attack(ctx context.Context, a attack, dir string) error {
	f, err := newForgery(s.at.Data, dir)
	if err != nil {
		return err
	}
	if err := a.do(f); err != nil {
		return err
	}
	exit, output, err := s.auditCopy(ctx, dir, verifierKey, a.flags)
	if err != nil {
		return err
	}
	found := finding(output, a.want)
	if found == "" {
		exit += fmt.Sprintf(", without %q", a.want)
	}
	s.expect(a.name, foundFalse, exit)
	if len(a.flags) > 0 {
		found = "with " + strings.Join(s.shown(a.flags), " ") + ": " + found
	}
	s.quote(found, 10)
	for _, o := range a.others {
		exit, _, err := s.auditCopy(ctx, dir, strings.Replace(o.key, copied, dir, 1), o.flags)
		if err != nil {
			return err
		}
		s.expect(o.name, o.want, exit)
	}
	return nil
}

// auditCopy has an auditor look at a copy.
func (s *story) auditCopy(ctx context.Context, dir, key string, flags []string) (exit, output string, err error) {
	return s.medverify(ctx, append([]string{"audit", "--dir", dir, "--vkey", key}, flags...))
}

// finding returns what medverify's report says of a finding, without the
// evidence, in one line; or "" if it has no such finding. In the report
//
//  1. CODE at index N
//     event ID, TYPE
//     why, on one line or several
//     name of a piece of evidence:
//     the evidence, indented deeper
//
// the second line may be missing, or be two.
func finding(report string, code audit.Code) string {
	var found []string
	inEvent := false
	for line := range strings.Lines(report) {
		line = strings.TrimRight(line, "\n")
		_, heading, numbered := strings.Cut(line, ". ")
		switch {
		case len(found) == 0:
			if numbered && (heading == string(code) || strings.HasPrefix(heading, string(code)+" ")) {
				found = append(found, heading+":")
			}
		case line == "" || strings.HasPrefix(line, "    "):
			// The line before is the evidence's name.
			if line != "" {
				found = found[:len(found)-1]
			}
			return strings.Join(found, " ")
		case strings.HasPrefix(line, "   event "):
			inEvent = strings.HasSuffix(line, ",") // its type comes next
		case inEvent:
			inEvent = false
		default:
			found = append(found, strings.TrimSpace(line))
		}
	}
	return strings.Join(found, " ")
}
