package demo

import (
	"context"
	"fmt"
	"path/filepath"
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
	// blind, if not nil, is an auditor who must find nothing.
	blind *blind
}

// blind is an auditor who lacks what an attack can be found by: what shows that
// the attacker did all the rest well.
type blind struct {
	name string
	key  string // the verifier key; COPY stands for the copy's folder
}

// ways are the attacks that the demo shows.
func (s *story) ways() []attack {
	kept := []string{"--checkpoint", folder + "/demo/checkpoint.kept"}
	noKept := &blind{"… an auditor who kept none sees an older state", verifierKey}
	hisKey := &blind{"… an auditor who takes the public key from him", copied + "/log.vkey"}
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

// tamper is the scene in which copies of the log are tampered with.
func (s *story) tamper(ctx context.Context) error {
	s.scene("Somebody who owns the machine rewrites the log")
	s.say("He has every file but the log's private key. Each time he takes a fresh copy, changes it, and repairs what he can: lengths, checksums, digests, the hash tiles. Then the auditor runs")
	s.command("medverify", "log", "--dir", copied, "--vkey", s.shown([]string{verifierKey})[0])
	for i, a := range s.attacks {
		if err := s.attack(ctx, a, filepath.Join(s.scratch, fmt.Sprint(i))); err != nil {
			return fmt.Errorf("tampering, %s: %w", a.name, err)
		}
	}
	return nil
}

// attack tampers with one copy of the log and has the auditor look at it.
func (s *story) attack(ctx context.Context, a attack, dir string) error {
	f, err := newForgery(s.at.Data, dir)
	if err != nil {
		return err
	}
	if err := a.do(f); err != nil {
		return err
	}
	exit, output, err := s.medverify(ctx, append([]string{"log", "--dir", dir, "--vkey", verifierKey}, a.flags...))
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
	if a.blind == nil {
		return nil
	}
	key := strings.Replace(a.blind.key, copied, dir, 1)
	exit, _, err = s.medverify(ctx, []string{"log", "--dir", dir, "--vkey", key})
	s.expect(a.blind.name, verified, exit)
	return err
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
// the second line may be missing.
func finding(report string, code audit.Code) string {
	var found []string
	for line := range strings.Lines(report) {
		line = strings.TrimRight(line, "\n")
		_, heading, numbered := strings.Cut(line, ". ")
		switch {
		case len(found) == 0:
			if numbered && (heading == string(code) || strings.HasPrefix(heading, string(code)+" ")) {
				found = append(found, heading+":")
			}
			continue
		case line == "" || strings.HasPrefix(line, "    "):
			// The line before is the evidence's name.
			if line != "" {
				found = found[:len(found)-1]
			}
			return strings.Join(found, " ")
		case !strings.HasPrefix(line, "   event "):
			found = append(found, strings.TrimSpace(line))
		}
	}
	return strings.Join(found, " ")
}
