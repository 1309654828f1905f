package sandbox

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/pregoi/provision-tenant/internal/provision"
	"github.com/pregoi/provision-tenant/internal/sandbox/github"
	"github.com/pregoi/provision-tenant/internal/sandbox/hetzner"
)

// A sheet is what was read back of one tenant, fact by fact.
type sheet []fact

// A fact is one line of a sheet. wrong says what is wrong with it; empty when it is right.
type fact struct{ name, value, wrong string }

// add notes a fact; each problem that is not empty makes it wrong.
func (f *sheet) add(name, value string, problems ...string) {
	problems = slices.DeleteFunc(problems, func(p string) bool { return p == "" })
	*f = append(*f, fact{name, value, strings.Join(problems, ", ")})
}

// readBack asks every system for what it holds of a tenant, and compares. want is nil for
// a job of which no particular placement is expected.
func (s *Sandbox) readBack(ctx context.Context, tenantID, jobID string, want *expectation) sheet {
	var f sheet
	f.add("tenant", tenantID)
	if jobID == "" {
		f.add("job", "", "it was never enqueued")
		return f
	}
	job, err := s.Client.Job(ctx, jobID)
	if err != nil {
		f.add("job", jobID, err.Error())
		return f
	}
	f.add("job", fmt.Sprintf("%s %s", job.ID, job.Status), differs(provision.JobCompleted, job.Status), differs(tenantID, job.TenantID))
	why := fmt.Sprintf("%s (%s)", job.InfraMode, job.DecisionReason)
	if want != nil {
		f.add("placement", why, differs(want.reason, job.DecisionReason))
	} else {
		f.add("placement", why)
	}
	s.readRun(ctx, &f, job.RunID)

	node, err := s.Client.Node(ctx, job.NodeID)
	if err != nil {
		f.add("node_id", job.NodeID, err.Error())
		return f
	}
	servers := s.serversOf(tenantID)
	s.readStack(&f, job.Stack, servers, node, want)
	f.add("node_id", node.ID, differs(job.NodeID, node.ID), differs(job.Region, node.Region))
	f.add("host", node.Host, s.hostProblem(node))
	s.readRecords(&f, tenantID, job.CanonicalHostname, node)
	f.add("answers", s.knock(ctx, job.CanonicalHostname, &f))
	s.readTrace(ctx, &f, jobID)
	return f
}

// differs says that something is not what it should be.
func differs[T comparable](want, got T) string {
	if want == got {
		return ""
	}
	return fmt.Sprintf("expected %v, found %v", want, got)
}

// endTime is how long a run may take to end after its job has: its post part, and its container.
const endTime = 20 * time.Second

// readRun looks at the run of the workflow.
func (s *Sandbox) readRun(ctx context.Context, f *sheet, runID string) {
	ctx, cancel := context.WithTimeout(ctx, endTime)
	defer cancel()
	id, err := strconv.ParseInt(runID, 10, 64)
	if err == nil {
		var run github.Run
		run, err = s.GitHub.Wait(ctx, id)
		f.add("run", fmt.Sprintf("%s %s", runID, run.Conclusion), differs("success", run.Conclusion))
	}
	if err != nil {
		f.add("run", runID, err.Error())
	}
}

// serversOf returns the servers that carry the tenant's label.
func (s *Sandbox) serversOf(tenantID string) []hetzner.ServerInfo {
	list := slices.DeleteFunc(s.Hetzner.Servers(s.hetznerToken), func(v hetzner.ServerInfo) bool {
		return v.Labels["tenant_id"] != provision.LabelValue(tenantID)
	})
	slices.SortFunc(list, func(a, b hetzner.ServerInfo) int { return cmp.Compare(a.Labels["role"], b.Labels["role"]) })
	return list
}

// readStack looks at the stack and at the servers that were made for the tenant.
func (s *Sandbox) readStack(f *sheet, stack string, servers []hetzner.ServerInfo, node provision.Node, want *expectation) {
	if stack == "" {
		f.add("stack", "none: the node was there")
	} else if err := s.stackKnown(stack); err != nil {
		f.add("stack", stack, err.Error())
	} else {
		f.add("stack", stack)
	}
	if want != nil && want.stack != (stack != "") {
		f.add("stack", stack, "expected one, or none, the other way round")
	}
	var list, problems []string
	for _, v := range servers {
		role := v.Labels["role"]
		list = append(list, fmt.Sprintf("%s %d %s", role, v.ID, v.IPv4))
		problems = append(problems, differs("running", v.Status), differs(node.ID, v.Labels["node_id"]))
		switch provision.Role(role) {
		case provision.App:
			problems = append(problems, differs(node.Host, v.IPv4))
		case provision.DB:
			problems = append(problems, differs(node.DBHost, v.IPv4))
		case provision.Redis:
			problems = append(problems, differs(node.RedisHost, v.IPv4))
		}
	}
	if want != nil {
		problems = append(problems, differs(want.servers, len(servers)))
	}
	if len(list) == 0 {
		list = []string{"none of its own"}
	}
	f.add("servers", list[0], problems...)
	for _, more := range list[1:] {
		f.add("", more)
	}
}

