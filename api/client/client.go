package client

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
)

// Client gives commands to a ledger in the name of whoever holds the token. Its
// methods may be called from several goroutines at once.
type Client struct {
	URL   string       // of the server, without a path
	Token string       // none if ""
	HTTP  *http.Client // http.DefaultClient if nil
}

// Error is an answer that is not a success.
type Error struct {
	Problem
	RequestID string // X-Request-Id of the answer
}

func (e *Error) Error() string {
	if e.Reason != "" {
		return fmt.Sprintf("%d %s: %s (%s)", e.Status, e.Title, e.Detail, e.Reason)
	}
	return fmt.Sprintf("%d %s: %s", e.Status, e.Title, e.Detail)
}

// Option changes a request.
type Option func(http.Header)

// WithKey sets the Idempotency-Key: a repeated command with the same key is
// answered what it was answered the first time.
func WithKey(key string) Option {
	return func(h http.Header) {
		h.Set("Idempotency-Key", `"`+strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(key)+`"`)
	}
}

// WithETag sets If-Match: the command is done only if the record is as it was
// when it had this ETag.
func WithETag(etag string) Option {
	return func(h http.Header) { h.Set("If-Match", etag) }
}

// Bounds of what is read of an answer.
const (
	maxAnswer  = 256 << 20
	maxProblem = 64 << 10
)

// call is a request.
type call struct {
	method, path string
	query        url.Values
	contentType  string
	body         io.Reader
	options      []Option
}

// do makes a request; the caller closes the response's body. Every answer but a
// 2xx is an *Error.
func (c *Client) do(ctx context.Context, q call) (*http.Response, error) {
	target := strings.TrimSuffix(c.URL, "/") + q.path
	if len(q.query) > 0 {
		target += "?" + q.query.Encode()
	}
	request, err := http.NewRequestWithContext(ctx, q.method, target, q.body)
	if err != nil {
		return nil, fmt.Errorf("calling the ledger: %w", err)
	}
	if c.Token != "" {
		request.Header.Set("Authorization", "Bearer "+c.Token)
	}
	if q.contentType != "" {
		request.Header.Set("Content-Type", q.contentType)
	}
	for _, option := range q.options {
		option(request.Header)
	}
	client := c.HTTP
	if client == nil {
		client = http.DefaultClient
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, fmt.Errorf("calling the ledger: %w", err)
	}
	if response.StatusCode/100 != 2 {
		return nil, failure(response)
	}
	return response, nil
}

// failure reads the problem of an answer and closes it.
func failure(response *http.Response) error {
	defer response.Body.Close()
	e := &Error{RequestID: response.Header.Get("X-Request-Id")}
	if kind, _, _ := mime.ParseMediaType(response.Header.Get("Content-Type")); kind == "application/problem+json" {
		text, err := io.ReadAll(io.LimitReader(response.Body, maxProblem))
		if err == nil {
			err = json.Unmarshal(text, &e.Problem)
		}
		if err != nil {
			e.Detail = "the problem could not be read"
		}
	}
	// What the status line says counts, also if something between answered.
	e.Status, e.Title = response.StatusCode, http.StatusText(response.StatusCode)
	return e
}

// decode makes a request and reads its JSON answer into out, unless that is nil.
func (c *Client) decode(ctx context.Context, q call, out any) error {
	response, err := c.do(ctx, q)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer+1))
	if err != nil {
		return fmt.Errorf("reading the ledger's answer: %w", err)
	}
	if len(text) > maxAnswer {
		return fmt.Errorf("the ledger's answer is over %d bytes", maxAnswer)
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(text, out); err != nil {
		return fmt.Errorf("reading the ledger's answer: %w", err)
	}
	return nil
}

// command sends in as JSON, or nothing if it is nil, and reads a T.
func command[T any](ctx context.Context, c *Client, method, path string, in any, options []Option) (*T, error) {
	q := call{method: method, path: path, options: options}
	if in != nil {
		body, err := json.Marshal(in)
		if err != nil {
			return nil, fmt.Errorf("writing the request: %w", err)
		}
		q.contentType, q.body = "application/json", bytes.NewReader(body)
	}
	out := new(T)
	if err := c.decode(ctx, q, out); err != nil {
		return nil, err
	}
	return out, nil
}
