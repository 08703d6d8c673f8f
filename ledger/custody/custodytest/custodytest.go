// Package custodytest holds every kind of custody to its contract. What is
// peculiar to a kind, such as who may read its files, is for the tests of that kind.
package custodytest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/medledger/medledger/ledger/custody"
)

// Run runs the suite. For each of its tests prepare makes a custody without keys,
// and returns what opens it, which the suite calls several times: whatever it opens
// holds the same keys. The suite closes what it opens.
func Run(t *testing.T, prepare func(t *testing.T) (open func() (custody.Custody, error))) {
	for _, test := range []struct {
		name string
		run  func(t *testing.T, s *suite)
	}{
		{"Create", testCreate},
		{"Durable", testDurable},
		{"SealAndOpen", testSealAndOpen},
		{"WrongContext", testWrongContext},
		{"WrongKey", testWrongKey},
		{"Altered", testAltered},
		{"TooLong", testTooLong},
		{"Destroyed", testDestroyed},
		{"Names", testNames},
		{"BadNames", testBadNames},
		{"NoKey", testNoKey},
		{"Cancelled", testCancelled},
		{"Closed", testClosed},
		{"Concurrent", testConcurrent},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := &suite{t: t, open: prepare(t)}
			s.custody = s.opened()
			test.run(t, s)
		})
	}
}

type suite struct {
	t       *testing.T
	open    func() (custody.Custody, error)
	custody custody.Custody
}

// opened opens the custody once more, and closes it with the test.
func (s *suite) opened() custody.Custody {
	s.t.Helper()
	c, err := s.open()
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		if err := c.Close(); err != nil {
			s.t.Errorf("closing: %v", err)
		}
	})
	return c
}

// reopen closes the custody and opens it again.
func (s *suite) reopen() {
	s.t.Helper()
	if err := s.custody.Close(); err != nil {
		s.t.Fatal(err)
	}
	s.custody = s.opened()
}

func (s *suite) create(names ...string) {
	s.t.Helper()
	for _, name := range names {
		if err := s.custody.Create(s.t.Context(), name); err != nil {
			s.t.Fatalf("creating %q: %v", name, err)
		}
	}
}

func (s *suite) seal(name string, plain, bound []byte) []byte {
	s.t.Helper()
	sealed, err := s.custody.Seal(s.t.Context(), name, plain, bound)
	if err != nil {
		s.t.Fatalf("sealing %d bytes with %q: %v", len(plain), name, err)
	}
	return sealed
}

func (s *suite) wantOpen(name string, sealed, bound, plain []byte) {
	s.t.Helper()
	got, err := s.custody.Open(s.t.Context(), name, sealed, bound)
	if err != nil || !bytes.Equal(got, plain) {
		s.t.Fatalf("opening with %q: %d bytes, want %d, %v", name, len(got), len(plain), err)
	}
}

func (s *suite) wantNames(want ...string) {
	s.t.Helper()
	got, err := s.custody.Names(s.t.Context())
	if err != nil || !slices.Equal(got, want) {
		s.t.Fatalf("the keys are %q, want %q; %v", got, want, err)
	}
}

func wantErr(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: %v, want %v", what, err, want)
	}
}

var (
	secret = bytes.Repeat([]byte("key."), custody.KeySize/4)
	bound  = []byte("medledger/custodytest/v1\x00 what it is for")
)

func testCreate(t *testing.T, s *suite) {
	if kind := s.custody.Kind(); kind != custody.File && kind != custody.Token {
		t.Errorf("kind %q", kind)
	}
	s.create("a")
	sealed := s.seal("a", secret, bound)
	wantErr(t, "creating it again", s.custody.Create(t.Context(), "a"), custody.ErrExists)
	s.wantOpen("a", sealed, bound, secret)
	s.wantNames("a")
}

// testDurable opens the custody again: what was created is there, what was
// destroyed is not.
func testDurable(t *testing.T, s *suite) {
	s.create("kept", "gone")
	kept, gone := s.seal("kept", secret, bound), s.seal("gone", secret, bound)
	if err := s.custody.Destroy(t.Context(), "gone"); err != nil {
		t.Fatal(err)
	}
	s.reopen()
	s.wantNames("kept")
	s.wantOpen("kept", kept, bound, secret)
	_, err := s.custody.Open(t.Context(), "gone", gone, bound)
	wantErr(t, "opening with a destroyed key", err, custody.ErrNoKey)
}

