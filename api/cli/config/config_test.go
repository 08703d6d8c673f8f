package config

import (
	"bytes"
	"io"
	"io/fs"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/spf13/pflag"
)

// sources are settings from flags, an environment and files that exist only here.
func sources(t testing.TB, args []string, env, files map[string]string) Sources {
	t.Helper()
	flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
	AddFlags(flags)
	if err := flags.Parse(args); err != nil {
		t.Fatal(err)
	}
	return Sources{
		Flags:     flags,
		LookupEnv: func(name string) (string, bool) { text, found := env[name]; return text, found },
		Open: func(name string) (io.ReadCloser, error) {
			text, found := files[name]
			if !found {
				return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
			}
			return io.NopCloser(strings.NewReader(text)), nil
		},
	}
}

func load(t testing.TB, args []string, env, files map[string]string) *Config {
	t.Helper()
	c, err := Load(sources(t, args, env, files))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestDefaults(t *testing.T) {
	c := load(t, nil, nil, nil)
	c.origins = nil
	want := &Config{
		Listen: "127.0.0.1:8340", MaxBody: 4 << 30, MaxJSON: 1 << 20, MaxBatch: 1000, MaxInFlight: 1024,
		MaxConnections: 12000, BodyTimeout: 30 * time.Second, WriteTimeout: 30 * time.Second, Grace: 10 * time.Second,
		LogFormat: "text", TokenLifetime: 365 * 24 * time.Hour,
		BackupEvery: day, BackupEpoch: 7 * day, BackupKeep: 35 * day,
	}
	if !reflect.DeepEqual(c, want) {
		t.Errorf("%+v, want %+v", c, want)
	}
}

// The table's defaults are in the form that is printed, and every setting has
// a place of its own.
func TestTable(t *testing.T) {
	c := load(t, nil, nil, nil)
	places := make(map[uintptr]string)
	for i := range table {
		s := &table[i]
		if got := s.field(c).String(); got != s.initial {
			t.Errorf("%s: the default %q prints as %q", s.name, s.initial, got)
		}
		place := reflect.ValueOf(s.field(c)).Field(0).Pointer()
		if other := places[place]; other != "" {
			t.Errorf("%s and %s are one place", s.name, other)
		}
		places[place] = s.name
		if s.help == "" || s.unit == "" || strings.ContainsAny(s.help, "\n#") {
			t.Errorf("%s: help %q, unit %q", s.name, s.help, s.unit)
		}
	}
	if fields := reflect.TypeFor[Config]().NumField() - 1; fields != len(table) {
		t.Errorf("%d fields, %d settings", fields, len(table))
	}
}

func TestPrecedence(t *testing.T) {
	files := map[string]string{"a.yaml": "max-batch: 1\n", "b.yaml": "\n\nmax-batch: 2\n"}
	for _, c := range []struct {
		args   []string
		env    map[string]string
		want   int
		origin string
	}{
		{nil, nil, 1000, "default"},
		{[]string{"--config", "a.yaml"}, nil, 1, "a.yaml:1"},
		{nil, map[string]string{"MEDLEDGER_CONFIG": "b.yaml"}, 2, "b.yaml:3"},
		{nil, map[string]string{"MEDLEDGER_CONFIG": ""}, 1000, "default"},
		{[]string{"--config", "a.yaml"}, map[string]string{"MEDLEDGER_CONFIG": "none"}, 1, "a.yaml:1"},
		{[]string{"--config", "a.yaml"}, map[string]string{"MEDLEDGER_MAX_BATCH": "3"}, 3, "environment MEDLEDGER_MAX_BATCH"},
		{[]string{"--config", "a.yaml", "--max-batch", "4"}, map[string]string{"MEDLEDGER_MAX_BATCH": "3"}, 4, "flag --max-batch"},
		{[]string{"--max-batch", "4", "--max-batch", "1000"}, nil, 1000, "flag --max-batch"},
	} {
		got := load(t, c.args, c.env, files)
		if got.MaxBatch != c.want || got.origins["max-batch"] != c.origin {
			t.Errorf("%v %v: %d from %s, want %d from %s", c.args, c.env, got.MaxBatch, got.origins["max-batch"], c.want, c.origin)
		}
	}
}

// Every setting can be given in each of the three ways.
func TestEverySettingEverySource(t *testing.T) {
	other := map[string]string{
		"dir": "d", "custody": "c", "custody-socket": "s", "custody-user": "998", "listen": "[::1]:1", "tls-certificate": "cert", "tls-key": "key", "max-body": "64KiB",
		"max-json": "2MiB", "max-batch": "7", "max-in-flight": "8", "max-connections": "9", "body-timeout": "1m30s",
		"write-timeout": "1h", "grace": "1s", "log-level": "warn", "log-format": "json", "token-lifetime": "30d",
		"backup-data": "b", "backup-keys": "k", "backup-recipients": "age1x,age1y", "backup-every": "1h", "backup-epoch": "2d", "backup-keep": "3d",
	}
	env := make(map[string]string)
	var args []string
	var file strings.Builder
	for name, text := range other {
		env["MEDLEDGER_"+strings.ToUpper(strings.ReplaceAll(name, "-", "_"))] = text
		args = append(args, "--"+name+"="+text)
		file.WriteString(name + ": '" + text + "'\n")
	}
	files := map[string]string{"f": file.String()}
	for way, c := range map[string]*Config{
		"flags": load(t, args, nil, nil), "environment": load(t, nil, env, nil), "file": load(t, []string{"--config", "f"}, nil, files),
	} {
		for i := range table {
			if got := table[i].field(c).String(); got != other[table[i].name] || got == table[i].initial {
				t.Errorf("%s: %s is %q, want %q", way, table[i].name, got, other[table[i].name])
			}
		}
	}
}

func TestRefusals(t *testing.T) {
	for _, c := range []struct {
		args []string
		env  map[string]string
		file string
		want string
	}{
		{args: []string{"--listen", "8340"}, want: `listen is "8340" (flag --listen): give host:port`},
		{args: []string{"--listen", "h:http"}, want: "give host:port"},
		{args: []string{"--listen", "h:65536"}, want: "give host:port"},
		{env: map[string]string{"MEDLEDGER_LISTEN": ""}, want: `listen is "" (environment MEDLEDGER_LISTEN): give`},
		{file: "\nmax-body: 4GB\n", want: `max-body is "4GB" (f:2): give a size from 1 to 1TiB`},
		{file: "max-body: 1.5GiB", want: "give a size"},
		{file: "max-body: -1", want: "give a size"},
		{file: "max-body: 9999999999999TiB", want: "give a size"},
		{file: "max-body: GiB", want: "give a size"},
		{file: "max-json: 1023", want: "from 1KiB to 1GiB"},
		{file: "max-batch: 0", want: "whole number from 1 to 100000"},
		{file: "max-batch: 0x10", want: "whole number"},
		{file: "max-batch: 1_000", want: "whole number"},
		{file: "max-batch: 4294967297", want: "whole number"},
		{file: "grace: 10", want: "give a duration from 100ms to 1h, such as"},
		{file: "grace: 0s", want: "give a duration"},
		{file: "token-lifetime: 732d", want: "from 1m to 731d"},
		{file: "token-lifetime: 1.5d", want: "give a duration"},
		{file: "token-lifetime: 9999999999999999999d", want: "give a duration"},
		{file: "log-level: INFO", want: "give one of debug, info, warn, error"},
		{file: "log-format: yes", want: "give one of text, json"},
		{file: `dir: "a\nb"`, want: "without the character U+000A"},
		{args: []string{"--dir", "a\xff"}, want: "give it in UTF-8"},
		{file: "lisen: x", want: `f:1: there is no setting "lisen"; allowed are dir, custody, custody-socket`},
		{file: "a: 1\nb: 2", want: `f:2: there is no setting "b"`},
		{file: "grace: 1s\n\ngrace: 2s", want: "f:3: grace is set in line 1 already"},
		{file: "grace:", want: "f:1: grace has no value"},
		{file: "dir: ~", want: "dir has no value"},
		{file: "dir: [a]", want: "one plain value"},
		{file: "dir: {a: b}", want: "one plain value"},
		{file: "dir: &a x\ncustody: *a", want: "one plain value"},
		{file: "max-batch: !!int 3", want: "one plain value"},
		{file: "<<: {dir: x}", want: `there is no setting "<<"`},
		{file: "? [a]\n: b", want: "no name of a setting"},
		{file: "- dir", want: "f:1: want lines of the form 'name: value'"},
		{file: "dir", want: "want lines of the form"},
		{file: "dir: a\n---\ndir: b", want: "goes on after its first document"},
		{file: "dir: 'a", want: "f is no YAML: "},
		{file: "dir: " + strings.Repeat("x", maxFile), want: "more than 65536 bytes"},
		{args: []string{"--config", "nowhere"}, want: "reading the configuration (flag --config): open nowhere"},
		{env: map[string]string{"MEDLEDGER_CONFIG": "nowhere"}, want: "(environment MEDLEDGER_CONFIG): open nowhere"},
		{args: []string{"--tls-key", "k"}, want: "tls-key is set (flag --tls-key) and tls-certificate is not (default): set both"},
		{file: "tls-certificate: c", want: "tls-certificate is set (f:1) and tls-key is not (default)"},
		{file: "dir: a\ncustody: a/b", want: `custody is "a/b" (f:2) and dir is "a" (f:1): neither may lie within the other`},
		{file: "dir: a/b\ncustody: ./a/", want: "neither may lie within"},
		{file: "dir: a\ncustody: b/../a", want: "neither may lie within"},
		{file: "dir: .", want: "neither may lie within"},
		{file: "dir: /", want: "name the folder of the secrets with custody"},
		{file: "backup-data: a", want: "backup-data is set (f:1), but not backup-keys and backup-recipients: a backup wants all three"},
		{file: "backup-keys: a\nbackup-recipients: age1x", want: "backup-keys is set (f:1), backup-recipients is set (f:2), but not backup-data"},
		{file: "backup-every: 8d", want: "backup-every is 8d, backup-epoch 7d and backup-keep 35d: none may be shorter"},
		{file: "backup-keep: 6d", want: "none may be shorter than the one before"},
		{file: "backup-every: 1s", want: "from 1m to 31d"},
		// What a flag overrides must be right all the same.
		{args: []string{"--max-batch", "5"}, file: "max-batch: x", want: `max-batch is "x" (f:1)`},
	} {
		args := c.args
		if c.file != "" {
			args = append([]string{"--config", "f"}, args...)
		}
		got, err := Load(sources(t, args, c.env, map[string]string{"f": c.file}))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v %v %.40q: %v, %v, want %q", args, c.env, c.file, got, err, c.want)
		}
	}
	// Everything is said at once.
	_, err := Load(sources(t, []string{"--listen", "x", "--grace", "y"}, map[string]string{"MEDLEDGER_MAX_BATCH": "z"}, nil))
	if err == nil || strings.Count(err.Error(), "\n") != 2 {
		t.Errorf("three mistakes: %v", err)
	}
}

