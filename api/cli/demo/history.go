package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/mod/sumdb/note"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/verifier/history"
	"github.com/medledger/medledger/verifier/jcs"
	"github.com/medledger/medledger/verifier/mpt"
	"github.com/medledger/medledger/verifier/proof"
	"github.com/medledger/medledger/verifier/state"
)

// The bundles that the demo leaves, by what they prove of a record.
const (
	destroyedBundle = "destroyed.jsonl"
	activeBundle    = "active.jsonl"
	neverBundle     = "never.jsonl"
)

const bundles = "histories"

// bundleFile is a bundle's name in a command line.
func bundleFile(name string) string { return path.Join(folder, "demo", bundles, name) }

// patientsCheckpoint is the checkpoint out of the patient's bundle.
const patientsCheckpoint = folder + "/demo/" + bundles + "/checkpoint"

// prove is the scene in which people are shown that a record's history is whole.
func (s *story) prove(ctx context.Context) error {
	s.scene("All that ever happened to a record, and nothing left out")
	if err := os.MkdirAll(s.file(bundles), 0o755); err != nil {
		return fmt.Errorf("making the folder of histories: %w", err)
	}
	raw, err := s.fetch(ctx, s.cast.patient, s.first.id, destroyedBundle)
	if err != nil {
		return err
	}
	s.done("the patient fetches the history of her first record", bytesText(int64(len(raw))))
	b, err := readBundle(raw, s.verifier)
	if err != nil {
		return err
	}
	if err := os.WriteFile(s.file(bundles, path.Base(patientsCheckpoint)), b.checkpoint, 0o644); err != nil {
		return fmt.Errorf("keeping a checkpoint: %w", err)
	}
	s.command(append([]string{"medverify"}, s.shown([]string{"record", "--vkey", verifierKey, bundleFile(destroyedBundle)})...)...)
	told, err := s.standing(ctx, "she checks it, offline", destroyedBundle, "destroyed")
	if err != nil {
		return err
	}
	s.quote(told, 10)
	if err := s.proveOthers(ctx); err != nil {
		return err
	}
	s.say("In copies of hers somebody changes that the other doctor was curious:")
	return s.distortAll(ctx, b)
}

// proveOthers has others fetch and check what is theirs to see.
func (s *story) proveOthers(ctx context.Context) error {
	for _, h := range []struct {
		what   string
		who    person
		record events.ID
		file   string
		stands string
	}{
		{"the doctor, that of a record that lives", s.cast.doctor, s.visit.id, activeBundle, "active"},
		{"the auditor, that of a record that never was", s.cast.auditor, events.MustNewID(), neverBundle, noRecord},
	} {
		if _, err := s.fetch(ctx, h.who, h.record, h.file); err != nil {
			return err
		}
		if _, err := s.standing(ctx, h.what, h.file, h.stands); err != nil {
			return err
		}
	}
	_, err := s.cast.patient.History(ctx, events.MustNewID())
	s.expect("the patient asks for that too, and is told nothing", "404: not found", outcome(err, "proved"))
	return nil
}

// fetch keeps the bundle of a record.
func (s *story) fetch(ctx context.Context, who person, record events.ID, file string) (_ []byte, err error) {
	body, err := who.History(ctx, record)
	if err != nil {
		return nil, fmt.Errorf("fetching a history: %w", err)
	}
	defer func() { err = errors.Join(err, body.Close()) }()
	raw, err := io.ReadAll(body)
	if err != nil {
		return nil, fmt.Errorf("fetching a history: %w", err)
	}
	if err := os.WriteFile(s.file(bundles, file), raw, 0o644); err != nil {
		return nil, fmt.Errorf("keeping a history: %w", err)
	}
	return raw, nil
}

// noRecord is where a record stands that never was.
const noRecord = "no such record"

// standing checks a bundle, which must prove where its record stands, and returns what
// medverify tells of it, in short.
func (s *story) standing(ctx context.Context, what, file, stands string) (told string, err error) {
	exit, output, err := s.medverify(ctx, []string{"record", "--vkey", verifierKey, bundleFile(file)})
	if err != nil {
		return "", err
	}
	title, _, _ := strings.Cut(output, "\n")
	rows := []string{title}
	got := noRecord
	for _, name := range []string{"events", "phase", "as of"} {
		if value := tableRow(output, name); value != "" {
			rows = append(rows, fmt.Sprintf("%-7s %s", name, value))
			if name == "phase" {
				got, _, _ = strings.Cut(value, " ")
			}
		}
	}
	s.expect(what, verified+", "+stands, exit+", "+got)
	return strings.Join(rows, "\n"), nil
}

