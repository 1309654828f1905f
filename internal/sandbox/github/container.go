package github

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// A Container says what `uses: ./` runs in. Where there is none the action is a process.
type Container struct {
	Engine string   // docker, or podman: a program on PATH, or a path
	Image  string   // what is run; the runner builds or pulls it, the stand-in does not
	Args   []string // more arguments of the engine's run, such as -v HOST:CONTAINER
}

// command returns what starts the action with env: a process or a container. entry is what
// action.yml names for this part of it, and may be empty. remove takes away what may have
// outlived the command; it is called when the command was killed.
func (j *jobRun) command(env map[string]string, entry string) (cmd *exec.Cmd, remove func()) {
	c := j.s.opts.Container
	if c == nil {
		cmd := &exec.Cmd{Path: j.s.opts.Action, Args: []string{j.s.opts.Action}, Dir: j.dir.workspace}
		if entry != "" {
			cmd.Args[0] = entry // by its name the program knows which part it is
		}
		for _, name := range slices.Sorted(maps.Keys(env)) {
			cmd.Env = append(cmd.Env, name+"="+env[name])
		}
		return cmd, func() {}
	}
	j.containers++
	name := filepath.Base(j.dir.root) + "-" + string(rune('a'+j.containers))
	args := []string{"run", "--rm", "--pull=never", "--name", name, "--network", "host", "--workdir", "/github/workspace"}
	// The engine's own settings come first: the action's, among them HOME, are not its.
	values := os.Environ()
	for _, v := range slices.Sorted(maps.Keys(env)) {
		switch value := j.dir.inContainer(env[v]); v {
		case "PATH": // the image's own
		case "HOME":
			args = append(args, "--env", "HOME="+value)
		default:
			args = append(args, "--env", v)
			values = append(values, v+"="+value)
		}
	}
	for _, dir := range []string{j.dir.temp, j.dir.home, j.dir.workflow, j.dir.commands, j.dir.workspace} {
		args = append(args, "--volume", dir+":"+j.dir.inContainer(dir))
	}
	args = append(args, c.Args...)
	if entry != "" {
		args = append(args, "--entrypoint", entry)
	}
	cmd = exec.Command(c.Engine, append(args, c.Image)...)
	cmd.Env = values
	return cmd, func() {
		rm := exec.Command(c.Engine, "rm", "--force", name)
		_ = rm.Run() // most often it is gone already
	}
}

// inContainer returns a path, or any other value, as the action sees it in a container.
func (d dirs) inContainer(value string) string {
	if rest, ok := strings.CutPrefix(value, filepath.Join(d.root, "github")+"/"); ok {
		return "/github/" + rest
	}
	return value
}
