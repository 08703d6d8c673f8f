package e2e

import (
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestReadmeRestore sets backups up as the README says, loses the PC, and pastes the lines
// that it has for that into a shell, as they stand. What a test cannot do is done otherwise,
// as pc says; the line from the paper is typed at the shell's input.
func TestReadmeRestore(t *testing.T) {
	need(t, "bash", "curl", "install", "shred")
	text := readme(t)
	setUp, lines := block(t, text, "Set up, once:"), block(t, text, "**The PC is gone.**")
	if len(lines) > 10 {
		t.Errorf("a restore takes %d lines, which are to be ten or fewer", len(lines))
	}
	world := t.TempDir() // with the media, and what is on each PC
	old := &pc{t: t, world: world, home: filepath.Join(world, "old"), port: freePort(t)}
	paper := old.live(setUp)

	// The PC is gone. What an auditor kept, and a download, are there.
	fresh := &pc{t: t, world: world, home: filepath.Join(world, "new"), port: freePort(t)}
	fresh.bring(map[string]string{filepath.Join(old.home, "kept"): "kept", filepath.Join(bin, "medledger"): "medledger-linux-amd64"})
	token, err := os.ReadFile(filepath.Join(old.home, "doctor.token"))
	record, recordErr := os.ReadFile(filepath.Join(old.home, "record"))
	if err != nil || recordErr != nil {
		t.Fatal(err, recordErr)
	}
	if err := os.RemoveAll(old.home); err != nil {
		t.Fatal(err)
	}
	stop := fresh.start(strings.Join(lines, "\n"), paper+"\n")
	got := fresh.get("v1/records/"+strings.TrimSpace(string(record))+"/content?purpose=TREAT", strings.TrimSpace(string(token)))
	out := stop()
	if got != "Rest and fluids.\n" {
		t.Errorf("the restored service answers %q\n%s", got, out)
	}
	for _, want := range []string{"origin      clinic.example/ledger", "mlt_", "statement-key  "} {
		if !strings.Contains(out, want) {
			t.Errorf("the README's lines do not print %q:\n%s", want, out)
		}
	}
	if _, err := os.Stat(fresh.path("shm", "identity.txt")); err == nil {
		t.Error("the identity is left on the new PC")
	}
}

// block is the first block of indented lines after a marker.
func block(t *testing.T, text, marker string) (lines []string) {
	t.Helper()
	_, rest, found := strings.Cut(text, marker)
	if !found {
		t.Fatalf("the README has no %q", marker)
	}
	for line := range strings.Lines(rest) {
		code, indented := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "    ")
		if !indented && len(lines) > 0 {
			return lines
		}
		if indented {
			lines = append(lines, code)
		}
	}
	t.Fatalf("the README has no lines after %q", marker)
	return nil
}

// pc is a machine: a folder that its commands run in.
type pc struct {
	t     *testing.T
	world string
	home  string
	port  string
}

// live has the clinic's ledger set up with backups, takes one of a record, and returns the
// line that is on the paper.
func (p *pc) live(setUp []string) (paper string) {
	p.t.Helper()
	p.bring(nil)
	// The lines that are comments are the file's, with the recipient that was printed.
	config := regexp.MustCompile(`(?m)^#   (backup-\w+: .*)$`).FindAllStringSubmatch(strings.Join(setUp, "\n"), -1)
	if len(config) != 3 {
		p.t.Fatalf("the README's set-up has %d settings", len(config))
	}
	script := "medledger init --dir clinic --origin clinic.example/ledger\n"
	for _, line := range setUp {
		if !strings.HasPrefix(line, "#") {
			script += line + "\n"
		}
	}
	script += "cat > medledger.yaml <<END\n"
	for _, setting := range config {
		script += strings.Replace(setting[1], "age1...", "$(grep -o 'age1[0-9a-z]*' /dev/shm/identity.txt)", 1) + "\n"
	}
	script += "END\n" + `
medledger serve --dir clinic &
A=http://127.0.0.1:8340
until curl -fs $A/readyz; do sleep 0.1; done
send() { curl -fsS -X POST -H "Authorization: Bearer $1" -H "Content-Type: $2" --data-binary "$3" "$A/v1/$4"; }
get() { grep -o "\"$1\":\"[^\"]*\"" | head -1 | cut -d'"' -f4; }
send $(cat clinic/admin.token) application/json '{"role":"clinician","department":"ward 1"}' actors | get token > doctor.token
DOCTOR=$(cat doctor.token)
PATIENT=$(send $DOCTOR application/json '{"identifiers":[{"system":"https://clinic.example/mrn","value":"1"}]}' patients | get id)
send $DOCTOR text/plain "Rest and fluids.
" "records?patient=$PATIENT&kind=chart&confidentiality=N" | get record > record
curl -fsS $A/log/checkpoint > kept
medledger backup run --dir clinic
echo done
wait`
	stop := p.start(script, "")
	for begun := time.Now(); ; time.Sleep(50 * time.Millisecond) {
		if raw, err := os.ReadFile(p.output()); err == nil && strings.HasSuffix(string(raw), "\ndone\n") {
			break
		}
		if time.Since(begun) > time.Minute {
			p.t.Fatalf("no backup was taken:\n%s", stop())
		}
	}
	stop()
	identity, err := os.ReadFile(p.path("shm", "identity.txt"))
	if err == nil {
		err = os.Remove(p.path("shm", "identity.txt")) // once it was printed
	}
	if err != nil {
		p.t.Fatal(err)
	}
	paper = regexp.MustCompile(`(?m)^AGE-SECRET-KEY-1.*$`).FindString(string(identity))
	if paper == "" {
		p.t.Fatal("the identity has no line for the paper")
	}
	return paper
}

