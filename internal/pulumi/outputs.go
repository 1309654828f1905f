package pulumi

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/pregoi/provision-tenant/internal/provision"
)

// The outputs that a program exports. Of a dedicated stack: server_ip, and where there
// are such, server_id, db_server_ip, db_server_id, redis_server_ip, redis_server_id, and
// tenant_id, by which the stack records whose it is. Of a shared stack: nodes, an object
// {key: {server_id, server_ip}}. An id may be a number or a string.

// isSecret reports whether the engine shows v in place of a secret.
func isSecret(v any) bool {
	const signature = "4dabf18193072939515e22adb298388d" // by which Pulumi marks what is more than JSON
	if m, ok := v.(map[string]any); ok {
		return m[signature] != nil
	}
	return v == "[secret]"
}

// servers reads the job's servers from the stack's outputs.
func (s *session) servers(ctx context.Context, outputs map[string]any) ([]provision.Server, error) {
	own, secret := s.own(outputs)
	if secret {
		shown, err := s.reveal(ctx)
		if err != nil {
			return nil, err
		}
		own, _ = s.own(shown)
	}
	if own == nil {
		return nil, s.missing("nodes." + s.job.NodeKey())
	}
	app := provision.Server{Role: provision.App, ID: text(own["server_id"]), IPv4: text(own["server_ip"])}
	if app.IPv4 == "" {
		return nil, s.missing("server_ip")
	}
	list := []provision.Server{app}
	if !s.job.Dedicated {
		return list, nil
	}
	for _, role := range []provision.Role{provision.DB, provision.Redis} {
		name := string(role) + "_server"
		if ip := text(own[name+"_ip"]); ip != "" {
			list = append(list, provision.Server{Role: role, ID: text(own[name+"_id"]), IPv4: ip})
		}
	}
	return list, nil
}

// own returns the outputs that are about the job's servers, and whether a needed one is
// secret. It returns nil if the stack lists its nodes and the job's is not among them.
func (s *session) own(outputs map[string]any) (own map[string]any, secret bool) {
	nodes, listed := outputs["nodes"]
	if s.job.Dedicated || !listed {
		own = outputs
	} else {
		all, _ := nodes.(map[string]any)
		mine := all[s.job.NodeKey()]
		own, _ = mine.(map[string]any)
		secret = isSecret(nodes) || isSecret(mine)
	}
	for name, v := range own {
		secret = secret || isSecret(v) && strings.Contains(name, "server_")
	}
	return own, secret
}

func (s *session) missing(output string) error {
	return provision.Errorf(provision.Internal, "stack %s does not export %s, though it is up to date", s.label, output)
}

// reveal reads the outputs with their secrets, and has every secret masked.
func (s *session) reveal(ctx context.Context) (map[string]any, error) {
	args := []string{"--non-interactive", "stack", "output", "--json", "--stack", s.stack.Name()}
	hidden, err := s.outputs(ctx, args)
	if err != nil {
		return nil, err
	}
	shown, err := s.outputs(ctx, append(args, "--show-secrets"))
	if err != nil {
		return nil, err
	}
	if s.p.Mask != nil {
		maskDifferent(s.p.Mask, hidden, shown)
	}
	return shown, nil
}

func (s *session) outputs(ctx context.Context, args []string) (map[string]any, error) {
	out, err := s.cmd.exec(ctx, s.dir, nil, args)
	if err != nil {
		return nil, s.classify(ctx, "the update was done; reading its outputs", nil, err)
	}
	var m map[string]any
	if err := json.Unmarshal([]byte(out.stdout), &m); err != nil {
		return nil, provision.Errorf(provision.Internal, "outputs of stack %s cannot be read", s.label)
	}
	return m, nil
}

// maskDifferent calls mask with every string in shown that hidden has not.
func maskDifferent(mask func(string), hidden, shown any) {
	switch v := shown.(type) {
	case map[string]any:
		h, _ := hidden.(map[string]any)
		for name, value := range v {
			maskDifferent(mask, h[name], value)
		}
	case []any:
		h, _ := hidden.([]any)
		for i, value := range v {
			var was any
			if i < len(h) {
				was = h[i]
			}
			maskDifferent(mask, was, value)
		}
	default:
		if t := text(v); hidden != shown && t != "" {
			mask(t)
		}
	}
}

// text returns an id or an address, which a program may export as a number.
func text(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	case nil:
		return ""
	}
	return fmt.Sprint(v)
}
