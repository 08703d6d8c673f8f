package demo

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"strings"

	"github.com/medledger/medledger/api/client"
	"github.com/medledger/medledger/events"
)

// person is somebody in the story. All that they have is the service's address and
// a token.
type person struct {
	*client.Client
	id events.ID // the ledger's, of the actor
}

// cast are the people of the story.
type cast struct {
	administrator        person
	doctor, nurse, clerk person // of the clinic; the first two of its ward
	colleague            person // a doctor of the same clinic, of another department
	patient, daughter    person
	insurer, pharmacy    person // outside
	auditor              person
}

// everybody lists the cast, with a name for a file each.
func (c *cast) everybody() map[string]*person {
	return map[string]*person{
		"administrator": &c.administrator, "doctor": &c.doctor, "nurse": &c.nurse, "clerk": &c.clerk,
		"colleague": &c.colleague, "patient": &c.patient, "daughter": &c.daughter,
		"insurer": &c.insurer, "pharmacy": &c.pharmacy, "auditor": &c.auditor,
	}
}

// connections is how the whole cast reaches the service.
func connections() *http.Client {
	return &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: submitters}}
}

// holding is a person with a token, at the present address of the service.
func (s *story) holding(token string) person {
	return person{Client: &client.Client{URL: s.server.url, Token: token, HTTP: s.http}}
}

// moved tells everybody the service's new address.
func (s *story) moved() {
	for _, p := range s.cast.everybody() {
		p.URL = s.server.url
	}
}

// register has the administrator register somebody, and gives them their token.
func (s *story) register(ctx context.Context, r client.Registration, as *person, options ...client.Option) (*client.Registered, error) {
	registered, err := s.cast.administrator.RegisterActor(ctx, r, options...)
	if err != nil {
		return nil, fmt.Errorf("registering a %s: %w", r.Role, err)
	}
	*as = s.holding(registered.Token)
	as.id = registered.ID
	return registered, nil
}

// ward is the name of the department of the doctor and the nurse.
const ward = "Ward 1"

// staff registers those who are there before the first patient comes.
func (s *story) staff(ctx context.Context) error {
	clinic := func(role events.Role, department string) client.Registration {
		return client.Registration{Role: role, Department: department}
	}
	outside := func(role events.Role, organisation string) client.Registration {
		return client.Registration{Role: role, Organisation: organisation}
	}
	for _, r := range []struct {
		as *person
		client.Registration
	}{
		{&s.cast.doctor, clinic(events.RoleClinician, ward)},
		{&s.cast.nurse, clinic(events.RoleNurse, ward)},
		{&s.cast.colleague, clinic(events.RoleClinician, s.elsewhere)},
		{&s.cast.clerk, clinic(events.RoleClerk, "Front desk")},
		{&s.cast.insurer, outside(events.RoleRecipient, "Imaginary Insurance")},
		{&s.cast.pharmacy, outside(events.RoleRecipient, "Invented Pharmacy")},
		{&s.cast.auditor, outside(events.RoleAuditor, "Made-up Auditors")},
	} {
		registered, err := s.register(ctx, r.Registration, r.as)
		if err != nil {
			return err
		}
		if r.as == &s.cast.doctor {
			s.ward = registered.Department
		}
	}
	return nil
}

// readToken reads a file with a token.
func readToken(file string) (string, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("reading the administrator's token: %w", err)
	}
	return strings.TrimSpace(string(text)), nil
}

// leaveTokens leaves everybody's token to the reader of the demo, who may play on.
func (s *story) leaveTokens() error {
	if err := os.MkdirAll(s.file("tokens"), 0o700); err != nil {
		return fmt.Errorf("leaving the tokens: %w", err)
	}
	for name, p := range s.cast.everybody() {
		if err := os.WriteFile(s.file("tokens", name), []byte(p.Token+"\n"), 0o600); err != nil {
			return fmt.Errorf("leaving the tokens: %w", err)
		}
	}
	return nil
}
