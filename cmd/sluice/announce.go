package main

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sluice-gateway/sluice/internal/fleet/local"
	"github.com/sluice-gateway/sluice/internal/keeper"
	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/pipeline"
	"github.com/sluice-gateway/sluice/internal/resource"
	"github.com/sluice-gateway/sluice/internal/source"
	"github.com/sluice-gateway/sluice/internal/status"
	"github.com/sluice-gateway/sluice/internal/xds"
)

// most is how many lines a list has at the most before the rest is only counted.
const most = 20

// announcer prints what a running instance has to say: at the start what listens where, which host goes to what and
// what is wrong; after that one line for each change. It is safe for concurrent use.
type announcer struct {
	mu  sync.Mutex
	out io.Writer

	places  *finder
	started bool
	// problems are the lines that were last printed about what could not be read.
	problems map[string]bool
	notices  map[string]bool
	// unread is what could not be read, as of the last batch.
	unread []resource.Problem
	// waiting are the changes that are not live yet.
	waiting []waiting
	// lived is the newest version that is live: Envoy can be faster than the batch is noted here.
	lived uint64
}

// waiting is a change on its way to Envoy.
type waiting struct {
	version uint64
	batch   source.Batch
	noticed time.Time
}

func newAnnouncer(out io.Writer) *announcer {
	return &announcer{
		out: out, places: newFinder(source.Batch{}), problems: map[string]bool{}, notices: map[string]bool{},
	}
}

// learn takes in where the objects of a batch were written.
func (a *announcer) learn(batch source.Batch) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.places.learn(batch)
}

func (a *announcer) print(format string, args ...any) {
	_, _ = fmt.Fprintf(a.out, format+"\n", args...)
}

// line prints a line about something that happened now.
func (a *announcer) line(what, format string, args ...any) {
	a.print("%s  %-8s %s", time.Now().Format("15:04:05.000"), what, fmt.Sprintf(format, args...))
}

func (a *announcer) envoy(b local.Binary) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.print("Sluice %s with Envoy %s (%s)", version, b.Version, b.Path)
	if b.Warning != "" {
		a.line("warning", "%s", b.Warning)
	}
}

// changed takes in a batch and what became of it, and returns the number of problems there are now.
func (a *announcer) changed(batch source.Batch, out pipeline.Outcome) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.unread = batch.Problems
	if v, ok := out.Versions[localProxy]; ok {
		a.waiting = append(a.waiting, waiting{version: v, batch: batch, noticed: batch.Noticed})
		defer a.flush()
	}
	for _, n := range batch.Notices {
		if text := n.String(); !a.notices[text] {
			a.notices[text] = true
			a.line("note", "%s", text)
		}
	}
	a.printFaults(out)
	if !a.started {
		return len(batch.Problems)
	}
	a.printProblems(batch)
	a.printIssues(out)
	if _, ok := out.Versions[localProxy]; !ok && len(batch.Set)+len(batch.Delete) > 0 {
		a.line("read", "%s: nothing for Envoy to do", describe(batch))
	}
	return len(batch.Problems)
}

// printProblems prints what could not be read and was not printed before, and what can be read again.
func (a *announcer) printProblems(batch source.Batch) {
	now := map[string]bool{}
	for _, p := range batch.Problems {
		text := p.String()
		now[text] = true
		if !a.problems[text] {
			a.line("refused", "%s", text)
		}
	}
	for text := range a.problems {
		if !now[text] {
			a.line("fixed", "%s", text)
		}
	}
	a.problems = now
}

// issues prints what a commit made wrong or mended.
func (a *announcer) issues(out pipeline.Outcome) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.printFaults(out)
	if a.started {
		a.printIssues(out)
	}
}

// printFaults prints what Sluice itself has failed on, with the stack.
func (a *announcer) printFaults(out pipeline.Outcome) {
	for _, f := range out.Result.Faults {
		a.line("bug", "%v", f)
	}
}

func (a *announcer) printIssues(out pipeline.Outcome) {
	for _, i := range out.Issues {
		a.line("refused", "%s", a.places.issue(i))
		if i.Condition == status.Programmed {
			a.takeBack(i.Object)
		}
	}
	for _, i := range out.Fixed {
		a.line("fixed", "%s", a.places.issue(i))
	}
}

// streamFailed prints that the handler of an Envoy's stream has panicked.
func (a *announcer) streamFailed(e xds.Event) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.line("bug", "the stream of Envoy %s has ended: %s", e.Node, e.Message)
}

// takeBack drops an object that Envoy refuses from what is to be live: its last good version is.
func (a *announcer) takeBack(ref model.Ref) {
	for i := range a.waiting {
		b := &a.waiting[i].batch
		b.Set = slices.DeleteFunc(slices.Clone(b.Set), func(o source.Object) bool { return o.Ref == ref })
	}
}

// rejected prints that Envoy refuses something that no status can say.
func (a *announcer) rejected(e xds.Event) {
	a.mu.Lock()
	defer a.mu.Unlock()
	name := e.Resource
	if e.Part != "" {
		name += " host " + e.Part
	}
	a.line("refused", "Envoy refuses %s %s%s: %s", e.Type, name, a.places.of(e), e.Message)
}

