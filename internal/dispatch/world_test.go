package dispatch_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/pregoi/provision-tenant/internal/dispatch"
	"github.com/pregoi/provision-tenant/internal/dispatch/ledgertest"
	"github.com/pregoi/provision-tenant/internal/provision"
)

// limited is an error that is a limit.
type limited struct {
	error
	at time.Time
}

func (l limited) NotBefore() time.Time { return l.at }
func (l limited) Unwrap() error        { return l.error }

// An answer is what the model of GitHub makes of one request.
type answer string

const (
	good      answer = "good"
	unnamed   answer = "204"
	unlisted  answer = "204, and the run is in no list"
	refuse    answer = "422"
	limitTold answer = "limit with a time" // 90 seconds
	limitOnly answer = "limit without a time"
	offline   answer = "nothing reaches it"
	before    answer = "502 before the effect"
	after     answer = "502 after the effect"
	slow      answer = "no answer, and the effect 40 seconds later" // its client gives up after 20
)

// A trouble befalls a process at one of its steps, which are the moments before and
// after each request and each use of the ledger, counted over its restarts.
type trouble struct {
	Process, Step int
	Kind          string // crash; stall, for longer than a lease; fail, of the ledger
}

// A message is delivered to a process, and again until it is acknowledged.
type message struct {
	At      time.Duration
	Process int
	Job     int
	Body    int // 0 or 1
	Twice   bool
}

// A history is everything that goes on in one test: what is not in its lists goes well.
type history struct {
	Messages []message
	Starts   []answer // to requests for a run, in the order of their arrival
	Looks    []answer // to requests for the list of runs
	Troubles []trouble
	Lag      time.Duration // until a run is in the list
	Slow     time.Duration // what the ledger takes to do anything
	Few      bool          // GitHub takes 2 writes a minute and 4 an hour
	Older    bool          // GitHub refuses the first request of each process, which asks for a run's id, and names no run
}

// pace is what a process keeps to.
func (h history) pace() *dispatch.Pace {
	if h.Few {
		return &dispatch.Pace{PerMinute: 2, PerHour: 4}
	}
	return &dispatch.Pace{}
}

// A twin does without something that the dispatcher needs.
type twin string

const (
	whole    twin = ""
	noLedger twin = "no ledger and no pace"
	noSlots  twin = "a pace for each process"
)

// A world is a history as it takes place: GitHub, a ledger, and the processes.
type world struct {
	history
	twin     twin
	troubled int // how many troubles there are at first
	ledger   ledgertest.Memory

	mu        sync.Mutex
	processes map[int]*process
	steps     map[int]int
	runs      map[string][]time.Time // by job: when they are in the list
	writes    []time.Time            // when requests for a run have reached GitHub
	told      time.Time              // when the ledger last learned of a limit
	quiet     time.Time              // until then
	refused   map[string]bool
	starts    int
	looks     int
	attempts  int
	problems  []string
}

func (w *world) problem(format string, args ...any) {
	w.problems = append(w.problems, fmt.Sprintf(format, args...))
}

// A process is one life of a dispatcher.
type process struct {
	w      *world
	n      int
	ctx    context.Context
	kill   context.CancelFunc
	reborn time.Time // when it was killed: when the next one starts
	told   time.Time // when it was last told to be quiet
	quiet  time.Time // until then
	older  bool      // it has learned not to ask for a run's id
	d      *dispatch.Dispatcher
}

// process returns the n'th process, after a restart if it is dead.
func (w *world) process(ctx context.Context, n int) *process {
	w.mu.Lock()
	defer w.mu.Unlock()
	p := w.processes[n]
	for p != nil && p.ctx.Err() != nil && time.Now().Before(p.reborn) {
		wait := time.Until(p.reborn)
		w.mu.Unlock()
		time.Sleep(wait)
		w.mu.Lock()
		p = w.processes[n]
	}
	if p == nil || p.ctx.Err() != nil {
		p = &process{w: w, n: n}
		p.ctx, p.kill = context.WithCancel(ctx)
		p.d = &dispatch.Dispatcher{Inputs: p.inputs, Start: p.start, Find: p.find, Ledger: p, Pace: w.pace()}
		switch p.d.Pace.Slots = p; w.twin {
		case noLedger:
			p.d.Ledger, p.d.Pace = nil, nil
		case noSlots:
			p.d.Pace.Slots = nil
		}
		w.processes[n] = p
	}
	return p
}