// hostProblem says what is wrong with a node's address: some running server must have it.
func (s *Sandbox) hostProblem(node provision.Node) string {
	if _, ok := s.answer(node.Host); !ok {
		return "no running server has this address"
	}
	return ""
}

// readRecords looks at the hostname's records.
func (s *Sandbox) readRecords(f *sheet, tenantID, hostname string, node provision.Node) {
	var found []provision.Record
	for _, r := range s.Cloudflare.Records() {
		if r.Name == hostname {
			comment := ""
			if r.Comment != nil {
				comment = *r.Comment
			}
			found = append(found, provision.Record{ID: r.ID, Type: r.Type, Name: r.Name, Content: r.Content, Comment: comment})
		}
	}
	if len(found) == 0 {
		f.add("DNS record", hostname, "there is none")
	}
	for _, r := range found {
		want := node.Host
		if r.Type == "AAAA" {
			want = node.IPv6
		}
		f.add("DNS record", fmt.Sprintf("%s %s %s", r.Name, r.Type, r.Content),
			differs(want, r.Content), differs(provision.RecordComment(tenantID), r.Comment))
	}
}

// knock asks the hostname for an answer, as a browser of the tenant would.
func (s *Sandbox) knock(ctx context.Context, hostname string, f *sheet) string {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.EdgeURL+"/", nil)
	if err != nil {
		return err.Error()
	}
	req.Host = hostname
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err.Error()
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
	if err != nil {
		return err.Error()
	}
	if resp.StatusCode != http.StatusOK {
		f.add("answers", resp.Status, "expected 200")
	}
	return strings.TrimSpace(string(body))
}

// readTrace looks at how every step ended, and how long it took.
func (s *Sandbox) readTrace(ctx context.Context, f *sheet, jobID string) {
	events, err := s.Client.Trace(ctx, jobID)
	if err != nil {
		f.add("trace", jobID, err.Error())
		return
	}
	for _, name := range stages[2:] { // the action's steps
		var e provision.Event // of the last attempt
		for _, is := range events {
			if is.Stage == name && is.Status != provision.Started {
				e = is
			}
		}
		switch e.Status {
		case "":
			f.add("  "+name, "", "no event says how it ended")
		case provision.Succeeded:
			f.add("  "+name, fmt.Sprintf("%.1f s", float64(e.DurationMS)/1000))
		case provision.Skipped:
			f.add("  "+name, "skipped")
		default:
			f.add("  "+name, string(e.Status), e.Message)
		}
	}
}

// printSheets prints the sheets as one table, a column each, and what is wrong below it.
// It returns how much is wrong.
func printSheets(out io.Writer, sheets []sheet) (wrong int) {
	w := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	fmt.Fprintln(w)
	// The sheets have different lengths (servers, records): line them up by name.
	for _, name := range names(sheets) {
		rows := 0
		cells := make([][]fact, len(sheets))
		for i, f := range sheets {
			cells[i] = f.under(name)
			rows = max(rows, len(cells[i]))
		}
		for row := range rows {
			label := name
			if row > 0 {
				label = ""
			}
			fmt.Fprint(w, label)
			for _, c := range cells {
				value := ""
				if row < len(c) {
					value = c[row].value
					if c[row].wrong != "" {
						value = "✗ " + value
					}
				}
				fmt.Fprint(w, "\t", value)
			}
			fmt.Fprintln(w)
		}
	}
	_ = w.Flush() // a terminal that has gone away is noticed elsewhere
	for _, f := range sheets {
		for _, line := range f {
			if line.wrong != "" {
				fmt.Fprintf(out, "✗ %s: %s %q: %s\n", f[0].value, strings.TrimSpace(line.name), line.value, line.wrong)
				wrong++
			}
		}
	}
	return wrong
}

// names returns the names of all facts, in order.
func names(sheets []sheet) []string {
	var list []string
	for _, f := range sheets {
		for _, line := range f {
			if line.name != "" && !slices.Contains(list, line.name) {
				list = append(list, line.name)
			}
		}
	}
	return list
}

// under returns the facts of that name; nameless ones belong to the name above them.
func (f sheet) under(name string) []fact {
	var list []fact
	at := ""
	for _, line := range f {
		if line.name != "" {
			at = line.name
		}
		if at == name {
			list = append(list, line)
		}
	}
	return list
}
