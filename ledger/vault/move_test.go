package vault

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/events/store/disk"
	"github.com/medledger/medledger/events/store/disk/disktest"
	"github.com/medledger/medledger/ledger/custody"
)

// fakeToken is a folder that passes for a token.
type fakeToken struct{ custody.Custody }

func (fakeToken) Kind() custody.Kind { return custody.Token }

// TestMoveCustody moves the root key to a token, to another folder, and back.
func TestMoveCustody(t *testing.T) {
	cfg := newConfig(t)
	cfg.fanOut = 3
	v := openVault(t, cfg)
	var e estate
	e.add(t, v, 6)
	e.destroy(t, v)
	wantErr(t, MoveCustody(ctx, cfg, nil), ErrInvalid)
	wantErr(t, MoveCustody(ctx, cfg, cfg.Custody), ErrInvalid)
	generation := uint64(0)
	file, token := cfg.Custody, fakeToken{openCustody(t, disk.OS{}, filepath.Join(t.TempDir(), "token"))}
	second := openCustody(t, disk.OS{}, filepath.Join(t.TempDir(), "other folder"))
	at := custody.Custody(file)
	for _, to := range []custody.Custody{token, file, second, file} {
		e.judge(t, v)
		if err := v.Close(); err != nil {
			t.Fatal(err)
		}
		from := cfg
		from.Custody = at
		if err := MoveCustody(ctx, from, to); err != nil {
			t.Fatal(err)
		}
		wantRoots(t, at, 0)
		wantRoots(t, to, 1)
		wantRefused(t, from, map[bool]string{true: "move the key", false: "right custody"}[at.Kind() != to.Kind()])
		at = to
		now := cfg
		now.Custody = at
		v = openVault(t, now)
		s, err := v.Stats(ctx)
		if err != nil || s.Custody != to.Kind() || s.Generation <= generation || s.Retired != s.Generation-1 || s.FanOut != 3 || s.Nodes == 0 {
			t.Errorf("%+v, %v", s, err)
		}
		generation = s.Generation
		e.add(t, v, 1)
		e.destroy(t, v)
	}
	e.judge(t, v)
}

// TestFaultsOfMove fails every step of a move, and every call of both custodies': the
// vault has not moved, or says that the move is to be completed, or it has moved.
func TestFaultsOfMove(t *testing.T) {
	steps := []step{stepMark, stepRoot, stepStage, stepVerify, stepRegister, stepGeneration, stepRetire, stepMoved}
	for _, after := range []bool{false, true} {
		for _, at := range steps {
			t.Run(fmt.Sprintf("step%d/after=%v", at, after), func(t *testing.T) {
				faultOfMove(t, func(*swapStory, *faultyCustody) stepHook {
					return func(now step, isAfter bool) error {
						if now == at && isAfter == after {
							return errFault
						}
						return nil
					}
				})
			})
		}
		for n, done := 1, false; !done && !t.Failed(); n++ {
			t.Run(fmt.Sprintf("call%d/after=%v", n, after), func(t *testing.T) {
				// The odd calls are the former custody's, the even ones the other's.
				var broken *faultyCustody
				faultOfMove(t, func(s *swapStory, to *faultyCustody) stepHook {
					broken = []*faultyCustody{to, s.custody}[n%2]
					broken.fail((n+1)/2, after)
					return func(step, bool) error {
						done = !broken.failed() && n > 20
						return nil
					}
				})
			})
		}
	}
}

