package hetzner

import (
	"crypto/md5"
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"slices"
	"strings"

	"github.com/hetznercloud/hcloud-go/v2/hcloud/schema"
)

// An sshKey is a public key that can be put on a new server.
type sshKey struct {
	base
	publicKey string
}

// fingerprint is the MD5 fingerprint of a public key, as the vendor shows it; empty for
// text that is no key.
func fingerprint(publicKey string) string {
	fields := strings.Fields(publicKey)
	if len(fields) < 2 || !strings.HasPrefix(fields[0], "ssh-") && !strings.HasPrefix(fields[0], "ecdsa-") {
		return ""
	}
	data, err := base64.StdEncoding.DecodeString(fields[1])
	if err != nil {
		return ""
	}
	sum := md5.Sum(data)
	var pairs []string
	for b := range slices.Chunk(sum[:], 1) {
		pairs = append(pairs, hex.EncodeToString(b))
	}
	return strings.Join(pairs, ":")
}

func (c *call) showKey(k *sshKey) any {
	return schema.SSHKey{ID: k.id, Name: k.name, Labels: k.labels, Created: k.created, PublicKey: k.publicKey, Fingerprint: fingerprint(k.publicKey)}
}

func sshKeyRoutes(handle func(string, handler)) {
	const taken = "SSH key name is already used"
	show := func(c *call, k *sshKey) (int, any, error) {
		return http.StatusOK, map[string]any{"ssh_key": c.showKey(k)}, nil
	}
	handle("GET /v1/ssh_keys", func(c *call) (int, any, error) {
		keys := c.p.keys
		if wanted := c.r.URL.Query().Get("fingerprint"); wanted != "" {
			keys = slices.DeleteFunc(slices.Clone(keys), func(k *sshKey) bool { return fingerprint(k.publicKey) != wanted })
		}
		return keys.list(c, "ssh_keys", c.showKey)
	})
	handle("POST /v1/ssh_keys", func(c *call) (int, any, error) {
		var in schema.SSHKeyCreateRequest
		if err := c.decode(&in); err != nil {
			return 0, nil, err
		}
		if in.Name == "" {
			return 0, nil, invalid("name", "must not be empty")
		}
		print := fingerprint(in.PublicKey)
		if print == "" {
			return 0, nil, invalid("public_key", "is not a valid public key")
		}
		if err := c.p.keys.free(in.Name, taken, 0); err != nil {
			return 0, nil, err
		}
		if slices.ContainsFunc(c.p.keys, func(k *sshKey) bool { return fingerprint(k.publicKey) == print }) {
			return 0, nil, notUnique("public_key", "SSH key with the same fingerprint already exists")
		}
		if err := checkLabels(in.Labels); err != nil {
			return 0, nil, err
		}
		k := &sshKey{base: c.newBase(in.Name, in.Labels), publicKey: in.PublicKey}
		c.p.keys = append(c.p.keys, k)
		return http.StatusCreated, map[string]any{"ssh_key": c.showKey(k)}, nil
	})
	handle("GET /v1/ssh_keys/{id}", func(c *call) (int, any, error) {
		k, err := c.p.keys.ofCall(c, "SSH key")
		if err != nil {
			return 0, nil, err
		}
		return show(c, k)
	})
	handle("PUT /v1/ssh_keys/{id}", func(c *call) (int, any, error) {
		k, err := c.p.keys.ofCall(c, "SSH key")
		if err != nil {
			return 0, nil, err
		}
		if err := c.p.keys.update(c, k, taken); err != nil {
			return 0, nil, err
		}
		return show(c, k)
	})
	handle("DELETE /v1/ssh_keys/{id}", func(c *call) (int, any, error) {
		k, err := c.p.keys.ofCall(c, "SSH key")
		if err != nil {
			return 0, nil, err
		}
		c.p.keys = c.p.keys.without(k.id)
		return http.StatusNoContent, nil, nil
	})
}