func testSealAndOpen(t *testing.T, s *suite) {
	s.create("a")
	for _, size := range []int{1, 16, custody.KeySize, custody.MaxPlain} {
		for _, length := range []int{1, 31, 200} {
			plain, bound := bytes.Repeat([]byte{0xa5}, size), bytes.Repeat([]byte{'c'}, length)
			sealed := s.seal("a", plain, bound)
			if len(sealed) < size+16 || len(sealed) > custody.MaxSealed {
				t.Errorf("%d bytes sealed are %d", size, len(sealed))
			}
			if size >= 16 && bytes.Contains(sealed, plain[:16]) {
				t.Errorf("what is sealed shows in the clear: %x", sealed)
			}
			s.wantOpen("a", sealed, bound, plain)
		}
	}
	if bytes.Equal(s.seal("a", secret, bound), s.seal("a", secret, bound)) {
		t.Error("sealing twice makes the same: the nonce repeats")
	}
	if !bytes.Equal(secret, bytes.Repeat([]byte("key."), custody.KeySize/4)) {
		t.Error("sealing changed what was sealed")
	}
}

func testWrongContext(t *testing.T, s *suite) {
	s.create("a")
	sealed := s.seal("a", secret, bound)
	for name, other := range map[string][]byte{
		"none": nil, "cut": bound[:len(bound)-1], "longer": append(bytes.Clone(bound), 0), "another": []byte("x"),
	} {
		_, err := s.custody.Open(t.Context(), "a", sealed, other)
		wantErr(t, "context: "+name, err, custody.ErrSealed)
	}
	s.wantOpen("a", sealed, bound, secret)
}

func testWrongKey(t *testing.T, s *suite) {
	s.create("a", "b")
	_, err := s.custody.Open(t.Context(), "b", s.seal("a", secret, bound), bound)
	wantErr(t, "opening with another key", err, custody.ErrSealed)
}

func testAltered(t *testing.T, s *suite) {
	s.create("a")
	sealed := s.seal("a", secret, bound)
	open := func(what string, b []byte) {
		t.Helper()
		_, err := s.custody.Open(t.Context(), "a", b, bound)
		wantErr(t, what, err, custody.ErrSealed)
	}
	for i := range sealed {
		b := bytes.Clone(sealed)
		b[i] ^= 0x10
		open(fmt.Sprintf("byte %d altered", i), b)
	}
	for n := range sealed {
		open(fmt.Sprintf("cut to %d bytes", n), sealed[:n])
	}
	open("a byte more", append(bytes.Clone(sealed), 0))
	open("much too long", make([]byte, 1<<16))
	s.wantOpen("a", sealed, bound, secret)
}

func testTooLong(t *testing.T, s *suite) {
	s.create("a")
	_, err := s.custody.Seal(t.Context(), "a", make([]byte, custody.MaxPlain+1), bound)
	wantErr(t, "sealing too much", err, custody.ErrTooLong)
}