func faultOfMove(t *testing.T, arm func(*swapStory, *faultyCustody) stepHook) {
	s, v := newSwapStory(t, 1)
	to := &faultyCustody{Custody: fakeToken{openCustody(t, s.fsys, "/token")}}
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	hook := arm(s, to)
	err := moveCustody(ctx, s.cfg, to, hook)
	s.custody.fail(0, false)
	to.fail(0, false)
	s.fsys.Crash(disktest.LoseAll, nil)
	if err == nil {
		wantRoots(t, s.custody, 0)
	} else {
		wantErr(t, err, errFault)
	}
	moved := s.cfg
	moved.Custody = to
	old, oldErr := Open(ctx, s.cfg)
	switch {
	case oldErr == nil: // it has not moved
		if err := old.Close(); err != nil {
			t.Fatal(err)
		}
		wantRoots(t, s.custody, 1)
		if err := MoveCustody(ctx, s.cfg, to); err != nil {
			t.Fatal(err)
		}
	case errors.Is(oldErr, ErrMoving):
		_, newErr := Open(ctx, moved)
		wantErr(t, newErr, ErrMoving)
		wantErr(t, MoveCustody(ctx, moved, s.custody), ErrMoving)
		if err := MoveCustody(ctx, s.cfg, to); err != nil {
			t.Fatal(err)
		}
	case !errors.Is(oldErr, ErrRootKey) || !strings.Contains(oldErr.Error(), `"token"`):
		t.Fatalf("neither moved nor not: %v", oldErr)
	}
	wantRoots(t, s.custody, 0)
	wantRoots(t, to, 1)
	v = openVault(t, moved)
	for i, id := range s.records {
		mustRead(t, v, id, 1, pattern(100+i))
		if got, err := v.Weakest(ctx, id); err != nil || got != custody.File {
			t.Errorf("a record from before the move was below %q, %v", got, err)
		}
	}
	s.cfg, s.custody = moved, to
	if err := s.destroy(v); err != nil {
		t.Fatal(err)
	}
	s.judgeSwap(v, true)
}

// TestWeakestCustody moves into a token, out of it and in again: only what came after
// the newest move into the token was never below a root key in a file.
func TestWeakestCustody(t *testing.T) {
	cfg := newConfig(t)
	file, token := cfg.Custody, fakeToken{openCustody(t, disk.OS{}, filepath.Join(t.TempDir(), "token"))}
	v := openVault(t, cfg)
	var records []events.ID
	want := func(kinds ...custody.Kind) {
		t.Helper()
		record := events.MustNewID()
		mustPut(t, v, record, 1, nil)
		records = append(records, record)
		for i, id := range records {
			if got, err := v.Weakest(ctx, id); err != nil || got != kinds[i] {
				t.Errorf("record %d was below %q, %v; want %q", i, got, err, kinds[i])
			}
		}
	}
	moveTo := func(to custody.Custody) {
		t.Helper()
		if err := errors.Join(v.Close(), MoveCustody(ctx, cfg, to)); err != nil {
			t.Fatal(err)
		}
		cfg.Custody = to
		v = openVault(t, cfg)
	}
	want(custody.File)
	moveTo(token)
	want(custody.File, custody.Token)
	moveTo(file)
	want(custody.File, custody.File, custody.File)
	moveTo(token)
	want(custody.File, custody.File, custody.File, custody.Token)
	if _, err := v.Destroy(ctx, records[3]); err != nil {
		t.Fatal(err)
	}
	if got, err := v.Weakest(ctx, records[3]); err != nil || got != custody.File {
		t.Errorf("of what is gone it says %q, %v", got, err)
	}
	// A vault that does not say since when, such as a restored one, claims nothing.
	if _, err := v.keys.conn.ExecContext(ctx, "DELETE FROM meta WHERE name = ?", metaGuarded); err != nil {
		t.Fatal(err)
	}
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	v = openVault(t, cfg)
	records = records[:1]
	want(custody.File, custody.Token)
}

// TestWeakestOfNewVault: one that was made in a token was never in a file.
func TestWeakestOfNewVault(t *testing.T) {
	cfg := newConfig(t)
	cfg.Custody = fakeToken{cfg.Custody}
	v := openVault(t, cfg)
	for _, id := range []events.ID{events.MustNewID(), events.MustNewID()} {
		mustPut(t, v, id, 1, nil)
		for range 2 { // also once it is gone
			if got, err := v.Weakest(ctx, id); err != nil || got != custody.Token {
				t.Errorf("%q, %v", got, err)
			}
			if _, err := v.Destroy(ctx, id); err != nil {
				t.Fatal(err)
			}
		}
	}
}
