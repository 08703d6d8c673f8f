package cli

import (
	"testing"

	"github.com/medledger/medledger/api"
	"github.com/medledger/medledger/api/cli/config"
)

// What a flag's help calls the default is what the server does without settings.
func TestDefaultsAreTheServers(t *testing.T) {
	root, _, _ := testRoot()
	c, _, err := root.Find([]string{"serve"})
	if err != nil {
		t.Fatal(err)
	}
	got, err := config.Load(config.Sources{Flags: c.Flags(), LookupEnv: func(string) (string, bool) { return "", false }})
	if err != nil {
		t.Fatal(err)
	}
	if got.MaxConnections != api.DefaultMaxConnections || got.MaxInFlight != api.DefaultMaxInFlight || got.Grace != api.DefaultGrace ||
		got.BodyTimeout != api.DefaultPatience || got.WriteTimeout != api.DefaultPatience {
		t.Errorf("%+v", got)
	}
}
