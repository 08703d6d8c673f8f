package ledger

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/verifier/decision"
	"github.com/medledger/medledger/verifier/life"
)

// tokenPrefix begins every token, so that people and scanners for leaked secrets
// know one when they see it.
const tokenPrefix = "mlt_"

var tokenEncoding = base64.RawURLEncoding.Strict()

// MaxTokenLifetime is how long a token is worth something at most.
const MaxTokenLifetime = 2 * 366 * 24 * time.Hour

// Identity is somebody who logged in.
type Identity struct {
	ActorID events.ID
	Token   events.ID // what they logged in with
	life.Actor
}

// Authenticate tells whose a token is. It answers ErrUnauthenticated if it is
// nobody's, revoked or expired, and does not say which.
func (l *Ledger) Authenticate(secret string) (Identity, error) {
	digest, ok := tokenDigest(secret)
	if !ok {
		return Identity{}, ErrUnauthenticated
	}
	var who Identity
	var live bool
	now := events.At(l.config.Clock())
	l.view(func(s *life.State) {
		// The digest is looked up in a map: what the time of that tells of it helps
		// nobody to find 32 bytes with this digest.
		if who.ActorID, who.Token, live = s.Holder(digest); live {
			live = alive(s, who.ActorID, who.Token, max(now, s.Head().Time))
			who.Actor, _ = s.Actor(who.ActorID)
		}
	})
	if !live {
		return Identity{}, ErrUnauthenticated
	}
	return who, nil
}

// alive reports whether a token of an actor is worth something at a moment.
func alive(s *life.State, actor, token events.ID, at events.Timestamp) bool {
	a, _ := s.Actor(actor)
	t, ok := a.Token(token)
	return ok && !t.Revoked && at < t.Expires
}

func tokenDigest(secret string) (events.Digest, bool) {
	text, ok := strings.CutPrefix(secret, tokenPrefix)
	if !ok {
		return events.Digest{}, false
	}
	raw, err := tokenEncoding.DecodeString(text)
	if err != nil || len(raw) != sha256.Size || len(text) != tokenEncoding.EncodedLen(sha256.Size) {
		return events.Digest{}, false
	}
	return sha256.Sum256(raw), true
}

// newToken makes a token.
func (l *Ledger) newToken() (secret string, id events.ID, digest events.Digest, err error) {
	raw := make([]byte, 32)
	if _, err = io.ReadFull(l.config.Random, raw); err != nil {
		return "", id, digest, fmt.Errorf("reading randomness for a token: %w", err)
	}
	id, err = l.newID()
	return tokenPrefix + tokenEncoding.EncodeToString(raw), id, sha256.Sum256(raw), err
}

// IssueToken gives an actor a token, which is returned this once: if the command
// was given before, the secret is "". Its id is in the result's event.
func (l *Ledger) IssueToken(ctx context.Context, c Command, actor events.ID, expires events.Timestamp) (*Result, string, error) {
	secret, id, digest, err := l.newToken()
	if err != nil {
		return nil, "", err
	}
	if expires > events.At(l.config.Clock()).Add(MaxTokenLifetime) {
		return nil, "", ErrLifetime
	}
	request := decision.Request{Action: events.ActionIssueToken, Actor: c.Actor, Whom: actor, Until: expires}
	result, err := act(ctx, l, c, request, func(_ *life.State, _ decision.Request, d events.Decision) (events.ID, events.Data, error) {
		return actor, &events.TokenIssued{By: c.Actor, Decision: d, Digest: digest, Expires: expires, Token: id}, nil
	}, func(subject events.ID, d *events.TokenIssued) bool {
		if d.Token != id {
			secret = ""
		}
		return subject == actor
	})
	if err != nil {
		return nil, "", err
	}
	return result, secret, nil
}

// Tokens lists an actor's tokens, oldest first, for those who may issue them: so that
// one whose id nobody noted can be revoked.
func (l *Ledger) Tokens(ctx context.Context, c Command, actor events.ID) ([]life.Token, error) {
	later := events.At(l.config.Clock()).Add(MaxTokenLifetime)
	request := decision.Request{Action: events.ActionIssueToken, Actor: c.Actor, Whom: actor, Until: later}
	if err := l.ask(ctx, c, request); err != nil {
		return nil, err
	}
	whose, _ := l.Actor(actor)
	return whose.Tokens, nil
}

// RevokeToken makes a token worthless: when it returns, whatever was being
// released under it has ended.
func (l *Ledger) RevokeToken(ctx context.Context, c Command, actor, token events.ID) (*Result, error) {
	request := decision.Request{Action: events.ActionRevokeToken, Actor: c.Actor, Whom: actor, Item: token}
	return act(ctx, l, c, request, func(_ *life.State, _ decision.Request, d events.Decision) (events.ID, events.Data, error) {
		return actor, &events.TokenRevoked{By: c.Actor, Decision: d, Token: token}, nil
	}, func(subject events.ID, d *events.TokenRevoked) bool { return subject == actor && d.Token == token })
}

// IssueOnTheMachine gives an administrator a token without anybody's asking, as
// only somebody may who uses the ledger's own machine. Zero is the first
// administrator. The event says how it came about.
func (l *Ledger) IssueOnTheMachine(ctx context.Context, administrator events.ID, lifetime time.Duration) (*Result, string, error) {
	if administrator.IsZero() {
		founding, err := l.Founding(ctx)
		if err != nil {
			return nil, "", err
		}
		if founding == nil {
			return nil, "", ErrEmpty
		}
		administrator = founding.Administrator
	}
	if lifetime <= 0 || lifetime > MaxTokenLifetime {
		return nil, "", ErrLifetime
	}
	secret, id, digest, err := l.newToken()
	if err != nil {
		return nil, "", err
	}
	result, err := l.submit(ctx, &proposal{decide: func(s *life.State, now moment) (events.ID, events.Data, error) {
		if a, ok := s.Actor(administrator); !ok || a.Role != events.RoleAdmin {
			return events.ID{}, nil, ErrNoAdministrator
		}
		return administrator, &events.TokenIssued{
			Decision: events.Decision{Position: now.index, Rule: decision.OnTheMachine, Rules: decision.Version},
			Digest:   digest, Expires: now.time.Add(lifetime), Token: id,
		}, nil
	}})
	if err != nil {
		return nil, "", err
	}
	return result, secret, nil
}
