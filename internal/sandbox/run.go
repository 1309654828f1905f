package sandbox

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/pregoi/provision-tenant/internal/controlplane"
	"github.com/pregoi/provision-tenant/internal/provision"
)

// Run sends one message through a sandbox that is up, by its dispatcher, and follows the
// run to its end.
func (a Addresses) Run(ctx context.Context, out io.Writer, live bool, message []byte) error {
	job, err := provision.ParseMessage(message, false)
	if err != nil {
		return err
	}
	t := newTimeline(out, live)
	l := t.lane(job.TenantID)
	t.set(l, "enqueue", provision.Skipped, 0, "the message came from you")
	started := time.Now()
	t.set(l, "dispatch", provision.Started, 0, "")
	runID, err := a.dispatch(ctx, message)
	if err != nil {
		t.set(l, "dispatch", provision.Failed, time.Since(started), err.Error())
		return err
	}
	t.set(l, "dispatch", provision.Succeeded, time.Since(started), fmt.Sprint("run ", runID))
	stop := t.keepDrawing()
	conclusion, err := a.followRun(ctx, t, l, job.ID, runID)
	stop()
	page := fmt.Sprintf("%s/%s/actions/runs/%d", a.GitHub, repository, runID)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "\nrun %d ended with %s; its log and summary are at %s\n", runID, conclusion, page)
	if conclusion != "success" {
		return provision.Errorf(provision.Internal, "run %d ended with %s", runID, conclusion)
	}
	return nil
}

// dispatch sends the message with the dispatcher, as an operator would.
func (a Addresses) dispatch(ctx context.Context, message []byte) (runID int64, err error) {
	cmd := exec.CommandContext(ctx, filepath.Join(a.Programs, "dispatcher"), "dispatch", "--json", "-")
	cmd.Env = append(a.environment(), "PATH="+os.Getenv("PATH"), "HOME="+os.Getenv("HOME"))
	cmd.Stdin = bytes.NewReader(message)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	answer, err := cmd.Output()
	if err != nil {
		return 0, fmt.Errorf("dispatcher: %w: %s", err, strings.TrimSpace(stderr.String()))
	}
	var run struct {
		ID int64 `json:"run_id"`
	}
	if err := json.Unmarshal(answer, &run); err != nil || run.ID == 0 {
		return 0, fmt.Errorf("dispatcher named no run: %s", answer)
	}
	return run.ID, nil
}

// followRun shows the job's events until the run has ended, and returns its conclusion.
func (a Addresses) followRun(ctx context.Context, t *timeline, l *lane, jobID string, runID int64) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, followTime)
	defer cancel()
	cp := &controlplane.Client{URL: a.ControlPlane, Key: a.InternalAPIKey}
	tick := time.NewTicker(pollTime)
	defer tick.Stop()
	for {
		conclusion, err := a.conclusion(ctx, runID)
		if err != nil {
			return "", err
		}
		events, err := cp.Trace(ctx, jobID)
		if err != nil && provision.ClassOf(err) != provision.NotFound { // nothing has come yet
			return "", err
		}
		for _, e := range events {
			t.set(l, e.Stage, e.Status, time.Duration(e.DurationMS)*time.Millisecond, e.Message)
		}
		if conclusion != "" {
			return conclusion, nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return "", ctx.Err()
		}
	}
}

// conclusion asks GitHub how the run ended; "" while it has not.
func (a Addresses) conclusion(ctx context.Context, runID int64) (string, error) {
	url := fmt.Sprintf("%s/repos/%s/actions/runs/%d", a.GitHub, repository, runID)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	req.Header.Set("Authorization", "Bearer "+a.GitHubToken)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	var run struct {
		Conclusion string `json:"conclusion"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&run); err != nil || resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("run %d: GitHub answered %s", runID, resp.Status)
	}
	return run.Conclusion, nil
}
