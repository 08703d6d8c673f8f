package crash

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

const (
	normalRounds = 5
	longRounds   = 200
	// auditAll is the first so many rounds that end with a whole audit; of the
	// later ones it is every tenth, and the last.
	auditAll = 20
)

// setting reads a number from the environment.
func setting(t *testing.T, name string, otherwise int) int {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("%s=%q; want a number from 1 on", name, text)
	}
	return n
}

// newLedger makes a ledger with the real program.
func newLedger(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "ledger")
	if code, _, messages := run(t, medledger, "init", "--dir", dir, "--origin", "crash.medledger.example"); code != 0 {
		t.Fatalf("init says %d: %s", code, messages)
	}
	return dir
}

func TestKill(t *testing.T) {
	rounds := normalRounds
	if os.Getenv("MEDLEDGER_LONG") != "" {
		rounds = longRounds
	}
	rounds = setting(t, "MEDLEDGER_CRASH_ROUNDS", rounds)
	seed := setting(t, "MEDLEDGER_CRASH_SEED", int(time.Now().UnixNano()))
	t.Logf("MEDLEDGER_CRASH_SEED=%d MEDLEDGER_CRASH_ROUNDS=%d", seed, rounds)
	rng := rand.New(rand.NewPCG(uint64(seed), 0))

	j := newJudge(newLedger(t), rng)
	var opened []time.Duration
	early := 0
	for round := range rounds {
		p := start(t, j.dir)
		if atStart := round%5 == 3; atStart {
			time.Sleep(time.Duration(rng.IntN(60)) * time.Millisecond)
			early++
		} else {
			<-p.begun
			time.Sleep(time.Duration(50+rng.IntN(750)) * time.Millisecond)
		}
		// The process may not end by itself; if it did, wait says why.
		if err := p.cmd.Process.Kill(); err != nil {
			t.Fatalf("round %d: %v\n%s", round, err, p.stderr.String())
		}
		lines, err := p.wait(t)
		if status, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || !status.Signaled() {
			t.Fatalf("round %d: the process ended by itself: %v\n%s", round, err, p.stderr.String())
		}
		opened = append(opened, j.hold(t, lines))
		if round < auditAll || round%10 == 9 || round == rounds-1 {
			j.audit(t)
		}
	}
	slices.Sort(opened)
	t.Logf("%d kills, %d of them while opening; opening again took %v at the median, %v at most",
		rounds, early, opened[len(opened)/2], opened[len(opened)-1])
	t.Logf("%d events in the log, %d acknowledgements held, %d refusals without a trace", j.scanned, j.acks, len(j.none))
	if j.acks < 20*(rounds-early) || len(j.none) == 0 || j.destroys == 0 {
		t.Errorf("%d acknowledgements, %d refusals without a trace, %d destructions: too few to say anything",
			j.acks, len(j.none), j.destroys)
	}
}

// TestStop ends the process as an operator would: nothing acknowledged is lost,
// and nothing is left to be put in order.
func TestStop(t *testing.T) {
	j := newJudge(newLedger(t), rand.New(rand.NewPCG(1, 1)))
	p := start(t, j.dir)
	p.work(t, 1000)
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	lines, err := p.wait(t)
	if err != nil {
		t.Fatalf("after SIGTERM: %v\n%s", err, p.stderr.String())
	}
	j.hold(t, lines)
	j.audit(t)
}

// TestTwoProcesses tries to open a ledger that another process has open.
func TestTwoProcesses(t *testing.T) {
	j := newJudge(newLedger(t), rand.New(rand.NewPCG(1, 2)))
	p := start(t, j.dir)
	<-p.begun
	for _, args := range [][]string{
		{"load", "--dir", j.dir},
		{"serve", "--dir", j.dir, "--listen", "127.0.0.1:0"},
		{"rebuild", "--dir", j.dir},
		{"keys", "rotate", "--dir", j.dir},
	} {
		code, out, messages := run(t, medledger, args...)
		if code != 1 || out != "" {
			t.Errorf("%s beside another process: exit code %d, output %q", args[0], code, out)
		}
		if !strings.Contains(messages, "another process") || strings.Contains(messages, "goroutine ") {
			t.Errorf("%s beside another process says %q", args[0], messages)
		}
	}
	p.work(t, 1000)
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	lines, err := p.wait(t)
	if err != nil {
		t.Fatalf("the first process: %v\n%s", err, p.stderr.String())
	}
	j.hold(t, lines)
	j.audit(t)
}
