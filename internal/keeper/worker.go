package keeper

import (
	"fmt"
	"io"
	"os"
)

const (
	// variable is the folder that keeper and worker share, in the worker's environment.
	variable = "SLUICE_WORKER"
	// reportFile is the file descriptor on which a worker reports.
	reportFile = 3
	// The words of a report.
	wordServing, wordReady = "serving", "ready"
)

// Worker is a worker's side of what is between it and its keeper.
type Worker struct {
	// Dir is the folder that the keeper has made for what both use.
	Dir string
	// Released is closed when the worker is not needed any more, or its keeper has ended.
	Released <-chan struct{}

	report *os.File
}

// Join returns the worker that this process is, or nil if it is none. A process must call it once at most.
func Join() *Worker {
	dir := os.Getenv(variable)
	if dir == "" {
		return nil
	}
	released := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // however it ends, nobody is there any more
		close(released)
	}()
	return &Worker{Dir: dir, Released: released, report: os.NewFile(reportFile, "report")}
}

// Serving says that what the keeper holds can reach this worker. A keeper that cannot be told has ended, as Released
// says.
func (w *Worker) Serving() { _, _ = fmt.Fprintln(w.report, wordServing) }

// Say says something, one line, to who runs the keeper. What it is must not begin as Serving and Ready do.
func (w *Worker) Say(line string) { _, _ = fmt.Fprintln(w.report, line) }

// Ready says that the worker, which is of a version, does what it is there for.
func (w *Worker) Ready(version string) { _, _ = fmt.Fprintln(w.report, wordReady, version) }
