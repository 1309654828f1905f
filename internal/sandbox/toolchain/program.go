package toolchain

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// A program says how a tool is built.
type program struct {
	module  string   // directory of its module: its name beside this file, or its path
	pkg     string   // package to build, from there
	ldflags string   // for the linker
	sources []string // patterns of the module's files that it is made of, beside go.mod and go.sum
	version string
	takes   string // how long building takes, from nothing, on two cores
}

// known are the tools that can be built. A build that nobody has done before also
// downloads the modules, some 600 MB for pulumi.
func known() map[Tool]program {
	return map[Tool]program{
		Pulumi: {
			module:  "pulumi",
			pkg:     "github.com/pulumi/pulumi/pkg/v3/cmd/pulumi",
			ldflags: "-s -w -X github.com/pulumi/pulumi/sdk/v3/go/common/version.Version=" + PulumiVersion,
			version: PulumiVersion,
			takes:   "4 minutes",
		},
		YAML: {
			module:  "plugins",
			pkg:     "github.com/pulumi/pulumi-yaml/cmd/pulumi-language-yaml",
			ldflags: "-s -w",
			version: "v1.30.0",
			takes:   "a minute",
		},
		Provider: {
			module:  "plugins",
			pkg:     "./pulumi-resource-hcloud",
			ldflags: "-s -w",
			sources: []string{"pulumi-resource-hcloud/*.go"},
			version: "v1.41.0",
			takes:   "a minute",
		},
	}
}

// key names what building p makes: a hash of all that goes into it.
func (p program) key() (string, error) {
	h := sha256.New()
	fmt.Fprintln(h, p.pkg, p.ldflags, runtime.Version(), runtime.GOOS, runtime.GOARCH)
	for _, pattern := range append([]string{"go.mod", "go.sum"}, p.sources...) {
		names, err := filepath.Glob(filepath.Join(p.module, pattern))
		if err != nil {
			return "", err
		}
		for _, name := range names {
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			if err := hashFile(h, name); err != nil {
				return "", err
			}
		}
	}
	return hex.EncodeToString(h.Sum(nil)[:10]), nil
}

func hashFile(h io.Writer, name string) error {
	data, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	fmt.Fprintln(h, filepath.Base(name), len(data))
	_, err = h.Write(data)
	return err
}