// testDestroyed holds that a destroyed key is gone also if another takes its name.
func testDestroyed(t *testing.T, s *suite) {
	s.create("a", "b")
	a, b := s.seal("a", secret, bound), s.seal("b", secret, bound)
	for range 2 { // again is no error
		if err := s.custody.Destroy(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.custody.Destroy(t.Context(), "never-there"); err != nil {
		t.Errorf("destroying what is not there: %v", err)
	}
	_, err := s.custody.Open(t.Context(), "a", a, bound)
	wantErr(t, "opening with a destroyed key", err, custody.ErrNoKey)
	_, err = s.custody.Seal(t.Context(), "a", secret, bound)
	wantErr(t, "sealing with a destroyed key", err, custody.ErrNoKey)
	s.wantNames("b")
	s.wantOpen("b", b, bound, secret)
	s.create("a")
	_, err = s.custody.Open(t.Context(), "a", a, bound)
	wantErr(t, "opening with a new key of the name", err, custody.ErrSealed)
}

func testNames(t *testing.T, s *suite) {
	s.wantNames()
	longest := strings.Repeat("z", 64)
	s.create("b", "a-2", "a", longest, "0", "-")
	s.wantNames("-", "0", "a", "a-2", "b", longest)
	s.wantOpen(longest, s.seal(longest, secret, bound), bound, secret)
	for _, name := range []string{"a", longest} {
		if err := s.custody.Destroy(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
	s.wantNames("-", "0", "a-2", "b")
}

func testBadNames(t *testing.T, s *suite) {
	for _, name := range []string{"", "A", "a b", "a/b", "..", "a.key", "ä", "a\x00", strings.Repeat("a", 65)} {
		_, sealErr := s.custody.Seal(t.Context(), name, secret, bound)
		_, openErr := s.custody.Open(t.Context(), name, secret, bound)
		for what, err := range map[string]error{
			"Create": s.custody.Create(t.Context(), name), "Destroy": s.custody.Destroy(t.Context(), name),
			"Seal": sealErr, "Open": openErr,
		} {
			wantErr(t, fmt.Sprintf("%s %q", what, name), err, custody.ErrName)
		}
	}
	s.wantNames()
}

func testNoKey(t *testing.T, s *suite) {
	_, err := s.custody.Seal(t.Context(), "a", secret, bound)
	wantErr(t, "sealing without a key", err, custody.ErrNoKey)
	_, err = s.custody.Open(t.Context(), "a", make([]byte, 80), bound)
	wantErr(t, "opening without a key", err, custody.ErrNoKey)
}

// testCancelled holds that what is asked for in vain does not happen.
func testCancelled(t *testing.T, s *suite) {
	s.create("a")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	wantErr(t, "Create", s.custody.Create(ctx, "b"), context.Canceled)
	wantErr(t, "Destroy", s.custody.Destroy(ctx, "a"), context.Canceled)
	_, err := s.custody.Seal(ctx, "a", secret, bound)
	wantErr(t, "Seal", err, context.Canceled)
	_, err = s.custody.Names(ctx)
	wantErr(t, "Names", err, context.Canceled)
	s.wantNames("a")
}

func testClosed(t *testing.T, s *suite) {
	s.create("a")
	sealed := s.seal("a", secret, bound)
	for range 2 {
		if err := s.custody.Close(); err != nil {
			t.Fatal(err)
		}
	}
	_, openErr := s.custody.Open(t.Context(), "a", sealed, bound)
	_, sealErr := s.custody.Seal(t.Context(), "a", secret, bound)
	_, namesErr := s.custody.Names(t.Context())
	for what, err := range map[string]error{
		"Open": openErr, "Seal": sealErr, "Names": namesErr,
		"Create": s.custody.Create(t.Context(), "b"), "Destroy": s.custody.Destroy(t.Context(), "a"),
	} {
		wantErr(t, what, err, custody.ErrUnavailable)
	}
	s.custody = s.opened()
	s.wantNames("a")
	s.wantOpen("a", sealed, bound, secret)
}

// testConcurrent uses keys of different names from several goroutines, and one of
// them all from all.
func testConcurrent(t *testing.T, s *suite) {
	s.create("shared")
	shared := s.seal("shared", secret, bound)
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			name := fmt.Sprintf("own-%d", g)
			for range 5 {
				if err := s.turn(t, name, shared); err != nil {
					t.Errorf("%s: %v", name, err)
					return
				}
			}
		})
	}
	wg.Wait()
	s.wantNames("shared")
}

func (s *suite) turn(t *testing.T, name string, shared []byte) error {
	ctx := t.Context()
	if err := s.custody.Create(ctx, name); err != nil {
		return err
	}
	sealed, err := s.custody.Seal(ctx, name, []byte(name), bound)
	if err != nil {
		return err
	}
	names, err := s.custody.Names(ctx)
	if err != nil || !slices.Contains(names, name) || !slices.IsSorted(names) {
		return fmt.Errorf("the keys are %q: %w", names, err)
	}
	if got, err := s.custody.Open(ctx, name, sealed, bound); err != nil || string(got) != name {
		return fmt.Errorf("opened as %q: %w", got, err)
	}
	if got, err := s.custody.Open(ctx, "shared", shared, bound); err != nil || !bytes.Equal(got, secret) {
		return fmt.Errorf("the shared one opened as %q: %w", got, err)
	}
	return s.custody.Destroy(ctx, name)
}
