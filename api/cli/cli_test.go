package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// everyCommand calls f with every command, hidden ones too.
func everyCommand(c *cobra.Command, f func(*cobra.Command)) {
	f(c)
	for _, sub := range c.Commands() {
		everyCommand(sub, f)
	}
}

func testRoot() (root *cobra.Command, out, messages *bytes.Buffer) {
	out, messages = new(bytes.Buffer), new(bytes.Buffer)
	root = (&program{out: out, messages: messages}).newRoot()
	root.SetOut(out)
	root.SetErr(messages)
	return root, out, messages
}

func TestHelp(t *testing.T) {
	root, _, _ := testRoot()
	everyCommand(root, func(c *cobra.Command) {
		path := c.CommandPath()
		args := strings.Fields(path)[1:]
		var texts []string
		for _, asked := range [][]string{append(args[:len(args):len(args)], "--help"), append([]string{"help"}, args...)} {
			root, out, messages := testRoot()
			root.SetArgs(asked)
			if err := root.Execute(); err != nil || messages.Len() > 0 {
				t.Errorf("%v: %v, %s", asked, err, messages)
			}
			texts = append(texts, out.String())
		}
		text := texts[0]
		if texts[1] != text {
			t.Errorf("%s: 'help' and --help differ", path)
		}
		if !strings.Contains(text, "Usage:\n\n  "+path) || !strings.HasSuffix(text, "\n") || strings.HasPrefix(text, "\n") {
			t.Errorf("%s: the text is not in our form:\n%s", path, text)
		}
		for line := range strings.Lines(text) {
			if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > 80 || strings.Contains(line, "\t") {
				t.Errorf("%s: %d columns: %s", path, n, line)
			}
		}
		c.LocalFlags().VisitAll(func(f *pflag.Flag) {
			if f.Name != "help" && !f.Hidden && !strings.Contains(text, "--"+f.Name) {
				t.Errorf("%s: the help does not explain --%s", path, f.Name)
			}
		})
		for _, foreign := range []string{"klog", "alsologtostderr", "stderrthreshold", "logtostderr", "vmodule", "mysql", "postgresql"} {
			if strings.Contains(text, foreign) {
				t.Errorf("%s: the help speaks of %s", path, foreign)
			}
		}
		if c == root {
			return
		}
		if listed := strings.Contains(c.Parent().Long, "  "+c.Name()+" "); c.Short == "" || listed == c.Hidden {
			t.Errorf("%s is in the list of its parent: %v, hidden: %v", path, listed, c.Hidden)
		}
	})
}

func TestWrongUsage(t *testing.T) {
	file := filepath.Join(t.TempDir(), "x")
	for _, c := range []struct {
		args []string
		want string
	}{
		{nil, "no command was given"},
		{[]string{"seve"}, `there is no command "seve", but "serve"`},
		{[]string{"xyzzy"}, `there is no command "xyzzy"`},
		{[]string{"help", "xyzzy"}, `there is no command "xyzzy"`},
		{[]string{"help", "keys", "xyzzy"}, `there is no command "xyzzy"; see 'medledger keys --help'`},
		{[]string{"completion"}, `there is no command "completion"`},
		{[]string{"keys"}, "no command was given; see 'medledger keys --help'"},
		{[]string{"keys", "rotat"}, `there is no command "rotat", but "rotate"`},
		{[]string{"--stderrthreshold=INFO"}, "unknown flag"},
		{[]string{"serve", "-v=9"}, "unknown shorthand flag"},
		{[]string{"init"}, `"origin" not set; see 'medledger init --help'`},
		{[]string{"init", "--origin", "a"}, "name one with --dir D, MEDLEDGER_DIR"},
		{[]string{"init", "--dir", file}, `"origin" not set`},
		{[]string{"init", "--dir", file, "--origin", "Ada Lovelace"}, "origin has 'A' at byte 0"},
		{[]string{"init", "--dir", file, "--origin", ""}, "origin of 0 bytes"},
		{[]string{"init", "--dir", file, "--origin", "a", "more"}, `"more" is too much`},
		{[]string{"serve", "--dir"}, "flag needs an argument"},
		{[]string{"serve"}, "name one with --dir D, MEDLEDGER_DIR"},
		{[]string{"serve", "--dir", file, "--listen", "8340"}, `listen is "8340" (flag --listen): give host:port`},
		{[]string{"serve", "--dir", file, "--tls-key", "k"}, "set both for TLS, or neither; see 'medledger serve --help'"},
		{[]string{"serve", "--config", file}, "reading the configuration (flag --config)"},
		{[]string{"config", "--grace", "soon"}, `grace is "soon" (flag --grace): give a duration`},
		{[]string{"serve", "--dir", file, "--bogus"}, "unknown flag: --bogus; see 'medledger serve --help'"},
		{[]string{"export", "--dir", file}, "name one file to write, not 0"},
		{[]string{"export", "--dir", file, "a", "b"}, "name one file to write, not 2"},
		{[]string{"export", file}, "name one with --dir D"},
		{[]string{"rebuild"}, "name one with --dir D"},
		{[]string{"keys", "rotate"}, "name one with --dir D"},
		{[]string{"backup", "run", "--config", file}, "reading the configuration (flag --config)"},
		{[]string{"version", "1"}, `"1" is too much`},
	} {
		root, out, _ := testRoot()
		root.SetArgs(c.args)
		err := root.Execute()
		if !errors.As(err, new(*usageError)) || !strings.Contains(describe(err), c.want) {
			t.Errorf("%v: %v, want %s", c.args, err, c.want)
		}
		if out.Len() > 0 {
			t.Errorf("%v: data on a usage error: %s", c.args, out)
		}
	}
	if _, err := os.Stat(file); err == nil {
		t.Error("a usage error made a folder")
	}
}

