package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"text/tabwriter"
	"time"
)

// A sample is what one run cost, with all the processes it started and waited for.
type sample struct {
	wall, cpu time.Duration
}

// measure runs cmd to its end.
func measure(cmd *exec.Cmd) (sample, error) {
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	start := time.Now()
	err := cmd.Run()
	s := sample{wall: time.Since(start)}
	if err != nil {
		return s, fmt.Errorf("%s: %w\n%s", cmd.Path, err, out.Bytes())
	}
	s.cpu = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	return s, nil
}

func median(samples []sample, of func(sample) time.Duration) time.Duration {
	list := make([]time.Duration, len(samples))
	for i, s := range samples {
		list[i] = of(s)
	}
	slices.Sort(list)
	return list[len(list)/2]
}

// compare prints the medians of both sides, and how many times ours is theirs.
func compare(peer string, ours, theirs []sample) error {
	w := tabwriter.NewWriter(os.Stdout, 0, 8, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(w, "median\tours\t%s\tratio\t\n", peer)
	for _, row := range []struct {
		name string
		of   func(sample) time.Duration
	}{
		{"CPU", func(s sample) time.Duration { return s.cpu }},
		{"wall", func(s sample) time.Duration { return s.wall }},
	} {
		a, b := median(ours, row.of), median(theirs, row.of)
		fmt.Fprintf(w, "%s\t%v\t%v\t%.2f\t\n", row.name, a.Round(time.Millisecond), b.Round(time.Millisecond), a.Seconds()/b.Seconds())
	}
	return w.Flush()
}