var (
	errDead   = errors.New("the process is dead")
	errLedger = provision.Errorf(provision.Busy, "the ledger does not answer")
)

// step is one step of the process. An error stops what it was about to do, or hides
// what it has done.
func (p *process) step(ledger bool) error {
	p.w.mu.Lock()
	n := p.w.steps[p.n]
	p.w.steps[p.n]++
	kind := ""
	for _, t := range p.w.Troubles {
		if t.Process == p.n && t.Step == n {
			kind = t.Kind
		}
	}
	if kind == "crash" && p.ctx.Err() == nil {
		p.reborn = time.Now().Add(5 * time.Second)
		p.kill()
	}
	p.w.mu.Unlock()
	switch {
	case p.ctx.Err() != nil:
		return errDead
	case kind == "stall":
		time.Sleep(3 * time.Minute)
	case kind == "fail" && ledger:
		return errLedger
	}
	return nil
}

// use is how every use of the ledger begins.
func (p *process) use() error {
	time.Sleep(p.w.Slow)
	return p.step(true)
}

// Load and Save make the process the ledger that its dispatcher sees.
func (p *process) Load(ctx context.Context, id string) (r dispatch.Record, err error) {
	if err := p.use(); err != nil {
		return r, err
	}
	if r, err = p.w.ledger.Load(ctx, id); err == nil {
		err = p.step(true)
	}
	return r, err
}

func (p *process) Save(ctx context.Context, r dispatch.Record) (ok bool, err error) {
	if err := p.use(); err != nil {
		return false, err
	}
	if ok, err = p.w.ledger.Save(ctx, r); err == nil {
		err = p.step(true)
	}
	return ok && err == nil, err
}

// LoadTally and SaveTally make it the slots, too. What has been loaded is used at once: a
// process that stalls then knows no better.
func (p *process) LoadTally(ctx context.Context) (dispatch.Tally, error) {
	if err := p.use(); err != nil {
		return dispatch.Tally{}, err
	}
	return p.w.ledger.LoadTally(ctx)
}

func (p *process) SaveTally(ctx context.Context, t dispatch.Tally) (ok bool, err error) {
	if err := p.use(); err != nil {
		return false, err
	}
	if ok, err = p.w.ledger.SaveTally(ctx, t); ok {
		p.w.mu.Lock()
		if t.Quiet.After(p.w.quiet) {
			p.w.told, p.w.quiet = time.Now(), t.Quiet
		}
		p.w.mu.Unlock()
	}
	if err == nil {
		err = p.step(true)
	}
	return ok && err == nil, err
}

func (p *process) inputs(_ context.Context, job provision.Job) (map[string]any, error) {
	p.ask("the workflow file")
	return map[string]any{"job_id": job.ID}, nil
}

// ask holds a request to what the process and the ledger know of limits. What is told this
// very moment may cross it, and what is told to the ledger while the process gets ready.
func (p *process) ask(what string) {
	w := p.w
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	if now.Before(p.quiet) && now.After(p.told) {
		w.problem("process %d asks for %s %s too early", p.n, what, p.quiet.Sub(now))
	}
	if now.Before(w.quiet) && now.After(w.told.Add(3*w.Slow)) {
		w.problem("process %d asks for %s %s too early for what another knows", p.n, what, w.quiet.Sub(now))
	}
}

// arrive holds a request for a run to the limits that GitHub documents.
func (w *world) arrive() {
	now := time.Now()
	w.writes = append(w.writes, now)
	bound := func(n int, window time.Duration) {
		if i := len(w.writes) - 1 - n; i >= 0 && now.Sub(w.writes[i]) < window {
			w.problem("GitHub is asked for %d runs within %s", n+1, now.Sub(w.writes[i]))
		}
	}
	bound(1, time.Second)
	if w.Few {
		bound(2, time.Minute)
		bound(4, time.Hour)
	}
}

// pop takes the next answer from a list.
func (w *world) pop(list *[]answer, count *int) answer {
	*count++
	if len(*list) == 0 {
		return good
	}
	a := (*list)[0]
	*list = (*list)[1:]
	return a
}

