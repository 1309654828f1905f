package main

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// An image is written as a layout: its two layers, one of them compressed already.
func writeLayout(t *testing.T, mediaType string) (l layout, plain, zipped []byte) {
	t.Helper()
	l = layout{dir: t.TempDir(), level: 3}
	plain, zipped = bytes.Repeat([]byte("plain "), 5000), bytes.Repeat([]byte("zipped "), 5000)
	var gz bytes.Buffer
	w := gzip.NewWriter(&gz)
	if _, err := w.Write(zipped); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	put := func(mediaType string, data []byte) descriptor {
		sum := sha256.Sum256(data)
		d := descriptor{MediaType: mediaType, Digest: "sha256:" + hex.EncodeToString(sum[:]), Size: int64(len(data))}
		if err := os.MkdirAll(filepath.Dir(l.blob(d.Digest)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(l.blob(d.Digest), data, 0o644); err != nil {
			t.Fatal(err)
		}
		return d
	}
	encode := func(v any) []byte {
		data, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	m := manifest{SchemaVersion: 2,
		Config: put("application/vnd.oci.image.config.v1+json", []byte(`{"history":[{"created_by":"ENV A","empty_layer":true},{"created_by":"/bin/sh -c #(nop) COPY a"},{"created_by":"COPY b"}]}`)),
		Layers: []descriptor{put(layerType, plain), put(mediaType, gz.Bytes())},
	}
	idx := index{SchemaVersion: 2, Manifests: []descriptor{put(manifestType, encode(m))}}
	if err := os.WriteFile(filepath.Join(l.dir, "index.json"), encode(idx), 0o644); err != nil {
		t.Fatal(err)
	}
	return l, plain, zipped
}

func TestPack(t *testing.T) {
	if _, err := exec.LookPath("zstd"); err != nil {
		t.Skip("there is no zstd")
	}
	l, plain, zipped := writeLayout(t, layerType+"+gzip")
	var out bytes.Buffer
	if err := run(t.Context(), []string{"-level", "3", l.dir}, &out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"COPY a\n", "COPY b\n", " bytes compressed, 0.0 MB\n", "digest sha256:"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("it does not say %q:\n%s", want, &out)
		}
	}
	var idx index
	if err := l.readJSON(filepath.Join(l.dir, "index.json"), &idx); err != nil {
		t.Fatal(err)
	}
	var m manifest
	if err := l.readJSON(l.blob(idx.Manifests[0].Digest), &m); err != nil {
		t.Fatal(err)
	}
	for i, want := range [][]byte{plain, zipped} {
		d := m.Layers[i]
		if got, err := exec.Command("zstd", "-dc", l.blob(d.Digest)).Output(); err != nil || !bytes.Equal(got, want) {
			t.Errorf("layer %d has %d bytes (%v), want %d", i, len(got), err, len(want))
		}
		data, err := os.ReadFile(l.blob(d.Digest))
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256(data)
		if d.Size != int64(len(data)) || d.Digest != "sha256:"+hex.EncodeToString(sum[:]) || d.MediaType != layerType+"+zstd" {
			t.Errorf("layer %d is %+v, and its file has %d bytes", i, d, len(data))
		}
	}
	// The blobs are the manifest, the configuration and the layers: what is replaced is gone.
	if blobs, _ := filepath.Glob(filepath.Join(l.dir, "blobs", "sha256", "*")); len(blobs) != 4 {
		t.Errorf("there are %d blobs, want 4", len(blobs))
	}
	again, _, _ := writeLayout(t, layerType+"+gzip")
	digest, _, err := again.pack(t.Context())
	if err != nil || digest != idx.Manifests[0].Digest {
		t.Errorf("packed again: %s (%v), want %s", digest, err, idx.Manifests[0].Digest)
	}
}

func TestPackRefuses(t *testing.T) {
	if _, err := exec.LookPath("zstd"); err != nil {
		t.Skip("there is no zstd")
	}
	l, _, _ := writeLayout(t, layerType+"+gzip")
	if err := run(t.Context(), []string{"-limit", "10", l.dir}, &bytes.Buffer{}); err == nil || !strings.Contains(err.Error(), "more than it may") {
		t.Errorf("an image over the limit: %v", err)
	}
	l, _, _ = writeLayout(t, layerType+"+unknown")
	if err := run(t.Context(), []string{l.dir}, &bytes.Buffer{}); err == nil || !strings.Contains(err.Error(), "+unknown") {
		t.Errorf("a layer of another type: %v", err)
	}
	if err := run(t.Context(), []string{t.TempDir()}, &bytes.Buffer{}); err == nil {
		t.Error("a folder that holds no image: no error")
	}
}
