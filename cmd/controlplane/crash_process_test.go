package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"testing"
	"time"
)

// A serving is a control plane in a process of its own.
type serving struct {
	cmd  *exec.Cmd
	url  chan string // where it listens, once
	log  bytes.Buffer
	read chan struct{} // closed when the log has ended
}

// startServer starts controlplane serve. Its owner kills or stops it.
func startServer(t *testing.T, env []string, args ...string) *serving {
	t.Helper()
	s := &serving{cmd: exec.Command("controlplane", append([]string{"serve", "--addr", "127.0.0.1:0"}, args...)...),
		url: make(chan string, 1), read: make(chan struct{})}
	s.cmd.Env = env
	pipe, err := s.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(s.read)
		for lines := bufio.NewScanner(io.TeeReader(pipe, &s.log)); lines.Scan(); {
			var line struct{ Msg, Addr string }
			if json.Unmarshal(lines.Bytes(), &line) == nil && line.Msg == "listening" {
				s.url <- "http://" + line.Addr
			}
		}
	}()
	return s
}

// listening waits until it listens, and returns where.
func (s *serving) listening(t *testing.T) string {
	t.Helper()
	select {
	case url := <-s.url:
		return url
	case <-s.read:
		t.Fatalf("it did not listen: %v\n%s", s.cmd.Wait(), s.log.String())
	case <-time.After(30 * time.Second):
		_ = s.cmd.Process.Kill()
		<-s.read
		t.Fatalf("it does not listen: %s", s.log.String())
	}
	return ""
}

// kill kills it, and returns its log.
func (s *serving) kill(t *testing.T) string {
	t.Helper()
	if err := s.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Error(err)
	}
	<-s.read
	if err := s.cmd.Wait(); err == nil || err.Error() != "signal: killed" {
		t.Errorf("it ended by itself: %v\n%s", err, s.log.String())
	}
	return s.log.String()
}

// stop lets it finish, and returns its log.
func (s *serving) stop(t *testing.T) string {
	t.Helper()
	if err := s.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Error(err)
	}
	<-s.read
	if err := s.cmd.Wait(); err != nil {
		t.Errorf("it did not end well: %v\n%s", err, s.log.String())
	}
	return s.log.String()
}