// bring makes the machine, with copies of files.
func (p *pc) bring(files map[string]string) {
	p.t.Helper()
	for _, dir := range []string{p.home, p.path("bin"), p.path("mnt", "disk"), p.path("mnt", "stick"), p.path("shm")} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			p.t.Fatal(err)
		}
	}
	for from, name := range files {
		raw, err := os.ReadFile(from)
		if err == nil {
			err = os.WriteFile(filepath.Join(p.home, name), raw, 0o644)
		}
		if err != nil {
			p.t.Fatal(err)
		}
	}
}

func (p *pc) path(elem ...string) string { return filepath.Join(append([]string{p.world}, elem...)...) }

func (p *pc) output() string { return filepath.Join(p.home, "output") }

// start runs lines in a shell that goes on, until stop is called, which returns what they
// printed. Of the README's commands it replaces what takes another machine: media and
// memory are folders that are there, programs are installed into a folder of the test's, and
// the server listens on a free port.
func (p *pc) start(lines, typed string) (stop func() string) {
	p.t.Helper()
	for _, r := range [][2]string{
		{"mount /dev/sdb1 /mnt/disk && mount /dev/sdc1 /mnt/stick", "ls /mnt/disk /mnt/stick"},
		{"/mnt/", p.path("mnt") + "/"},
		{"/dev/shm/", p.path("shm") + "/"},
		{"/usr/local/bin/", p.path("bin") + "/"},
		{"127.0.0.1:8340", "127.0.0.1:" + p.port},
		{"serve --dir clinic", "serve --dir clinic --listen 127.0.0.1:" + p.port},
	} {
		lines = strings.ReplaceAll(lines, r[0], r[1])
	}
	if strings.Contains(lines, "/dev/sd") {
		p.t.Fatalf("the README mounts media in a way that this test does not know:\n%s", lines)
	}
	path := p.path("bin") // of a new PC, where the lines install the program
	if _, err := os.Stat(filepath.Join(p.home, "medledger-linux-amd64")); err != nil {
		path = bin
	}
	shell := exec.CommandContext(p.t.Context(), "bash", "-e", "-o", "pipefail", "-c", lines)
	shell.Dir, shell.Stdin = p.home, strings.NewReader(typed)
	shell.Env = append(os.Environ(), "PATH="+path+":"+os.Getenv("PATH"))
	shell.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	file, err := os.Create(p.output())
	if err != nil {
		p.t.Fatal(err)
	}
	shell.Stdout, shell.Stderr = file, file
	if err := shell.Start(); err != nil {
		p.t.Fatal(err)
	}
	ended := false
	stop = func() string {
		if !ended {
			ended = true
			_ = syscall.Kill(-shell.Process.Pid, syscall.SIGTERM) // the server, and the shell
			_ = shell.Wait()
			_ = file.Close()
		}
		raw, _ := os.ReadFile(p.output())
		return string(raw)
	}
	p.t.Cleanup(func() { stop() })
	return stop
}

// get waits for the service, and gets something from it.
func (p *pc) get(what, token string) string {
	p.t.Helper()
	base := "http://127.0.0.1:" + p.port + "/"
	for begun := time.Now(); ; time.Sleep(50 * time.Millisecond) {
		if answer, err := http.Get(base + "readyz"); err == nil {
			_ = answer.Body.Close()
			if answer.StatusCode == http.StatusOK {
				break
			}
		}
		if time.Since(begun) > time.Minute {
			raw, _ := os.ReadFile(p.output())
			p.t.Fatalf("the service does not answer:\n%s", raw)
		}
	}
	request, err := http.NewRequestWithContext(p.t.Context(), http.MethodGet, base+what, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+token)
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		p.t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	return string(body)
}
