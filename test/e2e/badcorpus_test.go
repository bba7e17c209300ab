package e2e

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// badObject is a file of testdata/bad: a mistake that somebody can make, and what has to come of it. The comment at its
// head says it, in lines of the form KEY: VALUE behind a blank line:
//
//	output: A | B                   a line of the output has all parts
//	status: KIND NAME CONDITION TEXT  the object has the condition, and the text is in its message; * is any, and so is
//	                                a reason that the condition does not have
//	answer: STATUS /PATH            the answer, while it is bad, to a request to the host NAME.example
//	answer: STATUS SCHEME:PORT HOST/PATH  the same for another port and, unless it is empty, host
//	answer: refused PORT            nobody listens at the port
//	answer: closed PORT             connections to the port end before there is an answer
//	works: yes                      nothing is wrong with it, and nobody says so
//	first: mended                   it is an edit of what was good
//	restarted: ...                  like answer, once Sluice was restarted, if that is another
//	mend: OLD ==> NEW               what mends it, any number of times
//	mended: ...                     like answer, once it is mended
type badObject struct {
	name, body           string
	works, edit          bool
	output               [][]string
	status               []conditionWant
	answer, mendedAnswer []badAnswer
	restartedAnswer      []badAnswer
	mend                 [][2]string
}

// badAnswer is what becomes of a request.
type badAnswer struct {
	// want is a status code, or refused or closed.
	want, scheme, port, host, path string
}

// badObjects reads the corpus.
func badObjects(t *testing.T) []*badObject {
	t.Helper()
	names, err := filepath.Glob("testdata/bad/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(names)
	var out []*badObject
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		o, err := readBad(strings.TrimSuffix(filepath.Base(name), ".yaml"), string(text))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		out = append(out, o)
	}
	return out
}

// readBad reads a file of the corpus.
func readBad(name, text string) (*badObject, error) {
	o := &badObject{name: name}
	lines := strings.SplitAfter(text, "\n")
	said := false
	for len(lines) > 0 && strings.HasPrefix(lines[0], "#") {
		line := strings.TrimSpace(strings.TrimPrefix(lines[0], "#"))
		lines = lines[1:]
		if line == "" {
			said = true
			continue
		}
		if !said {
			continue
		}
		key, value, _ := strings.Cut(line, ":")
		if err := o.expect(key, strings.TrimSpace(value)); err != nil {
			return nil, fmt.Errorf("%q: %w", line, err)
		}
	}
	o.body = strings.Join(lines, "")
	if !o.works && len(o.output) == 0 {
		return nil, fmt.Errorf("nothing says what has to be printed")
	}
	for _, pair := range o.mend {
		if !strings.Contains(o.body, pair[0]) {
			return nil, fmt.Errorf("%q is not there to be mended", pair[0])
		}
	}
	return o, nil
}

// expect takes in one line of the head.
func (o *badObject) expect(key, value string) error {
	var err error
	var a badAnswer
	switch key {
	case "output":
		o.output = append(o.output, strings.Split(value, " | "))
	case "status":
		part := strings.SplitN(value, " ", 4)
		if len(part) < 4 {
			return fmt.Errorf("want KIND NAME CONDITION TEXT")
		}
		o.status = append(o.status, conditionWant{
			kind: part[0], name: "default/" + part[1], condition: part[2], message: strings.TrimPrefix(part[3], "*"),
		})
	case "works":
		o.works = true
	case "first":
		o.edit = true
	case "answer":
		a, err = o.readAnswer(value)
		o.answer = append(o.answer, a)
	case "restarted":
		a, err = o.readAnswer(value)
		o.restartedAnswer = append(o.restartedAnswer, a)
	case "mended":
		a, err = o.readAnswer(value)
		o.mendedAnswer = append(o.mendedAnswer, a)
	case "mend":
		before, after, ok := strings.Cut(value, " ==> ")
		if !ok {
			return fmt.Errorf("want OLD ==> NEW")
		}
		o.mend = append(o.mend, [2]string{before, after})
	default:
		return fmt.Errorf("there is no key %q", key)
	}
	return err
}

func (o *badObject) readAnswer(value string) (badAnswer, error) {
	part := strings.Fields(value)
	if len(part) < 2 {
		return badAnswer{}, fmt.Errorf("want STATUS and more")
	}
	a := badAnswer{want: part[0], scheme: "http", port: "${HTTP}", host: o.name + ".example"}
	if a.want == "refused" || a.want == "closed" {
		a.port = part[1]
		return a, nil
	}
	if len(part) == 3 {
		a.scheme, a.port, _ = strings.Cut(part[1], ":")
	}
	host, path, ok := strings.Cut(part[len(part)-1], "/")
	if !ok {
		return badAnswer{}, fmt.Errorf("want a path")
	}
	if host != "" {
		a.host = host
	}
	_, err := url.Parse("http://" + a.host + "/" + path)
	a.path = "/" + path
	return a, err
}

// mended is the file once it is good.
func (o *badObject) mended() string {
	text := o.body
	for _, pair := range o.mend {
		text = strings.Replace(text, pair[0], pair[1], 1)
	}
	return text
}