func TestDescribe(t *testing.T) {
	for _, c := range []struct {
		err  error
		want string
	}{
		{errors.New("bad disk; buy another\n"), "bad disk; buy another"},
		{errors.Join(errors.New("one"), errors.New("two")), "one; two"},
		{fmt.Errorf("making: %w", context.Canceled), "making: context canceled; it was interrupted; run the command again"},
		{&os.PathError{Op: "open", Path: "x", Err: os.ErrPermission}, "open x: permission denied; run the command as a user who may"},
	} {
		if got := describe(c.err); got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
}

func TestTrilliansSmallTalkIsDropped(t *testing.T) {
	var lines bytes.Buffer
	logger := slog.New(errorsOnly{slog.NewTextHandler(&lines, nil)}).With("a", 1).WithGroup("g")
	logger.Info("sequenced 1 leaves")
	logger.Warn("fresh log")
	if lines.Len() > 0 {
		t.Errorf("passed on: %s", &lines)
	}
	logger.Error("failed")
	if !strings.Contains(lines.String(), "failed") {
		t.Error("an error was dropped")
	}
}

func TestWriteFile(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "file")
	put := func(text string) func(io.Writer) error {
		return func(w io.Writer) error {
			_, err := io.WriteString(w, text)
			return err
		}
	}
	holds := func(want string) {
		t.Helper()
		if got, err := os.ReadFile(name); err != nil || string(got) != want {
			t.Errorf("the file holds %q, %v, want %q", got, err, want)
		}
		if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
			t.Errorf("the folder holds %v, %v", entries, err)
		}
	}
	if err := os.WriteFile(name+".tmp", []byte("left by a crash, and longer than what comes"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := writeFile(name, false, put("one")); err != nil {
		t.Fatal(err)
	}
	holds("one")
	if err := writeFile(name, false, put("two")); !errors.Is(err, errFileExists) {
		t.Errorf("replaced without being told to: %v", err)
	}
	holds("one")
	broken := errors.New("broken")
	err := writeFile(name, true, func(w io.Writer) error { return errors.Join(put("half")(w), broken) })
	if !errors.Is(err, broken) {
		t.Errorf("error %v", err)
	}
	holds("one")
	if err := writeFile(name, true, put("three")); err != nil {
		t.Fatal(err)
	}
	holds("three")
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
	// Somebody else makes the file meanwhile.
	err = writeFile(name, false, func(io.Writer) error { return os.WriteFile(name, []byte("theirs"), 0o600) })
	if !errors.Is(err, errFileExists) {
		t.Errorf("replaced somebody else's: %v", err)
	}
	holds("theirs")
	for _, bad := range []string{dir, filepath.Join(dir, "none", "file"), os.DevNull} {
		if err := writeFile(bad, true, put("x")); err == nil {
			t.Errorf("wrote %s", bad)
		}
	}
}

// The program itself has nothing to get wrong.
func TestMainIsShort(t *testing.T) {
	source, err := os.ReadFile("../../main.go")
	if err != nil {
		t.Fatal(err)
	}
	if n := bytes.Count(source, []byte("\n")); n >= 40 {
		t.Errorf("main.go has %d lines", n)
	}
}