// effect is what a request for a run does at GitHub, sooner or later.
func (w *world) effect(job string, a answer) {
	lag := w.Lag
	if a == unlisted {
		lag = 1000 * time.Hour
	}
	w.runs[job] = append(w.runs[job], time.Now().Add(lag))
	if n := len(w.runs[job]); n > 1 {
		w.problem("%s has %d runs", job, n)
	}
}

func (p *process) start(ctx context.Context, inputs map[string]any) (dispatch.Run, error) {
	job := inputs["job_id"].(string)
	if p.w.twin != noLedger {
		p.ask("a run")
	}
	if err := p.step(false); err != nil {
		return dispatch.Run{}, err
	}
	if ctx.Err() != nil {
		return dispatch.Run{}, ctx.Err() // as net/http: nothing is sent
	}
	p.w.mu.Lock()
	if p.w.twin != noLedger {
		p.w.arrive()
	}
	if p.w.Older && !p.older {
		p.older = true
		p.w.starts++
		p.w.mu.Unlock()
		return dispatch.Run{}, differently{provision.Errorf(provision.Invalid, "400")}
	}
	a := p.w.pop(&p.w.Starts, &p.w.starts)
	if p.w.Older && a == good {
		a = unnamed
	}
	switch a {
	case good, unnamed, unlisted, after:
		p.w.effect(job, a)
	case refuse:
		p.w.refused[job] = true
	}
	id := int64(len(p.w.runs[job]))
	p.w.mu.Unlock()
	run, err := p.answer(ctx, a, func() {
		p.w.mu.Lock()
		defer p.w.mu.Unlock()
		p.w.effect(job, a)
	})
	if err == nil && a == good {
		run = dispatch.Run{ID: id, URL: job, HTMLURL: job}
	}
	if e := p.step(false); e != nil {
		return dispatch.Run{}, lost{e}
	}
	p.hear(err)
	return run, err
}

// hear notes that the process knows of a limit.
func (p *process) hear(err error) {
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	if l, ok := err.(limited); ok {
		p.told = time.Now()
		p.quiet = l.at
		if l.at.IsZero() {
			p.quiet = p.told.Add(time.Minute) // at least
		}
		if p.w.twin == noSlots { // which tells nobody
			p.w.told, p.w.quiet = p.told, latest(p.w.quiet, p.quiet)
		}
	}
}

// answer is how a request ends that has reached GitHub, or has not.
func (p *process) answer(ctx context.Context, a answer, effect func()) (run dispatch.Run, err error) {
	time.Sleep(100 * time.Millisecond) // on its way back
	busy := provision.Errorf(provision.Busy, "%s", a)
	switch a {
	case refuse:
		return run, provision.Errorf(provision.Invalid, "%s", a)
	case limitTold, limitOnly:
		l := limited{busy, time.Time{}}
		if a == limitTold {
			l.at = time.Now().Add(90 * time.Second)
		}
		return run, l
	case offline:
		return run, busy
	case before, after:
		return run, lost{busy}
	case slow:
		time.AfterFunc(40*time.Second, effect)
		ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
		defer cancel()
		<-ctx.Done()
		return run, lost{ctx.Err()}
	}
	return run, nil
}

func (p *process) find(ctx context.Context, job string, after int64, since time.Time) (dispatch.Run, bool, error) {
	p.ask("the runs")
	if err := p.step(false); err != nil {
		return dispatch.Run{}, false, err
	}
	p.w.mu.Lock()
	a := p.w.pop(&p.w.Looks, &p.w.looks)
	var run dispatch.Run
	for i, at := range p.w.runs[job] {
		if !at.After(time.Now()) && run.ID == 0 && int64(i+1) > after && !at.Add(-p.w.Lag).Before(since) {
			run = dispatch.Run{ID: int64(i + 1), URL: job, HTMLURL: job}
		}
	}
	p.w.mu.Unlock()
	if _, err := p.answer(ctx, a, func() {}); err != nil {
		p.hear(err)
		return dispatch.Run{}, false, err
	}
	return run, run.ID > 0, p.step(false)
}

// later returns the LaterError in err.
func later(err error) (l *dispatch.LaterError, ok bool) {
	ok = errors.As(err, &l)
	return l, ok
}

func latest(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
