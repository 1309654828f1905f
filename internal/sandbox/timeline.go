package sandbox

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/pregoi/provision-tenant/internal/provision"
)

// stages are the lines of a timeline: what happens to a job before its run, and the
// action's steps.
var stages = []string{"enqueue", "dispatch", "resolve_node", "select_stack", "pulumi_up", "register_node", "tenant_dns", "provision_complete"}

// A timeline shows several jobs side by side while they are being provisioned. On a
// terminal it draws one table over and over; elsewhere it prints a line for each event.
type timeline struct {
	out   io.Writer
	live  bool // out is a terminal
	start time.Time

	mu    sync.Mutex
	lanes []*lane
	drawn int // lines that the last drawing took
}

// A lane is one job's column.
type lane struct {
	name  string
	note  string // where it lands, once that is known
	cells map[string]*stage
}

// A stage is what is known of one stage of one job.
type stage struct {
	status provision.Status
	since  time.Time
	took   time.Duration
}

func newTimeline(out io.Writer, live bool) *timeline {
	return &timeline{out: out, live: live, start: time.Now()}
}

// lane adds a column.
func (t *timeline) lane(name string) *lane {
	t.mu.Lock()
	defer t.mu.Unlock()
	l := &lane{name: name, cells: map[string]*stage{}}
	t.lanes = append(t.lanes, l)
	return l
}

// note says in l's head where the job lands.
func (t *timeline) note(l *lane, text string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if l.note == text {
		return
	}
	l.note = text
	if !t.live {
		t.line(l, text)
	}
}

// set records what became of a stage. Telling it the same twice shows it once.
func (t *timeline) set(l *lane, name string, status provision.Status, took time.Duration, text string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	c := l.cells[name]
	if c == nil {
		c = &stage{since: time.Now()}
		l.cells[name] = c
	}
	if c.status == status || c.status != "" && status == provision.Started {
		return
	}
	c.status, c.took = status, took
	if t.live {
		return
	}
	s := fmt.Sprintf("%-18s %s", name, status)
	if status == provision.Succeeded || status == provision.Failed {
		s += fmt.Sprintf(" (%.1f s)", took.Seconds())
	}
	if text != "" {
		s += ": " + text
	}
	t.line(l, s)
}

func (t *timeline) line(l *lane, text string) {
	fmt.Fprintf(t.out, "%6.1f s  %-10s  %s\n", time.Since(t.start).Seconds(), l.name, text)
}

// columnWidth is the width of one job's column on a terminal.
const columnWidth = 26

// draw brings the terminal up to date.
func (t *timeline) draw() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.live {
		return
	}
	var b strings.Builder
	if t.drawn > 0 {
		fmt.Fprintf(&b, "\x1b[%dA", t.drawn)
	}
	t.drawn = 0
	row := func(first string, cell func(*lane) string) {
		fmt.Fprintf(&b, "\x1b[2K%-22s", first)
		for _, l := range t.lanes {
			fmt.Fprintf(&b, "%s ", fit(cell(l), columnWidth))
		}
		b.WriteByte('\n')
		t.drawn++
	}
	row(fmt.Sprintf("%.1f s", time.Since(t.start).Seconds()), func(l *lane) string { return l.name })
	row("", func(l *lane) string { return l.note })
	for _, name := range stages {
		row("  "+name, func(l *lane) string { return l.cells[name].String() })
	}
	_, _ = io.WriteString(t.out, b.String()) // a terminal that has gone away is noticed elsewhere
}

// String shows how far the stage is, and how long it took or has taken.
func (c *stage) String() string {
	if c == nil {
		return "·"
	}
	switch c.status {
	case provision.Started:
		return fmt.Sprintf("▶ %.1f s", time.Since(c.since).Seconds())
	case provision.Succeeded:
		return fmt.Sprintf("✓ %.1f s", c.took.Seconds())
	case provision.Failed:
		return fmt.Sprintf("✗ %.1f s", c.took.Seconds())
	case provision.Skipped:
		return "– skipped"
	}
	return "·"
}

// fit cuts or fills s to n characters.
func fit(s string, n int) string {
	r := []rune(s)
	if len(r) > n {
		return string(r[:n-1]) + "…"
	}
	return s + strings.Repeat(" ", n-len(r))
}

// keepDrawing draws the timeline until stop is called.
func (t *timeline) keepDrawing() (stop func()) {
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				t.draw()
			case <-quit:
				t.draw()
				return
			}
		}
	}()
	return func() {
		close(quit)
		<-done
	}
}
