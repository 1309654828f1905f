package github_test

import (
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"
	"time"

	"github.com/pregoi/provision-tenant/internal/sandbox/github"
)

// withPost is a repository whose action has a post part.
func withPost(postIf string) fstest.MapFS {
	return fstest.MapFS{
		"action.yml": {Data: []byte(strings.Replace(actionYML, "image: Dockerfile",
			"image: Dockerfile, entrypoint: /bin/main, post-entrypoint: /bin/post, post-if: "+postIf, 1))},
		".github/workflows/test.yml": {Data: []byte(workflowYML)},
	}
}

// The post part is the same program under another name. It comes after all steps, sees what
// the main part has saved, also if that was killed, and its failure is the job's.
func TestPost(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		act, postIf, inputs   string
		stop                  func(w *world, id int64, pid int)
		conclusion, post, log string
	}{
		{"save", "always()", `{}`, nil, "success", "success", "post: saved=v 1 text=\n"},
		{"save", "always()", `{"text":"fail in post"}`, nil, "failure", "failure", "post: saved=v 1 text=fail in post\n"},
		{"save and fail", "always()", `{}`, nil, "failure", "success", "post: saved=v 1 text=\n"},
		{"save and fail", "success()", `{}`, nil, "failure", "", ""},
		{"save and wait", "always()", `{}`, func(w *world, _ int64, pid int) {
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
				w.t.Error(err)
			}
		}, "failure", "success", "post: saved=v 1 text=\n"},
		{"save and wait", "always()", `{}`, func(w *world, id int64, _ int) {
			if err := w.Cancel(id); err != nil {
				w.t.Error(err)
			}
		}, "cancelled", "success", "post: saved=v 1 text=\n"},
	} {
		t.Run(test.act+" "+test.postIf+" "+test.conclusion, func(t *testing.T) {
			t.Parallel()
			o := act(test.act)
			o.Files = withPost(test.postIf)
			o.InterruptWait, o.TerminateWait = 50*time.Millisecond, 50*time.Millisecond
			pids := make(chan int, 2)
			o.Started = func(_ int64, pid int) { pids <- pid }
			w := start(t, o)
			id := w.dispatch(test.inputs)
			if test.stop != nil {
				w.until(id, "waiting")
				test.stop(w, id, <-pids)
			}
			r := w.wait(id)
			if r.Conclusion != test.conclusion || !strings.Contains(r.Log, test.log) {
				t.Errorf("run is %s, want %s with %q\n%s", r.Conclusion, test.conclusion, test.log, r.Log)
			}
			post := ""
			if i := slices.IndexFunc(r.Steps, func(s github.Step) bool { return s.Name == "Post ./" }); i >= 0 {
				if post = r.Steps[i].Conclusion; i != len(r.Steps)-1 {
					t.Errorf("the post part is step %d of %d", i+1, len(r.Steps))
				}
			}
			if post != test.post {
				t.Errorf("the post part is %q, want %q", post, test.post)
			}
		})
	}
}

// As a container the action gets what the runner gives one: its variables by name, so that
// no value stands in the arguments, and /github for the folders.
func TestContainer(t *testing.T) {
	o := act("env")
	o.Container = &github.Container{Engine: "./testdata/engine", Image: "image:tag", Args: []string{"--volume", "/a:/a"}}
	o.Files = withPost("always()")
	r := start(t, o).run(`{"text":"a b"}`)
	for _, want := range []string{
		" run --rm --pull=never --name run-", " --network host --workdir /github/workspace ",
		" --env HOME=/github/home ", " --env INPUT_TEXT ", " --env SECRET ", "/github/runner_temp:/github/runner_temp ",
		"/github/file_commands:/github/file_commands ", " --volume /a:/a --entrypoint /bin/main image:tag\n",
		"--entrypoint /bin/post image:tag\n", "INPUT_TEXT=a b\n", "SECRET=***\n", "GITHUB_OUTPUT=/github/file_commands/set_output_", "STATE_saved=v\n",
	} {
		if !strings.Contains(r.Log, want) {
			t.Errorf("no %q in\n%s", want, r.Log)
		}
	}
	if strings.Contains(r.Log, " --env PATH") || r.Conclusion != "success" {
		t.Errorf("run is %s\n%s", r.Conclusion, r.Log)
	}
}
