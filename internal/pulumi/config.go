package pulumi

import (
	"context"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/config"
	"github.com/pulumi/pulumi/sdk/v3/go/common/workspace"

	"github.com/pregoi/provision-tenant/internal/provision"
)

// configure writes the job into the stack's settings, in our copy of the program. All
// else that the repository's settings hold is kept: it may be secrets of the program.
// On a dedicated stack that names another tenant nothing is written.
func (s *session) configure(ctx context.Context) error {
	settings, file, err := s.settings(ctx)
	if err != nil {
		return err
	}
	values := map[string]string{
		"job_id":             s.job.ID,
		"tenant_id":          s.job.TenantID,
		"region":             string(s.job.Region),
		"dedicated":          strconv.FormatBool(s.job.Dedicated),
		"canonical_hostname": s.job.CanonicalHostname,
	}
	if !s.job.Dedicated {
		values["nodes"] = jsonList(s.nodes())
	}
	maps.Copy(values, s.choice())
	if settings.Config == nil {
		settings.Config = config.Map{}
	}
	for name, value := range values {
		settings.Config[config.MustMakeKey("prego", name)] = config.NewValue(value)
	}
	if settings.EncryptionSalt == "" && settings.SecretsProvider == "" {
		// Without it Pulumi makes a new one, and encrypts the whole state with that.
		settings.EncryptionSalt = s.state.salt()
	}
	if err := settings.Save(file); err != nil {
		return provision.Errorf(provision.Internal, "settings of stack %s: %w", s.label, err)
	}
	return nil
}

// settings reads the stack's settings, and says in which file they are or would be. The
// first time that file is the repository's own, which may say whose the stack is.
func (s *session) settings(ctx context.Context) (*workspace.ProjectStack, string, error) {
	project, err := s.stack.Workspace().ProjectSettings(ctx)
	if err != nil {
		return nil, "", provision.Errorf(provision.Invalid, "the program's Pulumi.yaml: %s", firstLine(err.Error()))
	}
	base := filepath.Join(s.dir, project.StackConfigDir, "Pulumi."+s.label)
	for _, ext := range []string{".yaml", ".yml", ".json"} {
		if _, err := os.Stat(base + ext); err != nil {
			continue
		}
		settings, err := workspace.LoadProjectStack(nil, project, base+ext)
		if err != nil {
			return nil, "", provision.Errorf(provision.Invalid, "settings of stack %s: %s", s.label, s.p.clean(firstLine(err.Error())))
		}
		if owner, ok := settings.Config[config.MustMakeKey("prego", "tenant_id")]; ok && !owner.Secure() {
			tenant, err := owner.Value(config.NopDecrypter)
			if err == nil {
				err = s.ownedBy(tenant, filepath.Base(base+ext))
			}
			if err != nil {
				return nil, "", err
			}
		}
		return settings, base + ext, nil
	}
	return &workspace.ProjectStack{}, base + ".yaml", nil
}

// forgetProvider lets a backend that is thrown away protect the settings with our
// passphrase, where the real one would with a key of its own.
func (s *session) forgetProvider(ctx context.Context) error {
	settings, file, err := s.settings(ctx)
	if err != nil || settings.SecretsProvider == "" && settings.EncryptedKey == "" {
		return err
	}
	settings.SecretsProvider, settings.EncryptedKey = "", ""
	if err := settings.Save(file); err != nil {
		return provision.Errorf(provision.Internal, "settings of stack %s: %w", s.label, err)
	}
	return nil
}

// nodeResource is the name in a program of the server of a shared stack's node.
func nodeResource(key string) string { return "node-" + key }

// nodes returns the keys of the nodes that a shared stack has to have: the ones it has,
// sorted, and the job's own last if it is new.
func (s *session) nodes() []string {
	keys := s.state.nodes()
	if own := s.job.NodeKey(); !slices.Contains(keys, own) {
		keys = append(keys, own)
	}
	return keys
}

// A state is what a stack holds, as `pulumi stack export` writes it.
type state struct {
	Resources []stateResource `json:"resources"`
	Pending   []struct {
		Type     string        `json:"type"` // "creating", "updating", ...
		Resource stateResource `json:"resource"`
	} `json:"pending_operations"`
	Secrets struct {
		Type  string `json:"type"`
		State struct {
			Salt string `json:"salt"`
		} `json:"state"`
	} `json:"secrets_providers"`
}

// salt is what the state's secrets are encrypted with, besides the passphrase; empty if
// that is not known, or they are protected in another way.
func (st *state) salt() string {
	if st == nil || st.Secrets.Type != "passphrase" {
		return ""
	}
	return st.Secrets.State.Salt
}

type stateResource struct {
	URN      string         `json:"urn"`
	Type     string         `json:"type"`
	Custom   bool           `json:"custom"`
	Inputs   map[string]any `json:"inputs"`
	Outputs  map[string]any `json:"outputs"`
	Parent   string         `json:"parent"`
	Provider string         `json:"provider"`
	// InitErrors say why its making, or an update, did not come to its end.
	InitErrors []string `json:"initErrors"`
}

// nodes returns the keys of the nodes that the state knows, sorted: those that were
// exported, and those whose server was made by a run that did not live to export it.
func (st *state) nodes() []string {
	var keys []string
	for _, r := range st.Resources {
		switch key, isNode := strings.CutPrefix(nameOf(r.URN), nodeResource("")); {
		case r.Type == stackType:
			exported, _ := r.Outputs["nodes"].(map[string]any)
			for key := range exported {
				keys = append(keys, key)
			}
		case r.Type == serverType && isNode && key != "":
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}

func jsonList(keys []string) string {
	b, err := json.Marshal(keys)
	if err != nil {
		panic(err) // unreachable: they are strings
	}
	return string(b)
}
