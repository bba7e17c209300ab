package kube

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/resource"
)

const (
	olderSession  = `{"sessionName": "Session-A", "type": "Header", "absoluteTimeout": "10s"}`
	olderRead     = `{"type":"Header","header":{"name":"Session-A"}}`
	olderCookie   = `{"sessionName": "a", "absoluteTimeout": "1h", "cookieConfig": {"lifetimeType": "Permanent"}}`
	olderCookieIs = `{"absoluteTimeout":"1h","cookie":{"name":"a","lifetimeType":"Permanent"}}`
	newerSession  = `{"cookie":{"name":"a"}}`
)

// wireRoute is a route as an API server sends it.
func wireRoute(name, session string) string {
	return fmt.Sprintf(`{"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": {
		"name": %q, "namespace": "ns", "generation": 9007199254740993},
		"spec": {"hostnames": ["a.example"], "rules": [{"sessionPersistence": %s}]}}`, name, session)
}

// sessionAt is the session persistence of the only rule of a route, as JSON, whose other fields have to be there.
func sessionAt(t *testing.T, obj any) string {
	t.Helper()
	route, ok := obj.(*gwv1.HTTPRoute)
	if !ok || len(route.Spec.Rules) != 1 || len(route.Spec.Hostnames) != 1 || route.Generation != 1<<53+1 {
		t.Fatalf("it is read as %+v", obj)
	}
	//lint:ignore SA1019 deprecated, but part of the API
	text, err := json.Marshal(route.Spec.Rules[0].SessionPersistence)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// routesFrom returns a listWatch of routes whose API server answers every request with a body, and its log.
func routesFrom(t *testing.T, body string) (*listWatch, *bytes.Buffer) {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, body) // the client notices
	}))
	t.Cleanup(server.Close)
	log := &bytes.Buffer{}
	c, err := newClients(&rest.Config{Host: server.URL}, nil, slog.New(slog.NewTextHandler(log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	client, err := c.of(schema.GroupVersion{Group: model.GroupGateway, Version: "v1"}, false)
	if err != nil {
		t.Fatal(err)
	}
	k := resource.Find(model.GroupGateway, model.KindHTTPRoute)
	return &listWatch{client: client, kind: k, plural: k.Plural, store: &store{kind: k}}, log
}

var reshaped = []struct{ name, session, want string }{
	{"header", olderSession, olderRead},
	{"cookie", olderCookie, olderCookieIs},
	{"newer", newerSession, newerSession},
}

// TestReshapeList lists objects of both shapes, and has each notice in the log once.
func TestReshapeList(t *testing.T) {
	var items []string
	for _, c := range reshaped {
		items = append(items, wireRoute(c.name, c.session))
	}
	routes, log := routesFrom(t, `{"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRouteList",
		"metadata": {"resourceVersion": "7"}, "items": [`+strings.Join(items, ",")+`]}`)
	for range 2 {
		out, err := routes.List(metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		text, err := json.Marshal(out)
		if err != nil {
			t.Fatal(err)
		}
		var list struct {
			metav1.ListMeta `json:"metadata"`
			Items           []*gwv1.HTTPRoute
		}
		if err := json.Unmarshal(text, &list); err != nil {
			t.Fatal(err)
		}
		if list.ResourceVersion != "7" || len(list.Items) != len(reshaped) {
			t.Fatalf("the list is read as %s", text)
		}
		for i, c := range reshaped {
			if got := sessionAt(t, list.Items[i]); got != c.want {
				t.Errorf("%s: read as %s, want %s", c.name, got, c.want)
			}
		}
	}
	for part, want := range map[string]int{
		"HTTPRoute/ns/header": 1, "absoluteTimeout is ignored": 1, "HTTPRoute/ns/cookie": 1, "HTTPRoute/ns/newer": 0,
	} {
		if n := strings.Count(log.String(), part); n != want {
			t.Errorf("the log says %q %d times, want %d:\n%s", part, n, want, log)
		}
	}
}

// TestReshapeWatch reads objects of both shapes from the events of a watch.
func TestReshapeWatch(t *testing.T) {
	var events strings.Builder
	for _, c := range reshaped {
		var event bytes.Buffer
		err := json.Compact(&event, []byte(`{"type": "MODIFIED", "object": `+wireRoute(c.name, c.session)+`}`))
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintln(&events, event.String())
	}
	routes, _ := routesFrom(t, events.String())
	w, err := routes.Watch(metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	for _, c := range reshaped {
		if got := sessionAt(t, (<-w.ResultChan()).Object); got != c.want {
			t.Errorf("%s: read as %s, want %s", c.name, got, c.want)
		}
	}
}

// TestReshapeGet reads one object, and has what is not JSON refused as ever.
func TestReshapeGet(t *testing.T) {
	for _, c := range reshaped {
		routes, _ := routesFrom(t, wireRoute(c.name, c.session))
		out, err := routes.client.Get().Namespace("ns").Resource("httproutes").Name(c.name).Do(context.Background()).Get()
		if err != nil {
			t.Fatal(err)
		}
		if got := sessionAt(t, out); got != c.want {
			t.Errorf("%s: read as %s, want %s", c.name, got, c.want)
		}
	}
	routes, _ := routesFrom(t, strings.TrimSuffix(wireRoute("cut", olderSession), "}"))
	if out, err := routes.List(metav1.ListOptions{}); err == nil {
		t.Errorf("half an object is read as %+v", out)
	}
}