// tableRow returns a row of a table that medverify printed, in one line; "" if there
// is none of that name.
func tableRow(report, name string) string {
	const column = 16 // of the values
	var value []string
	for line := range strings.Lines(report) {
		head, rest := line[:min(column, len(line))], line[min(column, len(line)):]
		head = strings.TrimSpace(head)
		if head == name || len(value) > 0 && head == "" {
			value = append(value, strings.TrimSpace(rest))
		} else if len(value) > 0 {
			break
		}
	}
	return strings.Join(value, " ")
}

// distortion is a way to change a bundle.
type distortion struct {
	name string
	// do returns the bundle changed at one of its events.
	do   func(b *bundle, at int) ([]byte, error)
	want error // what medverify must say
}

func distortions() []distortion {
	return []distortion{
		{"that event is cut out", (*bundle).cut, history.ErrMalformed},
		{"… and the header made to fit, count and all", (*bundle).fit, mpt.ErrProof},
		{"that event is swapped with the one before", (*bundle).swap, history.ErrForeign},
	}
}

// distortAll changes copies of a bundle, each of which must be found out.
func (s *story) distortAll(ctx context.Context, b *bundle) error {
	curious := slices.IndexFunc(b.events, s.curious)
	for i, d := range s.distortions {
		if curious < 1 {
			return errNothingToAttack
		}
		changed, err := d.do(b, curious)
		if err != nil {
			return fmt.Errorf("changing a history: %w", err)
		}
		file := filepath.Join(s.scratch, fmt.Sprintf("history-%d.jsonl", i))
		if err := os.WriteFile(file, changed, 0o600); err != nil {
			return fmt.Errorf("changing a history: %w", err)
		}
		exit, output, err := s.medverify(ctx, []string{"record", "--vkey", verifierKey, file})
		if err != nil {
			return err
		}
		_, why, _ := strings.Cut(strings.Join(strings.Fields(output), " "), ": ")
		if !strings.Contains(why, d.want.Error()) {
			exit += fmt.Sprintf(", without %q", d.want)
		}
		s.expect(d.name, foundFalse, exit)
		s.quote(why, 1)
	}
	return nil
}

// bundle is a bundle that somebody changes copies of.
type bundle struct {
	lines      [][]byte // without the events
	counted    [][]byte // the lines of the events
	events     []events.Event
	checkpoint []byte // the log's
}

// readBundle verifies a bundle and takes it apart.
func readBundle(raw []byte, v note.Verifier) (*bundle, error) {
	b := new(bundle)
	_, err := history.Verify(bytes.NewReader(raw), v, func(_ uint64, e events.Event) error {
		b.events = append(b.events, e)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("the history of the first record: %w", err)
	}
	lines := bytes.SplitAfter(raw, []byte("\n"))
	lines = lines[:len(lines)-1] // what follows the last newline is nothing
	n := len(lines) - len(b.events)
	b.lines, b.counted = lines[:n], lines[n:]
	var header struct {
		Log string `json:"log"`
	}
	if err := json.Unmarshal(lines[0], &header); err != nil {
		return nil, fmt.Errorf("the header of a history: %w", err)
	}
	b.checkpoint = []byte(header.Log)
	return b, nil
}

// with joins the bundle with other lines of events.
func (b *bundle) with(counted [][]byte) []byte {
	return bytes.Join(slices.Concat(b.lines, counted), nil)
}

// cut leaves an event out.
func (b *bundle) cut(i int) ([]byte, error) {
	return b.with(slices.Delete(slices.Clone(b.counted), i, i+1)), nil
}

// swap swaps an event with the one before it.
func (b *bundle) swap(i int) ([]byte, error) {
	counted := slices.Clone(b.counted)
	counted[i-1], counted[i] = counted[i], counted[i-1]
	return b.with(counted), nil
}

// fit leaves an event out, and makes the header's count and summary those of the
// others.
func (b *bundle) fit(i int) ([]byte, error) {
	var counted state.History
	for j, line := range b.counted {
		var of struct {
			Index     uint64 `json:"index"`
			Statement []byte `json:"statement"`
		}
		if err := json.Unmarshal(line, &of); err != nil {
			return nil, err
		}
		if j != i {
			counted.Add(of.Index, proof.LeafHash(of.Statement), state.EffectOf(b.events[j]))
		}
	}
	header := make(map[string]any)
	if err := json.Unmarshal(b.lines[0], &header); err != nil {
		return nil, err
	}
	header["events"], header["summary"] = counted.Events, counted.Summary().Marshal()
	line, err := jcs.Marshal(header)
	if err != nil {
		return nil, err
	}
	fitted := bundle{lines: slices.Concat([][]byte{append(line, '\n')}, b.lines[1:]), counted: b.counted}
	return fitted.cut(i)
}