// live prints the changes that are live with a version.
func (a *announcer) live(version uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.lived = max(a.lived, version)
	a.flush()
}

// flush prints the waiting changes that are live. The caller holds the lock.
func (a *announcer) flush() {
	if !a.started {
		return
	}
	a.waiting = slices.DeleteFunc(a.waiting, func(w waiting) bool {
		if w.version > a.lived {
			return false
		}
		if what := describe(w.batch); what != "" {
			a.line("live", "%s in %s", what, took(time.Since(w.noticed)))
		}
		return true
	})
}

// crashed prints that Envoy died.
func (a *announcer) crashed(c local.Crash) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.line("envoy", "%s", c.Error())
}

// tookOver prints that another Envoy serves, and what was lost.
func (a *announcer) tookOver(b local.Binary, loss error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.line("envoy", "another Envoy %s has taken over, and the one before has ended", b.Version)
	if loss != nil {
		a.line("warning", "%v", loss)
	}
}

// unlaunched prints that Envoy does not start as it is to.
func (a *announcer) unlaunched(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.line("refused", "Envoy cannot be started as the EnvoyProxies say, and serves without what is new there: %v", err)
}

// ended prints that the control plane died.
func (a *announcer) ended(e keeper.End) {
	a.mu.Lock()
	defer a.mu.Unlock()
	times := ""
	if e.InARow > 1 {
		times = fmt.Sprintf(", %d times in a row", e.InARow)
	}
	a.line("restart", "the control plane has ended (%v)%s; Envoy goes on serving, and it is started again in %s",
		e.Err, times, e.RestartIn)
}

// upgradeWaits prints that an upgrade is done later.
func (a *announcer) upgradeWaits() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.line("upgrade", "the control plane has not served its first configuration yet, and is replaced when it has")
}

// upgraded prints what came of an upgrade.
func (a *announcer) upgraded(to string, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err != nil {
		a.line("upgrade", "the new control plane has not started: %v", err)
		return
	}
	a.line("upgrade", "the control plane is Sluice %s now; Envoy went on serving", to)
}

// logged prints what Envoy warns of.
func (a *announcer) logged(l local.Line) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.line("envoy", "%s", l)
}

// logger returns a log whose lines are printed as what.
func (a *announcer) logger(what string) *slog.Logger {
	return slog.New(slog.NewTextHandler(lines{a, what}, &slog.HandlerOptions{
		ReplaceAttr: func(_ []string, attr slog.Attr) slog.Attr {
			if attr.Key == slog.TimeKey {
				return slog.Attr{} // the other lines have none
			}
			return attr
		},
	}))
}

// lines prints what is written, one line at a time.
type lines struct {
	to   *announcer
	what string
}

func (l lines) Write(line []byte) (int, error) {
	l.to.mu.Lock()
	defer l.to.mu.Unlock()
	l.to.line(l.what, "%s", bytes.TrimSuffix(line, []byte("\n")))
	return len(line), nil
}

// keeping prints that the state cannot be written, or can be again.
func (a *announcer) keeping(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err != nil {
		a.line("state", "%v; until that works, a start with broken files would find older versions. It is tried again", err)
		return
	}
	a.line("state", "everything is kept again")
}

// stopping prints that the end has come.
func (a *announcer) stopping(drain time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.print("Stopping: requests under way have up to %s to finish.", drain)
}

// failed prints an error that ends nothing.
func (a *announcer) failed(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.line("error", "%v", err)
}

// start prints what is there once the first configuration is live.
func (a *announcer) start(p *pipeline.Pipeline, version uint64, admin string, after time.Duration) {
	issues, listeners, hosts := p.Issues(), p.Listening(), p.Hosts()
	a.mu.Lock()
	defer a.mu.Unlock()
	a.started = true
	a.waiting = slices.DeleteFunc(a.waiting, func(w waiting) bool { return w.version <= version })
	a.list("Listening", listeners)
	a.list("Hosts", hosts)
	a.list("Problems", a.places.problems(a.unread, issues))
	for _, p := range a.unread {
		a.problems[p.String()] = true
	}
	a.print("Ready after %s. Ask with `sluice status`; the admin API is on http://%s.", took(after), admin)
}

func (a *announcer) list(title string, lines []string) {
	if len(lines) == 0 {
		return
	}
	a.print("%s", title)
	for _, l := range lines[:min(most, len(lines))] {
		a.print("  %s", l)
	}
	if more := len(lines) - most; more > 0 {
		a.print("  and %d more", more)
	}
}

// describe says what a batch changes: the objects if they are few, else how many.
func describe(batch source.Batch) string {
	var names []string
	for _, o := range batch.Set {
		names = append(names, o.Ref.String())
	}
	for _, ref := range batch.Delete {
		names = append(names, ref.String()+" (removed)")
	}
	if len(names) > 3 {
		return count(len(names), "object")
	}
	return strings.Join(names, ", ")
}

// took prints a duration with as many digits as are worth reading.
func took(d time.Duration) string {
	if d < time.Second {
		return d.Round(100 * time.Microsecond).String()
	}
	return d.Round(10 * time.Millisecond).String()
}
