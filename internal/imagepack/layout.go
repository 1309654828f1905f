package main

import (
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// A layout is an OCI image layout in a folder.
type layout struct {
	dir   string
	level int
}

// A descriptor points at a blob.
type descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int64             `json:"size"`
	Annotations map[string]string `json:"annotations,omitempty"`
	Platform    *struct {
		Architecture string `json:"architecture"`
		OS           string `json:"os"`
	} `json:"platform,omitempty"`
}

// A manifest lists an image's blobs; an index lists manifests.
type (
	manifest struct {
		SchemaVersion int               `json:"schemaVersion"`
		MediaType     string            `json:"mediaType,omitempty"`
		Config        descriptor        `json:"config"`
		Layers        []descriptor      `json:"layers"`
		Annotations   map[string]string `json:"annotations,omitempty"`
	}
	index struct {
		SchemaVersion int          `json:"schemaVersion"`
		MediaType     string       `json:"mediaType,omitempty"`
		Manifests     []descriptor `json:"manifests"`
	}
)

// A layer is one that has been compressed.
type layer struct {
	descriptor
	raw    int64  // bytes before
	diffID string // digest of what is compressed: the same for the same files, however compressed
	made   string // the instruction that made it, shortened
}

const (
	layerType    = "application/vnd.oci.image.layer.v1.tar"
	manifestType = "application/vnd.oci.image.manifest.v1+json"
)

// pack compresses every layer, writes the manifest and the index that name them, and removes
// the blobs that nothing names any more. It returns the digest of the manifest.
func (l layout) pack(ctx context.Context) (digest string, layers []layer, err error) {
	var idx index
	if err := l.readJSON(filepath.Join(l.dir, "index.json"), &idx); err != nil {
		return "", nil, err
	}
	if len(idx.Manifests) != 1 {
		return "", nil, fmt.Errorf("%s holds %d images, not one", l.dir, len(idx.Manifests))
	}
	var m manifest
	if err := l.readJSON(l.blob(idx.Manifests[0].Digest), &m); err != nil {
		return "", nil, err
	}
	made, err := l.history(m.Config)
	if err != nil {
		return "", nil, err
	}
	for i := range m.Layers {
		packed, err := l.compress(ctx, m.Layers[i])
		if err != nil {
			return "", nil, fmt.Errorf("layer %s: %w", m.Layers[i].Digest, err)
		}
		if i < len(made) {
			packed.made = made[i]
		}
		m.Layers[i] = packed.descriptor
		layers = append(layers, packed)
	}
	data, err := json.Marshal(m)
	if err != nil {
		return "", nil, err
	}
	sum := sha256.Sum256(data)
	d := &idx.Manifests[0]
	d.MediaType, d.Digest, d.Size = manifestType, "sha256:"+hex.EncodeToString(sum[:]), int64(len(data))
	if err := os.WriteFile(l.blob(d.Digest), data, 0o644); err != nil {
		return "", nil, err
	}
	if data, err = json.Marshal(idx); err != nil {
		return "", nil, err
	}
	if err := os.WriteFile(filepath.Join(l.dir, "index.json"), data, 0o644); err != nil {
		return "", nil, err
	}
	return d.Digest, layers, l.prune(d.Digest, m)
}

func (l layout) blob(digest string) string {
	algorithm, sum, _ := strings.Cut(digest, ":")
	return filepath.Join(l.dir, "blobs", filepath.Base(algorithm), filepath.Base(sum))
}

func (l layout) readJSON(name string, v any) error {
	data, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, v); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// history returns the instructions that made the layers, in order.
func (l layout) history(config descriptor) ([]string, error) {
	var c struct {
		History []struct {
			By    string `json:"created_by"`
			Empty bool   `json:"empty_layer"`
		} `json:"history"`
	}
	if err := l.readJSON(l.blob(config.Digest), &c); err != nil {
		return nil, err
	}
	var made []string
	for _, h := range c.History {
		if !h.Empty {
			by := strings.TrimSpace(strings.ReplaceAll(h.By, "/bin/sh -c #(nop)", ""))
			made = append(made, by[:min(len(by), 60)])
		}
	}
	return made, nil
}

// compress returns a layer, as a blob that zstd has compressed.
func (l layout) compress(ctx context.Context, d descriptor) (layer, error) {
	in, err := os.Open(l.blob(d.Digest))
	if err != nil {
		return layer{}, err
	}
	defer in.Close()
	var tar io.Reader = in
	switch strings.TrimPrefix(d.MediaType, layerType) {
	case "":
	case "+gzip":
		if tar, err = gzip.NewReader(in); err != nil {
			return layer{}, err
		}
	default:
		return layer{}, fmt.Errorf("its type is %s", d.MediaType)
	}
	out, err := os.CreateTemp(l.dir, "layer-")
	if err != nil {
		return layer{}, err
	}
	defer os.Remove(out.Name()) // unless it has become a blob
	defer out.Close()
	raw, packed := &counter{Hash: sha256.New()}, &counter{Hash: sha256.New()}
	// One thread for each core changes how the input is cut, but not with their number.
	cmd := exec.CommandContext(ctx, "zstd", "-"+strconv.Itoa(l.level), "-T0", "--quiet", "--stdout", "-")
	cmd.Stdin, cmd.Stdout = io.TeeReader(tar, raw), io.MultiWriter(out, packed)
	if err := cmd.Run(); err != nil {
		return layer{}, errors.Join(errors.New("zstd failed"), err)
	}
	if err := out.Close(); err != nil {
		return layer{}, err
	}
	made := layer{descriptor{MediaType: layerType + "+zstd", Digest: packed.digest(), Size: packed.n, Annotations: d.Annotations}, raw.n, raw.digest(), ""}
	if err := os.Chmod(out.Name(), 0o644); err != nil {
		return layer{}, err
	}
	return made, os.Rename(out.Name(), l.blob(made.Digest))
}

// prune removes every blob that m, whose digest is given, does not name.
func (l layout) prune(digest string, m manifest) error {
	keep := map[string]bool{l.blob(digest): true, l.blob(m.Config.Digest): true}
	for _, d := range m.Layers {
		keep[l.blob(d.Digest)] = true
	}
	all, err := filepath.Glob(filepath.Join(l.dir, "blobs", "*", "*"))
	if err != nil {
		return err
	}
	for _, name := range all {
		if !keep[name] {
			if err := os.Remove(name); err != nil {
				return err
			}
		}
	}
	return nil
}
