package github

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/nektos/act/pkg/model"
)

// action starts the repository's own action and returns the step's outcome.
func (j *jobRun) action(def *model.Step, result *model.StepResult) (string, error) {
	meta, err := j.metadata(def.Uses)
	if err != nil {
		return "failure", err
	}
	p := part{def: def, meta: meta, entry: meta.Runs.Entrypoint, state: map[string]string{}}
	if meta.Runs.PostEntrypoint != "" {
		j.posts = append(j.posts, p) // also where the main part fails
	}
	for _, name := range slices.Sorted(maps.Keys(def.With)) {
		if _, ok := meta.Inputs[name]; !ok {
			j.a.journal.note("warning", fmt.Sprintf("Unexpected input(s) '%s', valid inputs are ['%s']", name,
				strings.Join(slices.Sorted(maps.Keys(meta.Inputs)), "', '")))
		}
	}
	return j.start(p, result)
}

// A part of an action is what one process or container of it does.
type part struct {
	def   *model.Step
	meta  *model.Action
	entry string            // the entrypoint; empty for the image's
	state map[string]string // what a part leaves to the next
}

// start starts one part of an action and returns its outcome.
func (j *jobRun) start(p part, result *model.StepResult) (string, error) {
	env := map[string]string{}
	if !p.def.Env.IsZero() {
		if err := p.def.Env.Decode(&env); err != nil {
			return "failure", err
		}
	}
	env, err := j.sc.all(env)
	if err != nil {
		return "failure", err
	}
	sc := j.sc
	own := *sc.env
	own.Env = maps.Clone(j.env)
	maps.Copy(own.Env, env)
	sc.env = &own
	inputs, err := sc.inputs(p.def.With, p.meta.Inputs)
	if err != nil {
		return "failure", err
	}
	files, err := j.dir.newCommandFiles()
	if err != nil {
		return "failure", err
	}
	vars := own.Env
	maps.Copy(vars, inputs)
	for name, value := range p.state {
		vars["STATE_"+name] = value
	}
	if err := j.runnerEnv(vars, files, p.def); err != nil {
		return "failure", err
	}
	j.a.journal.begin()
	j.a.journal.print("##[group]Run " + p.def.Uses)
	for _, name := range slices.Sorted(maps.Keys(p.def.With)) {
		j.a.journal.print("  " + name + ": " + inputs[inputName(name)])
	}
	j.a.journal.print("##[endgroup]")
	outcome, err := j.process(vars, p.entry)
	return j.collect(files, outcome, err, result, p.state)
}

// metadata reads the action.yml in a folder of the repository.
func (j *jobRun) metadata(uses string) (*model.Action, error) {
	dir := path.Clean(uses)
	for _, name := range []string{"action.yml", "action.yaml"} {
		data, err := fs.ReadFile(j.s.opts.Files, path.Join(dir, name))
		if err != nil {
			continue
		}
		meta, err := model.ReadAction(bytes.NewReader(data))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path.Join(dir, name), err)
		}
		if !meta.Runs.Using.IsDocker() {
			return nil, fmt.Errorf("the stand-in starts actions of the kind docker, and not %s", meta.Runs.Using)
		}
		return meta, nil
	}
	return nil, sayf("Can't find 'action.yml', 'action.yaml' or 'Dockerfile' under '%s'. Did you forget to run actions/checkout before running your local action?", dir)
}

// inputs returns the INPUT_ variables of an action: what with gives, and defaults for the
// rest. An input that is given as the empty string is empty.
func (sc scope) inputs(with map[string]string, declared map[string]model.Input) (map[string]string, error) {
	raw := map[string]string{}
	for name, in := range declared {
		raw[inputName(name)] = in.Default
	}
	for name, value := range with {
		raw[inputName(name)] = value
	}
	return sc.all(raw)
}

// inputName is the runner's name of the variable that carries an input.
func inputName(name string) string {
	return "INPUT_" + strings.ToUpper(strings.ReplaceAll(name, " ", "_"))
}

