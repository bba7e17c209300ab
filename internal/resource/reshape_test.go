package resource

import (
	"encoding/json"
	"strings"
	"testing"
)

// TestOlderSessionPersistence: what Envoy Gateway's pages say of session persistence has the shape of Gateway API 1.6.
func TestOlderSessionPersistence(t *testing.T) {
	const route = "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: r}\n" +
		"spec: {parentRefs: [{name: gw}], rules: [{}, {sessionPersistence: {SESSION}}]}\n"
	const read = "spec.rules[1].sessionPersistence has the shape of Gateway API 1.6 and is read as that of 1.7, in which "
	const ignored = "; absoluteTimeout is ignored, because Envoy can only limit the life of a permanent cookie: remove it"
	cases := []struct {
		name, session string
		// want is what is read, notice what is said of it.
		want, notice string
		// problem is a part of what is wrong, if something is.
		problem string
	}{
		{name: "cookie", session: "type: Cookie, sessionName: a, cookieConfig: {lifetimeType: Session}",
			want:   `{"cookie":{"lifetimeType":"Session","name":"a","path":"/"},"type":"Cookie"}`,
			notice: read + "sessionName is cookie.name, and cookieConfig is cookie: write it so"},
		{name: "name only", session: "sessionName: a",
			want:   `{"cookie":{"lifetimeType":"Session","name":"a","path":"/"},"type":"Cookie"}`,
			notice: read + "sessionName is cookie.name: write it so"},
		{name: "lifetime only", session: "absoluteTimeout: 1h, cookieConfig: {lifetimeType: Permanent}",
			want:   `{"absoluteTimeout":"1h","cookie":{"lifetimeType":"Permanent","path":"/"},"type":"Cookie"}`,
			notice: read + "cookieConfig is cookie: write it so"},
		{name: "header", session: "type: Header, sessionName: x-a",
			want:   `{"header":{"name":"x-a"},"type":"Header"}`,
			notice: read + "sessionName is header.name: write it so"},
		{name: "a header with a limit, as Envoy Gateway documents it",
			session: "sessionName: Session-A, type: Header, absoluteTimeout: 10s",
			want:    `{"header":{"name":"Session-A"},"type":"Header"}`,
			notice:  read + "sessionName is header.name: write it so" + ignored},
		{name: "a session cookie with a limit", session: "sessionName: a, absoluteTimeout: 10s, cookieConfig: {}",
			want: `{"cookie":{"lifetimeType":"Session","name":"a","path":"/"},"type":"Cookie"}`,
			notice: read + "sessionName is cookie.name, and cookieConfig is cookie: write it so" + ignored +
				", or set cookie.lifetimeType to Permanent"},
		{name: "the newer header with a limit", session: "type: Header, header: {name: a}, absoluteTimeout: 10s",
			want: `{"absoluteTimeout":"10s","header":{"name":"a"},"type":"Header"}`},
		{name: "what the newer shape refuses", session: "type: Header, sessionName: a b",
			notice: read + "sessionName is header.name: write it so", problem: "sessionPersistence.header.name"},
		{name: "a mixture", session: "sessionName: a, cookie: {name: b}", problem: `unknown field "spec.rules[1].ses`},
		{name: "the newer shape", session: "cookie: {name: a}",
			want: `{"cookie":{"lifetimeType":"Session","name":"a","path":"/"},"type":"Cookie"}`},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			got := Decode(Document{Text: []byte(strings.Replace(route, "SESSION", tc.session, 1))})[0]
			var notices, problems []string
			for _, n := range got.Notices {
				notices = append(notices, n.Message)
			}
			for _, p := range got.Problems {
				problems = append(problems, p.Field+" "+p.Message)
			}
			if said := strings.Join(notices, "\n"); said != tc.notice {
				t.Errorf("the notice is %q, want %q", said, tc.notice)
			}
			wrong := strings.Join(problems, "\n")
			if (wrong == "") != (tc.problem == "") || !strings.Contains(wrong, tc.problem) {
				t.Fatalf("the problems are %q, want %q", wrong, tc.problem)
			}
			if tc.problem == "" {
				if session := sessionOf(t, got.Object); session != tc.want {
					t.Errorf("it is read as %s, want %s", session, tc.want)
				}
			}
		})
	}
}

// TestMayBeOlder: what repeats fields in the metadata is no reason to look closer at an object.
func TestMayBeOlder(t *testing.T) {
	for text, want := range map[string]bool{
		`{"sessionPersistence":{"sessionName":"a"}}`:                          true,
		`{"sessionPersistence":{"cookieConfig":{}}}`:                          true,
		`{"sessionPersistence":{"cookie":{"name":"a"}}}`:                      false,
		`{"managedFields":[{"fieldsV1":{"f:sessionName":{}}}]}`:               false,
		`{"last-applied-configuration":"{\"sessionName\":\"cookieConfig\"}"}`: false,
	} {
		if got := MayBeOlder([]byte(text)); got != want {
			t.Errorf("%s: got %v, want %v", text, got, want)
		}
	}
}

// sessionOf is the session persistence of the second rule of a route, as JSON.
func sessionOf(t *testing.T, o Object) string {
	t.Helper()
	text, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	var route struct {
		Spec struct {
			Rules []struct {
				SessionPersistence map[string]any `json:"sessionPersistence"`
			} `json:"rules"`
		} `json:"spec"`
	}
	if err := json.Unmarshal(text, &route); err != nil {
		t.Fatal(err)
	}
	out, err := json.Marshal(route.Spec.Rules[1].SessionPersistence)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}
