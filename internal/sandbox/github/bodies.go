package github

import (
	"slices"
	"strconv"
	"strings"
	"time"
)

// The bodies of the API's answers, in the shapes that its description requires. The
// caller holds the mutex where a run or the API's address is read.

// repoID is the repository's id, as a path has it.
const repoID = "1296269"

func (s *Server) owner() string {
	owner, _, _ := strings.Cut(s.opts.Repo, "/")
	return owner
}

func (s *Server) repoURL() string       { return s.base + "/repos/" + s.opts.Repo }
func (s *Server) htmlURL() string       { return s.base + "/" + s.opts.Repo }
func (s *Server) runURL(r *run) string  { return r.base + "/repos/" + s.opts.Repo + runPath(r) }
func (s *Server) runPage(r *run) string { return r.base + "/" + s.opts.Repo + runPath(r) }

func runPath(r *run) string { return "/actions/runs/" + strconv.FormatInt(r.id, 10) }

// stamp is a time as the API writes it; null where there is none.
func stamp(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UTC().Format(time.RFC3339)
}

// text or null.
func orNull(s string) any {
	if s == "" {
		return nil
	}
	return s
}

// user is a simple-user.
func (s *Server) user(login string) map[string]any {
	u := s.base + "/users/" + login
	m := map[string]any{
		"login": login, "id": 1, "node_id": "U_1", "type": "User", "site_admin": false,
		"gravatar_id": "", "avatar_url": u + "/avatar", "url": u, "html_url": s.base + "/" + login,
	}
	for key, path := range map[string]string{
		"followers_url": "/followers", "following_url": "/following{/other_user}", "gists_url": "/gists{/gist_id}",
		"starred_url": "/starred{/owner}{/repo}", "subscriptions_url": "/subscriptions", "organizations_url": "/orgs",
		"repos_url": "/repos", "events_url": "/events{/privacy}", "received_events_url": "/received_events",
	} {
		m[key] = u + path
	}
	return m
}

// repoPaths are where a repository's parts are, below its own address.
var repoPaths = map[string]string{
	"archive_url": "/{archive_format}{/ref}", "assignees_url": "/assignees{/user}", "blobs_url": "/git/blobs{/sha}",
	"branches_url": "/branches{/branch}", "collaborators_url": "/collaborators{/collaborator}",
	"comments_url": "/comments{/number}", "commits_url": "/commits{/sha}", "compare_url": "/compare/{base}...{head}",
	"contents_url": "/contents/{+path}", "contributors_url": "/contributors", "deployments_url": "/deployments",
	"downloads_url": "/downloads", "events_url": "/events", "forks_url": "/forks", "git_commits_url": "/git/commits{/sha}",
	"git_refs_url": "/git/refs{/sha}", "git_tags_url": "/git/tags{/sha}", "hooks_url": "/hooks",
	"issue_comment_url": "/issues/comments{/number}", "issue_events_url": "/issues/events{/number}",
	"issues_url": "/issues{/number}", "keys_url": "/keys{/key_id}", "labels_url": "/labels{/name}",
	"languages_url": "/languages", "merges_url": "/merges", "milestones_url": "/milestones{/number}",
	"notifications_url": "/notifications{?since,all,participating}", "pulls_url": "/pulls{/number}",
	"releases_url": "/releases{/id}", "stargazers_url": "/stargazers", "statuses_url": "/statuses/{sha}",
	"subscribers_url": "/subscribers", "subscription_url": "/subscription", "tags_url": "/tags", "teams_url": "/teams",
	"trees_url": "/git/trees{/sha}",
}

// repo is a minimal-repository.
func (s *Server) repo() map[string]any {
	_, name, _ := strings.Cut(s.opts.Repo, "/")
	m := map[string]any{
		"id": 1296269, "node_id": "R_1", "name": name, "full_name": s.opts.Repo, "private": true, "fork": false,
		"description": nil, "owner": s.user(s.owner()), "url": s.repoURL(), "html_url": s.htmlURL(),
	}
	for key, path := range repoPaths {
		m[key] = s.repoURL() + path
	}
	return m
}

// fullRepo is a full-repository.
func (s *Server) fullRepo() map[string]any {
	m := s.repo()
	for _, key := range []string{"forks", "forks_count", "open_issues", "open_issues_count", "size", "stargazers_count",
		"watchers", "watchers_count", "network_count", "subscribers_count"} {
		m[key] = 0
	}
	for _, key := range []string{"has_issues", "has_projects", "has_wiki", "has_pages", "has_discussions", "archived", "disabled"} {
		m[key] = false
	}
	for _, key := range []string{"homepage", "language", "license", "mirror_url"} {
		m[key] = nil
	}
	for _, key := range []string{"created_at", "pushed_at", "updated_at"} {
		m[key] = stamp(time.Unix(0, 0))
	}
	m["default_branch"] = s.opts.Refs[0]
	m["clone_url"], m["svn_url"] = s.htmlURL()+".git", s.htmlURL()
	m["git_url"], m["ssh_url"] = "git:"+s.opts.Repo+".git", "git@localhost:"+s.opts.Repo+".git"
	return m
}