// runnerEnv adds what the runner tells an action about its run.
// https://docs.github.com/en/actions/reference/workflows-and-actions/variables
func (j *jobRun) runnerEnv(env map[string]string, files commandFiles, def *model.Step) error {
	gh := j.sc.env.Github
	event, err := json.Marshal(map[string]any{
		"inputs": gh.Event["inputs"], "ref": gh.Ref, "workflow": j.run.def.path,
		"repository": map[string]any{"full_name": gh.Repository, "default_branch": j.s.opts.Refs[0]},
		"sender":     map[string]any{"login": actor},
	})
	if err != nil {
		return err
	}
	eventPath := filepath.Join(j.dir.workflow, "event.json")
	if err := os.WriteFile(eventPath, event, 0o644); err != nil {
		return err
	}
	id := def.ID
	if id == "" {
		id = "__self"
	}
	maps.Copy(env, map[string]string{
		"CI": "true", "GITHUB_ACTIONS": "true",
		"HOME":           j.dir.home,
		"GITHUB_ACTION":  id,
		"GITHUB_ACTOR":   actor,
		"GITHUB_API_URL": gh.APIURL, "GITHUB_GRAPHQL_URL": gh.GraphQLURL, "GITHUB_SERVER_URL": gh.ServerURL,
		"GITHUB_BASE_REF": "", "GITHUB_HEAD_REF": "",
		"GITHUB_EVENT_NAME": gh.EventName, "GITHUB_EVENT_PATH": eventPath,
		"GITHUB_JOB": j.id,
		"GITHUB_REF": gh.Ref, "GITHUB_REF_NAME": gh.RefName, "GITHUB_REF_TYPE": gh.RefType, "GITHUB_REF_PROTECTED": "false",
		"GITHUB_REPOSITORY": gh.Repository, "GITHUB_REPOSITORY_OWNER": gh.RepositoryOwner,
		"GITHUB_RETENTION_DAYS": gh.RetentionDays,
		"GITHUB_RUN_ATTEMPT":    gh.RunAttempt, "GITHUB_RUN_ID": gh.RunID, "GITHUB_RUN_NUMBER": gh.RunNumber,
		"GITHUB_SHA": gh.Sha, "GITHUB_TRIGGERING_ACTOR": actor,
		"GITHUB_WORKFLOW": gh.Workflow, "GITHUB_WORKFLOW_SHA": gh.Sha,
		"GITHUB_WORKFLOW_REF": gh.Repository + "/" + j.run.def.path + "@" + gh.Ref,
		"GITHUB_WORKSPACE":    j.dir.workspace,
		"RUNNER_ARCH":         "X64", "RUNNER_ENVIRONMENT": "github-hosted", "RUNNER_NAME": runnerName, "RUNNER_OS": "Linux",
		"RUNNER_TEMP": j.dir.temp, "RUNNER_TOOL_CACHE": j.dir.temp, "RUNNER_WORKSPACE": filepath.Dir(j.dir.workspace),
		"ACTIONS_RUNTIME_URL": gh.APIURL + "/runtime/", "ACTIONS_RUNTIME_TOKEN": "runtime-" + strconv.FormatInt(j.run.id, 10),
		"GITHUB_OUTPUT": files.output, "GITHUB_ENV": files.env, "GITHUB_PATH": files.path,
		"GITHUB_STATE": files.state, "GITHUB_STEP_SUMMARY": files.summary,
	})
	env["PATH"] = strings.Join(append(slices.Clone(j.path), os.Getenv("PATH")), string(os.PathListSeparator))
	for _, v := range j.s.opts.Env {
		name, value, _ := strings.Cut(v, "=")
		env[name] = value
	}
	return nil
}

// collect reads the files in which the action has left its commands. A file that cannot
// be read makes the step fail, whatever the process said.
func (j *jobRun) collect(files commandFiles, outcome string, failed error, result *model.StepResult, state map[string]string) (string, error) {
	j.a.journal.end(result.Outputs)
	var first error
	keep := func(name string, into func([]pair)) {
		pairs, err := readPairs(name)
		if err != nil && first == nil {
			first = err
		}
		into(pairs)
	}
	keep(files.output, func(list []pair) {
		for _, p := range list {
			result.Outputs[p.name] = p.value
		}
	})
	keep(files.env, func(list []pair) {
		for _, p := range list {
			if strings.EqualFold(p.name, "NODE_OPTIONS") {
				first = sayf("Can't store NODE_OPTIONS output parameter using '$GITHUB_ENV' command.")
				continue
			}
			j.env[p.name] = p.value
		}
		j.sc.env.Env = maps.Clone(j.env)
	})
	keep(files.state, func(list []pair) {
		for _, p := range list {
			state[p.name] = p.value
		}
	})
	lines, err := readLines(files.path)
	j.path = append(lines, j.path...)
	if err := j.a.journal.summarize(files.summary); err != nil {
		j.a.journal.note("error", err.Error())
	}
	switch {
	case failed != nil:
		return outcome, failed
	case first != nil:
		return "failure", first
	case err != nil:
		return "failure", err
	}
	return outcome, nil
}
