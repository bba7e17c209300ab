package main

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
)

// commandPage returns the page of the commands, in the order in which they name themselves.
func commandPage(sluice string) (string, error) {
	var page strings.Builder
	page.WriteString("# Commands\n\nWhat `sluice help` says. The exit status is 0, or 1 after an error or, from " +
		"`sluice validate`, a problem.\n")
	if err := describe(&page, sluice, nil); err != nil {
		return "", err
	}
	return page.String(), nil
}

// describe writes a command and those below it.
func describe(page *strings.Builder, sluice string, path []string) error {
	text, err := help(sluice, path)
	if err != nil {
		return err
	}
	title := strings.Join(append([]string{"sluice"}, path...), " ")
	_, _ = fmt.Fprintf(page, "\n## %s\n\n```text\n%s\n```\n", title, text)
	for _, name := range subcommands(text) {
		if err := describe(page, sluice, append(path[:len(path):len(path)], name)); err != nil {
			return err
		}
	}
	return nil
}

// concurrency is the one default that depends on the machine.
var concurrency = regexp.MustCompile(`(--envoy-concurrency .*)\(default \d+\)`)

func help(sluice string, path []string) (string, error) {
	cmd := exec.Command(sluice, append([]string{"help"}, path...)...)
	// The default of --state-dir is below this folder.
	cmd.Env = append(os.Environ(), "XDG_STATE_HOME=~/.local/state")
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("sluice help %s: %w\n%s", strings.Join(path, " "), err, out)
	}
	text := concurrency.ReplaceAllString(string(out), "$1(default: the number of CPUs)")
	lines := strings.Split(strings.TrimSpace(text), "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " ")
	}
	return strings.Join(lines, "\n"), nil
}

// entry is a line of the list of commands.
var entry = regexp.MustCompile(`^  ([a-z]+) +\S`)

// subcommands returns the commands that a help text lists, without those that every program of this kind has.
func subcommands(text string) []string {
	var out []string
	_, list, _ := strings.Cut(text, "Available Commands:\n")
	list, _, _ = strings.Cut(list, "\n\n")
	for line := range strings.Lines(list) {
		if m := entry.FindStringSubmatch(line); m != nil && m[1] != "help" && m[1] != "completion" {
			out = append(out, m[1])
		}
	}
	return out
}
