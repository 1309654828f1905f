// Imagepack compresses the layers of a container image as well as zstd can, and says what
// each weighs. The engines compress for speed; a layer that is fetched by every run of every
// workflow is worth the minute that it takes here, once. Docker takes such layers since
// version 23: https://docs.docker.com/engine/release-notes/23.0/
//
//	podman save --format oci-dir -o DIR IMAGE
//	imagepack [-level N] [-limit BYTES] DIR
//
// DIR is an OCI layout that holds one image; the compressed one takes its place there:
// https://github.com/opencontainers/image-spec/blob/main/image-layout.md. It needs zstd on PATH.
// The same layers give the same bytes, so that the digest is a function of the image.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	switch {
	case errors.Is(err, flag.ErrHelp):
		os.Exit(2)
	case err != nil:
		fmt.Fprintf(os.Stderr, "imagepack: %v\n", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("imagepack", flag.ContinueOnError)
	level := flags.Int("level", 19, "how hard zstd tries, from 1 to 19")
	limit := flags.Int64("limit", 0, "fail if the image is larger than this many bytes; 0 for no limit")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() != 1 {
		return errors.New("name one folder with an OCI layout")
	}
	l := layout{dir: flags.Arg(0), level: *level}
	digest, layers, err := l.pack(ctx)
	if err != nil {
		return err
	}
	var total int64
	for _, d := range layers {
		fmt.Fprintf(out, "%10d bytes  from %11d  %s  %s\n", d.Size, d.raw, d.diffID, d.made)
		total += d.Size
	}
	fmt.Fprintf(out, "%10d bytes compressed, %.1f MB\ndigest %s\n", total, float64(total)/1e6, digest)
	if *limit > 0 && total > *limit {
		return fmt.Errorf("the image has %d bytes, %d more than it may", total, total-*limit)
	}
	return nil
}
