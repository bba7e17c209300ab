package docs

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// step is one thing that a page does, in the order of the document. Exactly one of its kinds is set: a file is written,
// a command is run, or (neither) the running sluice is expected to have printed something.
type step struct {
	// line is where the step is on the page, from 1.
	line int
	// file is the name of the file that the step writes, content what is in it.
	file, content string
	// command is what sh runs.
	command string
	// want is the output, in which "..." stands for anything.
	want []string
	// block counts the code blocks of the page up to the step's.
	block int
}

// fence is a code block of a page.
type fence struct {
	language string
	line     int // of the first line inside.
	lines    []string
}

// filePattern is the first line of a YAML block. The name is one that sluice reads, and stays in the folder.
var filePattern = regexp.MustCompile(`^# file: ([a-z0-9][a-z0-9-]*\.yaml)$`)

// parsePage returns the steps of a page. A block that would silently not be executed is an error.
func parsePage(text string) ([]step, error) {
	fences, err := parseFences(text)
	if err != nil {
		return nil, err
	}
	var steps []step
	for n, f := range fences {
		var more []step
		switch f.language {
		case "yaml":
			more, err = parseFile(f)
		case "console":
			more, err = parseConsole(f)
		case "text":
		default:
			err = fmt.Errorf("line %d: a code block is yaml, console or, if it cannot be executed, text: not %q",
				f.line-1, f.language)
		}
		if err != nil {
			return nil, err
		}
		for _, s := range more {
			s.block = n
			steps = append(steps, s)
		}
	}
	return steps, nil
}

func parseFences(text string) ([]fence, error) {
	var out []fence
	open := false
	for i, line := range strings.Split(text, "\n") {
		language, isFence := strings.CutPrefix(line, "```")
		switch {
		case isFence && !open:
			out = append(out, fence{language: language, line: i + 2})
			open = true
		case isFence:
			open = false
		case open:
			last := &out[len(out)-1]
			last.lines = append(last.lines, line)
		}
	}
	if open {
		return nil, fmt.Errorf("line %d: the code block does not end", out[len(out)-1].line-1)
	}
	return out, nil
}

func parseFile(f fence) ([]step, error) {
	if len(f.lines) == 0 {
		return nil, fmt.Errorf("line %d: the block is empty", f.line)
	}
	name := filePattern.FindStringSubmatch(f.lines[0])
	if name == nil {
		return nil, fmt.Errorf("line %d: the first line of a yaml block names its file: # file: NAME.yaml", f.line)
	}
	for i, line := range f.lines {
		for _, port := range portPattern.FindAllStringSubmatch(line, -1) {
			if n, err := strconv.Atoi(port[1]); err != nil || n >= 1024 && !slices.Contains(pagePorts, port[1]) {
				return nil, fmt.Errorf("line %d: port %s may be taken where the page is tested: use one of %v",
					f.line+i, port[1], pagePorts)
			}
		}
	}
	return []step{{line: f.line, file: name[1], content: strings.Join(f.lines, "\n") + "\n"}}, nil
}

// portPattern finds the ports in YAML.
var portPattern = regexp.MustCompile(`[pP]ort: *([0-9]+)`)

// parseConsole splits a block at its prompts: "$ " starts a command and "> " continues it. A block without a prompt is
// what the running sluice prints.
func parseConsole(f fence) ([]step, error) {
	var out []step
	if len(f.lines) == 0 {
		return nil, fmt.Errorf("line %d: the block is empty", f.line)
	}
	if !strings.HasPrefix(f.lines[0], "$ ") {
		out = append(out, step{line: f.line})
	}
	for i, line := range f.lines {
		if command, ok := strings.CutPrefix(line, "$ "); ok {
			out = append(out, step{line: f.line + i, command: command})
			continue
		}
		last := &out[len(out)-1]
		more, continued := strings.CutPrefix(line, "> ")
		if continued && last.command != "" && len(last.want) == 0 {
			last.command += "\n" + more
			continue
		}
		last.want = append(last.want, line)
	}
	return out, nil
}