func TestCustody(t *testing.T) {
	for file, want := range map[string]string{
		"dir: ledger": "ledger.custody", "dir: /var/lib/x/": "/var/lib/x.custody", "dir: a//": "a.custody",
		"dir: a\ncustody: ab": "ab", "dir: a\ncustody: ''": "a.custody", "custody: c": "c", "dir: ..x": "..x.custody",
	} {
		if c := load(t, []string{"--config", "f"}, nil, map[string]string{"f": file}); c.Custody != want {
			t.Errorf("%q: %q, want %q", file, c.Custody, want)
		}
	}
}

// sameValues compares all but where values came from.
func sameValues(a, b *Config) bool {
	x, y := *a, *b
	x.origins, y.origins = nil, nil
	return reflect.DeepEqual(x, y)
}

func TestPrintedFormIsAConfiguration(t *testing.T) {
	files := map[string]string{
		"none": "", "comments": "# dir: x\n",
		"some": "dir: ledger\nmax-body: 65536\nbody-timeout: 90s\nlog-level: debug\ntoken-lifetime: 8760h\ngrace: 59m0.5s\n",
	}
	for _, args := range [][]string{
		nil, {"--config", "none"}, {"--config", "comments"}, {"--config", "some"}, {"--config", "some", "--dir", "a: b # c"},
		{"--dir", "null"}, {"--dir", "-"}, {"--dir", "'"}, {"--dir", `"\`}, {"--dir", "é 日本"}, {"--dir", "12"}, {"--dir", "true"},
		{"--dir", strings.Repeat("long name ", 100)}, {"--dir", " x "}, {"--dir", "~"}, {"--dir", "*x"}, {"--dir", "0x1f"},
	} {
		c := load(t, args, map[string]string{"MEDLEDGER_LISTEN": "h:1"}, files)
		files["printed"] = string(c.YAML())
		again := load(t, []string{"--config", "printed"}, nil, files)
		if !sameValues(c, again) {
			t.Errorf("%v:\n%+v\n%+v\n%s", args, c, again, c.YAML())
		}
		if !bytes.Contains(c.YAML(), []byte("\nlisten: h:1 # environment MEDLEDGER_LISTEN\n")) {
			t.Errorf("no origin in\n%s", c.YAML())
		}
		files["sample"] = string(c.Sample())
		if sampled := load(t, []string{"--config", "sample"}, nil, files); !sameValues(c, sampled) {
			t.Errorf("%v:\n%+v\n%+v\n%s", args, c, sampled, c.Sample())
		}
	}
	files["odd\nname"] = "dir: x"
	if c := load(t, []string{"--config", "odd\nname"}, nil, files); !bytes.HasPrefix(c.YAML(), []byte(`dir: x # "odd\nname":1`+"\n")) {
		t.Errorf("printed %s", c.YAML())
	}
}

func TestUsageAndSampleAreNarrow(t *testing.T) {
	c := load(t, nil, nil, nil)
	for _, text := range []string{Usage(), string(c.Sample())} {
		for line := range strings.Lines(text) {
			if utf8.RuneCountInString(line) > columns+1 || strings.HasSuffix(line, " \n") || strings.Contains(line, "\t") {
				t.Errorf("line %q", line)
			}
		}
		for i := range table {
			if !strings.Contains(text, table[i].name) {
				t.Errorf("%s is missing in %s", table[i].name, text)
			}
		}
	}
}

func FuzzFile(f *testing.F) {
	f.Add([]byte("dir: x\nmax-body: 4GiB # c\n"))
	f.Add([]byte("listen: '[::1]:1'\ntls-key: \"\\u00e9\"\ntls-certificate: a b\n"))
	f.Add([]byte("&a dir: *a\n---\n"))
	f.Add([]byte("dir: |\n x\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		files := map[string]string{"f": string(raw)}
		c, err := Load(sources(t, []string{"--config", "f"}, nil, files))
		if err != nil {
			return
		}
		files["again"], files["sample"] = string(c.YAML()), string(c.Sample())
		for _, name := range []string{"again", "sample"} {
			again, err := Load(sources(t, []string{"--config", name}, nil, files))
			if err != nil || !sameValues(c, again) {
				t.Errorf("%q became\n%s\n%v\n%+v\n%+v", raw, files[name], err, c, again)
			}
		}
	})
}

func FuzzValues(f *testing.F) {
	for _, s := range []string{"4GiB", "365d", "1h30m", "info", "h:1", "100ms", "0", "59m0.5s"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for i := range table {
			var c, again Config
			if table[i].field(&c).set(s) != nil {
				continue
			}
			printed := table[i].field(&c).String()
			if err := table[i].field(&again).set(printed); err != nil || !sameValues(&c, &again) {
				t.Errorf("%s: %q prints as %q, which is %v, %v", table[i].name, s, printed, again, err)
			}
		}
	})
}