func (s *Server) workflow(d *definition) map[string]any {
	s.mu.Lock()
	defer s.mu.Unlock()
	at, state := stamp(time.Unix(0, 0)), "active"
	if slices.Contains(s.opts.Disabled, d.file()) {
		state = "disabled_manually"
	}
	return map[string]any{
		"id": d.id, "node_id": "W_" + strconv.FormatInt(d.id, 10), "name": d.Name, "path": d.path, "state": state,
		"created_at": at, "updated_at": at,
		"url":       s.workflowURL(d),
		"html_url":  s.htmlURL() + "/blob/" + s.opts.Refs[0] + "/" + d.path,
		"badge_url": s.htmlURL() + "/workflows/" + d.file() + "/badge.svg",
	}
}

func (s *Server) workflowURL(d *definition) string {
	return s.repoURL() + "/actions/workflows/" + strconv.FormatInt(d.id, 10)
}

func (s *Server) runBody(r *run) map[string]any {
	a, url := r.attempt, s.runURL(r)
	updated := r.created
	for _, t := range []time.Time{a.started, a.ended} {
		if t.After(updated) {
			updated = t
		}
	}
	started := a.started
	if started.IsZero() {
		started = r.created
	}
	m := map[string]any{
		"id": r.id, "node_id": "WFR_" + strconv.FormatInt(r.id, 10), "name": r.def.Name, "display_title": r.name,
		"head_branch": r.ref, "head_sha": s.sha(r.ref), "path": r.def.path, "event": "workflow_dispatch",
		"run_number": r.number, "run_attempt": a.n, "workflow_id": r.def.id,
		"status": a.status, "conclusion": orNull(a.conclusion), "pull_requests": []any{},
		"created_at": stamp(r.created), "updated_at": stamp(updated), "run_started_at": stamp(started),
		"url": url, "html_url": s.runPage(r), "workflow_url": s.workflowURL(r.def),
		"check_suite_url": s.repoURL() + "/check-suites/" + strconv.FormatInt(r.id, 10),
		"actor":           s.user(actor), "triggering_actor": s.user(actor),
		"repository": s.repo(), "head_repository": s.repo(),
		"head_commit": map[string]any{
			"id": s.sha(r.ref), "tree_id": s.sha(r.ref), "message": "the only commit", "timestamp": stamp(time.Unix(0, 0)),
			"author":    map[string]any{"name": actor, "email": actor + "@localhost"},
			"committer": map[string]any{"name": actor, "email": actor + "@localhost"},
		},
	}
	for key, path := range map[string]string{"jobs_url": "/jobs", "logs_url": "/logs", "artifacts_url": "/artifacts",
		"cancel_url": "/cancel", "rerun_url": "/rerun"} {
		m[key] = url + path
	}
	return m
}

func (s *Server) jobBody(r *run, j *job) map[string]any {
	id := strconv.FormatInt(j.id, 10)
	steps := []map[string]any{}
	for i, st := range j.steps {
		status := "completed"
		if st.Conclusion == "" {
			status = "in_progress"
		}
		steps = append(steps, map[string]any{
			"name": st.Name, "number": i + 1, "status": status, "conclusion": orNull(st.Conclusion),
			"started_at": stamp(st.StartedAt), "completed_at": stamp(st.EndedAt),
		})
	}
	return map[string]any{
		"id": j.id, "node_id": "CR_" + id, "run_id": r.id, "run_url": s.runURL(r), "run_attempt": r.attempt.n,
		"head_sha": s.sha(r.ref), "head_branch": r.ref, "workflow_name": r.def.Name, "name": j.name,
		"status": j.status, "conclusion": orNull(j.conclusion), "steps": steps, "labels": []string{"ubuntu-latest"},
		"created_at": stamp(j.created), "started_at": stamp(j.started), "completed_at": stamp(j.ended),
		"url": s.repoURL() + "/actions/jobs/" + id, "html_url": s.runPage(r) + "/job/" + id,
		"check_run_url": s.repoURL() + "/check-runs/" + id,
		"runner_id":     1, "runner_name": runnerName, "runner_group_id": 1, "runner_group_name": "GitHub Actions",
	}
}
