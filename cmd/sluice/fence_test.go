package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/leaderelection/resourcelock"

	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/test/apiserver"
)

// runMain has the test's binary be sluice, for tests that need processes.
const runMain = "SLUICE_TEST_MAIN"

func TestMain(m *testing.M) {
	if os.Getenv(runMain) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// lease is a lock that answers as it is told, and takes its time.
type lease struct {
	resourcelock.Interface
	err  error
	took func()
}

func (l *lease) Identity() string { return "us" }

func (l *lease) Update(context.Context, resourcelock.LeaderElectionRecord) error {
	l.took()
	return l.err
}

// answering is a transport that answers everything.
type answering struct{ asked int }

func (a *answering) RoundTrip(*http.Request) (*http.Response, error) {
	a.asked++
	return &http.Response{StatusCode: http.StatusOK, Body: http.NoBody}, nil
}

func TestFence(t *testing.T) {
	now := time.Now()
	f := &fence{term: 10 * time.Second, now: func() time.Time { return now }}
	api := &answering{}
	client := fenced{f, api}
	held := &lease{took: func() { now = now.Add(time.Second) }}
	renew := func(holder string, err error) {
		held.err = err
		if got := (lock{held, f}).Update(t.Context(), resourcelock.LeaderElectionRecord{HolderIdentity: holder}); got != err {
			t.Errorf("the Lease says %v, want %v", got, err)
		}
	}
	writes := func(when string, want bool) {
		t.Helper()
		for _, method := range []string{http.MethodGet, http.MethodPatch, http.MethodPost, http.MethodDelete} {
			asked := api.asked
			r, err := http.NewRequest(method, "https://example.com", strings.NewReader("{}"))
			if err != nil {
				t.Fatal(err)
			}
			resp, err := client.RoundTrip(r)
			if err == nil {
				_ = resp.Body.Close()
			}
			if sent := api.asked > asked; sent != (want || method == http.MethodGet) || sent == errors.Is(err, errNotLeading) {
				t.Errorf("%s: %s is sent: %t (%v)", when, method, sent, err)
			}
		}
	}
	writes("before it leads", false)
	renew("us", nil)
	writes("when it leads", true)
	now = now.Add(8 * time.Second)
	writes("9 s after the renewal was sent", true)
	now = now.Add(time.Second)
	writes("when the term is over", false)
	renew("us", errors.New("no answer"))
	writes("after a renewal that failed", false)
	renew("us", nil)
	writes("when it leads again", true)
	renew("", errors.New("no answer"))
	writes("when the Lease is given back, though that failed", false)
}

// process is a replica in a process of its own.
type process struct {
	cmd   *exec.Cmd
	admin string
	logs  *buffer
}

func startProcess(t *testing.T, server *apiserver.Server, name string) *process {
	t.Helper()
	p := &process{admin: freeAddress(t), logs: &buffer{}}
	p.cmd = exec.Command(os.Args[0], "serve", "--kubeconfig", kubeconfigOf(t, server.Config(apiserver.Admin)),
		"--namespace", "sluice-system", "--xds-address", freeAddress(t), "--admin-address", p.admin,
		"--lease-duration", "3s", "--renew-deadline", "2s", "--retry-period", "200ms", "--shutdown-timeout", "100ms")
	p.cmd.Env = append(os.Environ(), runMain+"=1", "POD_NAME="+name)
	p.cmd.Stderr = p.logs
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = p.cmd.Process.Signal(syscall.SIGCONT)
		_ = p.cmd.Process.Signal(syscall.SIGTERM)
		if err := p.cmd.Wait(); err != nil || t.Failed() {
			t.Log(name, "ends with", err, p.logs)
		}
	})
	return p
}

func (p *process) leads() bool { return strings.Contains(p.logs.String(), "This replica leads") }

func (p *process) signal(t *testing.T, s syscall.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

// A leader that was paused for longer than its Lease writes nothing when it goes on, though another one leads by then
// and it has everything to catch up with.
func TestPausedLeaderWritesNothing(t *testing.T) {
	server := apiserver.Start(t)
	objects := server.Objects(t)
	objects.Apply(t, "{apiVersion: v1, kind: ConfigMap, metadata: {name: c, namespace: sluice-system}}")
	objects.InstallCRDs(t)
	objects.Apply(t, world)
	old := startProcess(t, server, "old")
	eventually(t, "it leads", old.leads)
	eventually(t, "it writes", func() bool { return written(t, objects, "r") })
	next := startProcess(t, server, "next")
	eventually(t, "the next is ready", func() bool {
		return strings.Contains(next.logs.String(), `"Serving"`)
	})
	old.signal(t, syscall.SIGSTOP)
	eventually(t, "the next leads", next.leads)
	const routes = 30
	for i := range routes {
		// A route that comes and goes to another Gateway: statuses in between are outdated.
		text := strings.NewReplacer("name: r,", fmt.Sprintf("name: r%d,", i)).Replace(world)
		objects.Apply(t, text)
		objects.Apply(t, strings.ReplaceAll(text, "[{name: one}]", "[{name: two}]"))
	}
	versions := func() string {
		var out strings.Builder
		for i := range routes {
			u := objects.Get(t, schema.GroupVersionResource{
				Group: model.GroupGateway, Version: "v1", Resource: "httproutes",
			}, "ns", fmt.Sprintf("r%d", i))
			fmt.Fprintln(&out, u.GetName(), u.GetResourceVersion())
		}
		for _, name := range []string{"one", "two"} {
			u := objects.Get(t, schema.GroupVersionResource{
				Group: model.GroupGateway, Version: "v1", Resource: "gateways",
			}, "ns", name)
			fmt.Fprintln(&out, u.GetName(), u.GetResourceVersion())
		}
		return out.String()
	}
	eventually(t, "the next writes all", func() bool {
		return strings.Count(fmt.Sprint(allRoutes(t, objects, routes)), "name:two") >= routes
	})
	before := versions()
	eventually(t, "it has no more to write", func() bool {
		was := before
		time.Sleep(500 * time.Millisecond) // more than twice the least time between two writes
		before = versions()
		return was == before
	})
	old.signal(t, syscall.SIGCONT)
	eventually(t, "the old one notices", func() bool {
		return strings.Contains(old.logs.String(), "This replica does not lead")
	})
	objects.Apply(t, strings.NewReplacer("name: r,", "name: last,").Replace(world))
	eventually(t, "the next still writes", func() bool { return written(t, objects, "last") })
	after := versions()
	if gone := strings.Split(before, "\none "); !strings.HasPrefix(after, gone[0]) {
		t.Errorf("the old leader has written:\n%s\nwas\n%s", after, before)
	}
}

// allRoutes returns the statuses of the routes.
func allRoutes(t *testing.T, objects *apiserver.Objects, n int) []string {
	t.Helper()
	out := make([]string, n)
	for i := range out {
		out[i] = routeStatus(t, objects, fmt.Sprintf("r%d", i))
	}
	return out
}
