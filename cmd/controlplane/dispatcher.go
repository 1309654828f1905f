package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/pregoi/provision-tenant/internal/provision"
)

// A remoteDispatcher is a dispatcher that serves elsewhere. It starts one run per attempt
// however often it is told.
type remoteDispatcher struct {
	url    string // where its routes begin
	key    string
	client *http.Client
}

// dispatcherTime is how long it may take to answer: it may wait for GitHub's pace.
const dispatcherTime = time.Minute

func newDispatcher(address, key string) (*remoteDispatcher, error) {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.User != nil || u.Scheme != "http" && u.Scheme != "https" {
		return nil, usage("DISPATCHER_URL is not like https://dispatcher.example.com")
	}
	return &remoteDispatcher{strings.TrimSuffix(u.String(), "/") + "/dispatch", key, &http.Client{
		Timeout: dispatcherTime,
		// The key is for this host alone.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// trigger is a [trigger]. 200 names the run; after 202 the run's first event does.
func (d *remoteDispatcher) trigger(ctx context.Context, j provision.Job, attempt int) (runID, runURL string, err error) {
	body, err := message(j, attempt)
	if err != nil {
		return "", "", err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, d.url, bytes.NewReader(body))
	if err != nil {
		return "", "", err
	}
	req.Header.Set("Authorization", "Bearer "+d.key)
	req.Header.Set("Content-Type", "application/json")
	resp, err := d.client.Do(req)
	if err != nil {
		if u := (*url.Error)(nil); errors.As(err, &u) {
			err = u.Err
		}
		return "", "", &dispatcherError{status: 0, err: provision.Errorf(provision.Busy, "dispatcher: %w", err)}
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	var run struct {
		ID      int64  `json:"run_id"`
		URL     string `json:"run_url"`
		HTMLURL string `json:"html_url"`
	}
	switch {
	case resp.StatusCode == http.StatusAccepted:
		return "", "", nil
	case resp.StatusCode != http.StatusOK:
		return "", "", refusedBy(resp, data)
	case err != nil || json.Unmarshal(data, &run) != nil:
		return "", "", &dispatcherError{err: provision.Errorf(provision.Busy, "dispatcher answered 200 with something else than a run")}
	case run.ID == 0:
		return "", "", nil
	}
	return strconv.FormatInt(run.ID, 10), cmp.Or(run.HTMLURL, run.URL), nil
}

// message is the ProvisionQueueMessage of an attempt of a job.
func message(j provision.Job, attempt int) ([]byte, error) {
	j.Attempt = attempt
	return json.Marshal(j.Message())
}

// A dispatcherError is an answer of a dispatcher, or that there was none.
type dispatcherError struct {
	status int // 0 for none
	at     time.Time
	err    *provision.Error
}

func (e *dispatcherError) Error() string { return e.err.Error() }
func (e *dispatcherError) Unwrap() error { return e.err }

// NotBefore is when trying again has a chance; zero where it has not told.
func (e *dispatcherError) NotBefore() time.Time { return e.at }

// Ambiguous reports whether there may be a run.
func (e *dispatcherError) Ambiguous() bool {
	return e.status < 400 || e.status >= 500 && e.status != 503
}

// refusedBy classifies what a dispatcher has answered, and takes over its words.
func refusedBy(resp *http.Response, data []byte) error {
	var p struct {
		Detail string `json:"detail"`
		Error  string `json:"error"`
		Next   string `json:"next_action"`
	}
	_ = json.Unmarshal(data, &p) // what is no JSON has no words
	text := fmt.Sprintf("dispatcher answered %d %s", resp.StatusCode, http.StatusText(resp.StatusCode))
	if words := strings.Join(strings.Fields(cmp.Or(p.Detail, p.Error)), " "); words != "" {
		text += ": " + strings.ToValidUTF8(words[:min(len(words), 2000)], "")
	}
	e := &dispatcherError{status: resp.StatusCode, err: &provision.Error{Class: provision.Invalid, Text: text, Next: p.Next}}
	switch s := resp.StatusCode; {
	case s == http.StatusUnauthorized || s == http.StatusForbidden:
		e.err.Class, e.err.Next = provision.Denied, cmp.Or(p.Next, "check DISPATCHER_API_KEY")
	case s == http.StatusConflict:
		e.err.Class = provision.Conflict
	case s == http.StatusTooManyRequests || s == http.StatusRequestTimeout || s >= 500:
		e.err.Class = provision.Busy
		if n, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && n > 0 && n <= 24*3600 {
			e.at = time.Now().Add(time.Duration(n) * time.Second)
		}
	case s < 400:
		e.err.Next = "check DISPATCHER_URL: it redirects, and the key is not sent on"
	}
	return e
}
