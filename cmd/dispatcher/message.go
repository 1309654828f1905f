package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"

	"github.com/pregoi/provision-tenant/internal/provision"
)

// message reads the job from the file that args name, or from standard input. It warns
// of a trace_id that is dropped.
func (p *program) message(args []string, allowUnknown bool) (provision.Job, error) {
	in := p.in
	if len(args) > 0 && args[0] != "-" {
		f, err := os.Open(args[0])
		if err != nil {
			return provision.Job{}, provision.Errorf(provision.Invalid, "message: %w", err)
		}
		defer f.Close()
		in = f
	}
	data, err := io.ReadAll(io.LimitReader(in, provision.MaxMessageBytes+1))
	if err != nil {
		return provision.Job{}, provision.Errorf(provision.Invalid, "message: %w", err)
	}
	job, err := provision.ParseMessage(data, allowUnknown)
	if err != nil {
		return provision.Job{}, err
	}
	var raw struct {
		TraceID string `json:"trace_id"`
	}
	if json.Unmarshal(data, &raw) == nil && raw.TraceID != "" && job.TraceID == "" {
		fmt.Fprintf(p.errs, "dispatcher: warning: trace_id %.80q is dropped: it is not trace_ and up to 122 letters, digits and . _ ~ @ : + -\n", raw.TraceID)
	}
	return job, nil
}
