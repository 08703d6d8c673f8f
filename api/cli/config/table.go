package config

import (
	"math"
	"strings"
	"time"
)

const (
	kib = int64(1) << 10
	mib = int64(1) << 20
	gib = int64(1) << 30
	tib = int64(1) << 40
	day = 24 * time.Hour
)

// setting is a row of the table: everything that is known of one setting. Help,
// environment, file, printed form and sample are made of it.
type setting struct {
	name    string
	holder  string // stands for the value in the help
	unit    string // what the value is, or counts
	initial string // the default, in the form in which it is printed
	help    string // what it is for, in one line
	field   func(*Config) field
}

func (s *setting) env() string {
	return "MEDLEDGER_" + strings.ToUpper(strings.ReplaceAll(s.name, "-", "_"))
}

// table has every setting, in the order in which they are shown. It is not
// changed.
var table = []setting{
	{"dir", "D", "path", "", "the ledger's data folder",
		func(c *Config) field { return text{&c.Dir} }},
	{"custody", "D", "path", "", "the folder of the secrets, outside the data folder; if empty, the data folder's name with .custody added",
		func(c *Config) field { return text{&c.Custody} }},
	{"custody-socket", "FILE", "path", "", "the socket of medledger-token, if the root key is in a token; if empty, it is in the folder of the secrets",
		func(c *Config) field { return text{&c.CustodySocket} }},
	{"custody-user", "N", "user id", "0", "the user that medledger-token runs as, who is believed besides root and one's own",
		func(c *Config) field { return count{&c.CustodyUser, 0, math.MaxInt32} }},
	{"listen", "ADDR", "host:port", "127.0.0.1:8340", "where to listen; port 0 takes a free one",
		func(c *Config) field { return address{&c.Listen} }},
	{"tls-certificate", "FILE", "path", "", "PEM file with the certificate and its chain, which turns TLS on; a changed file is read again",
		func(c *Config) field { return text{&c.TLSCertificate} }},
	{"tls-key", "FILE", "path", "", "PEM file with the certificate's private key",
		func(c *Config) field { return text{&c.TLSKey} }},
	{"max-body", "SIZE", "bytes", "4GiB", "the largest content",
		func(c *Config) field { return size{&c.MaxBody, 1, tib} }},
	{"max-json", "SIZE", "bytes", "1MiB", "the largest JSON document, but for a batch, which may have 64MiB",
		func(c *Config) field { return size{&c.MaxJSON, kib, gib} }},
	{"max-batch", "N", "records", "1000", "the most records in a batch",
		func(c *Config) field { return count{&c.MaxBatch, 1, 100_000} }},
	{"max-in-flight", "N", "requests", "1024", "requests that are worked on at a time; others are told to come again (429)",
		func(c *Config) field { return count{&c.MaxInFlight, 1, 1_000_000} }},
	{"max-connections", "N", "connections", "12000", "connections that are open at a time; others wait",
		func(c *Config) field { return count{&c.MaxConnections, 1, 1_000_000} }},
	{"body-timeout", "TIME", "duration", "30s", "time in which a client must send the next bytes of a request",
		func(c *Config) field { return duration{&c.BodyTimeout, 100 * time.Millisecond, time.Hour} }},
	{"write-timeout", "TIME", "duration", "30s", "time in which a client must take the next bytes of an answer",
		func(c *Config) field { return duration{&c.WriteTimeout, 100 * time.Millisecond, time.Hour} }},
	{"grace", "TIME", "duration", "10s", "time that running requests get when the server stops",
		func(c *Config) field { return duration{&c.Grace, 100 * time.Millisecond, time.Hour} }},
	{"log-level", "LEVEL", "level", "info", "the least level of the messages: debug, info, warn or error",
		func(c *Config) field { return level{&c.LogLevel} }},
	{"log-format", "FORM", "form", "text", "the form of the messages: text or json",
		func(c *Config) field { return choice{&c.LogFormat, []string{"text", "json"}} }},
	{"backup-data", "D", "path", "", "the folder of backups' data side; with backup-keys and backup-recipients, the server takes backups",
		func(c *Config) field { return text{&c.BackupData} }},
	{"backup-keys", "D", "path", "", "the folder of backups' key side, best on another medium",
		func(c *Config) field { return text{&c.BackupKeys} }},
	{"backup-recipients", "LIST", "age recipients", "", "whom backups are encrypted to: age1…, separated by commas; 'medledger backup identity' makes one",
		func(c *Config) field { return text{&c.BackupRecipients} }},
	{"backup-every", "TIME", "duration", "1d", "how often a backup is taken",
		func(c *Config) field { return duration{&c.BackupEvery, time.Minute, 31 * day} }},
	{"backup-epoch", "TIME", "duration", "7d", "how long an epoch of keys is in use",
		func(c *Config) field { return duration{&c.BackupEpoch, time.Minute, 366 * day} }},
	{"backup-keep", "TIME", "duration", "35d", "how long after it began an epoch's key is destroyed; until then what was destroyed could be brought back with it",
		func(c *Config) field { return duration{&c.BackupKeep, time.Minute, 3660 * day} }},
	{"token-lifetime", "TIME", "duration", "365d", "time for which a new token is good; whole days, or a form like 12h30m",
		func(c *Config) field { return duration{&c.TokenLifetime, time.Minute, 731 * day} }},
}

// find returns the setting of a name, or nil.
func find(name string) *setting {
	for i := range table {
		if table[i].name == name {
			return &table[i]
		}
	}
	return nil
}

// names lists all settings.
func names() string {
	list := make([]string, len(table))
	for i := range table {
		list[i] = table[i].name
	}
	return strings.Join(list, ", ")
}
