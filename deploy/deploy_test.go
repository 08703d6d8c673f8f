package deploy_test

import (
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"github.com/medledger/medledger/api/cli/config"
)

func read(t *testing.T, name string) string {
	t.Helper()
	raw, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// load is what 'medledger config' makes of flags.
func load(t *testing.T, args ...string) *config.Config {
	t.Helper()
	flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
	config.AddFlags(flags)
	if err := flags.Parse(args); err != nil {
		t.Fatal(err)
	}
	c, err := config.Load(config.Sources{
		Flags: flags, LookupEnv: func(string) (string, bool) { return "", false },
		Open: func(name string) (io.ReadCloser, error) { return os.Open(name) },
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

const remake = "make it again: medledger config --sample --dir /var/lib/medledger --custody /var/lib/medledger-custody >deploy/small/medledger.yaml"

// The sample is what the program prints, and the program takes it.
func TestSampleIsOfTheProgram(t *testing.T) {
	name := filepath.Join("small", "medledger.yaml")
	want := load(t, "--dir", "/var/lib/medledger", "--custody", "/var/lib/medledger-custody")
	if got := read(t, name); got != string(want.Sample()) {
		t.Errorf("%s is not what the program prints; %s", name, remake)
	}
	c := load(t, "--config", name)
	if c.Dir != want.Dir || c.Custody != want.Custody || c.Listen != "127.0.0.1:8340" {
		t.Errorf("the sample says %+v", c)
	}
}

// unit is the values of the ledger's unit's keys, in order.
func unit(t *testing.T) map[string][]string {
	t.Helper()
	return values(t, filepath.Join("small", "medledger.service"))
}

// values is the values of a unit's keys, in order.
func values(t *testing.T, name string) map[string][]string {
	t.Helper()
	values := make(map[string][]string)
	for line := range strings.Lines(read(t, name)) {
		line = strings.TrimSuffix(line, "\n")
		if line == "" || strings.HasPrefix(line, "#") || strings.HasPrefix(line, "[") {
			continue
		}
		key, value, found := strings.Cut(line, "=")
		if !found {
			t.Errorf("line %q", line)
		}
		values[key] = append(values[key], value)
	}
	return values
}

func TestUnitIsHardened(t *testing.T) {
	got := unit(t)
	for key, want := range map[string][]string{
		"ExecStart": {"/usr/local/bin/medledger serve --config /etc/medledger/medledger.yaml"},
		"Restart":   {"on-failure"}, "LimitNOFILE": {"65536"}, "LimitCORE": {"0"},
		"User": {"medledger"}, "UMask": {"0077"}, "StateDirectory": {"medledger medledger-custody"}, "StateDirectoryMode": {"0700"},
		"ProtectSystem": {"strict"}, "ReadWritePaths": {"-/mnt/backup"}, "ProtectHome": {"yes"}, "PrivateTmp": {"yes"}, "PrivateDevices": {"yes"},
		"NoNewPrivileges": {"yes"}, "CapabilityBoundingSet": {""}, "MemoryDenyWriteExecute": {"yes"},
		"RestrictAddressFamilies": {"AF_INET AF_INET6"}, "SystemCallFilter": {"@system-service", "~@privileged @resources"},
	} {
		if !slices.Equal(got[key], want) {
			t.Errorf("%s is %q, want %q", key, got[key], want)
		}
	}
}

// The unit gives the program the two folders that the sample names, and room for
// the connections that it allows.
func TestUnitFitsTheSample(t *testing.T) {
	c := load(t, "--config", filepath.Join("small", "medledger.yaml"))
	for i, folder := range strings.Fields(unit(t)["StateDirectory"][0]) {
		if want := []string{c.Dir, c.Custody}[i]; "/var/lib/"+folder != want {
			t.Errorf("the unit makes /var/lib/%s, the sample has %s", folder, want)
		}
	}
	if c.MaxConnections > 65536-1000 {
		t.Errorf("%d connections do not fit into LimitNOFILE", c.MaxConnections)
	}
}

// What the page tells people to type is there.
func TestPageNamesWhatThereIs(t *testing.T) {
	page := read(t, filepath.Join("small", "README.md"))
	for _, heading := range []string{"Install", "Init", "Serve", "TLS", "Firewall", "Backup", "Upgrade"} {
		if !strings.Contains(page, "\n## "+heading+"\n") {
			t.Errorf("the page says nothing on %s", heading)
		}
	}
	// The server may write the backups where the page has them put.
	for _, folder := range unit(t)["ReadWritePaths"] {
		if !strings.Contains(page, " "+strings.TrimPrefix(folder, "-")+"/") {
			t.Errorf("the unit lets the server write %s, which the page does not name", folder)
		}
	}
	for _, setting := range []string{"listen: ", "tls-certificate: ", "tls-key: "} {
		if !strings.Contains(page, setting) || !strings.Contains(read(t, filepath.Join("small", "medledger.yaml")), setting) {
			t.Errorf("%s is not in page and sample", setting)
		}
	}
}

func TestTokenUnitIsHardened(t *testing.T) {
	got := values(t, filepath.Join("token", "medledger-token.service"))
	for key, want := range map[string][]string{
		"User": {"medledger-token"}, "SupplementaryGroups": {"medledger"}, "UMask": {"0077"},
		"RuntimeDirectory": {"medledger-token"}, "RuntimeDirectoryMode": {"0750"}, "StateDirectoryMode": {"0700"},
		"LimitCORE": {"0"}, "MemorySwapMax": {"0"}, "Restart": {"on-failure"}, "RestartPreventExitStatus": {"2 3"},
		"ProtectSystem": {"strict"}, "ReadWritePaths": nil, "ProtectHome": {"yes"}, "PrivateDevices": {"yes"}, "PrivateUsers": nil,
		"NoNewPrivileges": {"yes"}, "CapabilityBoundingSet": {""}, "IPAddressDeny": {"any"}, "RestrictAddressFamilies": {"AF_UNIX"},
		"SystemCallFilter": {"@system-service", "~@privileged @resources", "@chown setrlimit prlimit64"},
	} {
		if !slices.Equal(got[key], want) {
			t.Errorf("%s is %q, want %q", key, got[key], want)
		}
	}
	ledger := values(t, filepath.Join("token", "medledger.conf"))
	if !slices.Equal(ledger["RestrictAddressFamilies"], []string{"AF_UNIX"}) || !slices.Equal(ledger["PrivateUsers"], []string{"no"}) {
		t.Errorf("the ledger's unit cannot see whose the socket is: %q", ledger)
	}
}

// What page and unit type is what the helper takes.
func TestTokenPageNamesWhatThereIs(t *testing.T) {
	page := read(t, filepath.Join("token", "README.md"))
	command := values(t, filepath.Join("token", "medledger-token.service"))["ExecStart"][0]
	for _, text := range []string{page, command} {
		for _, word := range strings.Fields(text) {
			option, found := strings.CutPrefix(word, "--")
			known := []string{"module", "token-label", "pin-file", "allow-uid", "group", "check"}
			others := []string{"system", "home-dir", "shell", "init-token", "free", "label", "so-pin", "pin", "init-pin", "login", "login-type", "now", "so", "to", "config", "dir"}
			if found && option != "" && !slices.Contains(known, option) && (text == command || !slices.Contains(others, option)) {
				t.Errorf("--%s is no option of the helper", option)
			}
		}
	}
	for _, name := range []string{"MODULE", "LABEL"} {
		if !strings.Contains(command, "${"+name+"}") || !strings.Contains(page, name+"=") {
			t.Errorf("%s is not in page and unit", name)
		}
	}
	for _, file := range []string{"settings", "pin"} {
		if !strings.Contains(page, "/etc/medledger-token/"+file) {
			t.Errorf("the page does not make /etc/medledger-token/%s", file)
		}
	}
}
