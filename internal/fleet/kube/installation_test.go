package kube

import (
	"maps"
	"strings"
	"testing"

	"k8s.io/client-go/rest"

	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/resolve"
	"github.com/sluice-gateway/sluice/test/apiserver"
)

// newNeighbour makes a manager of another installation on the same API server.
func newNeighbour(b *bench, namespace, service string) *bench {
	b.t.Helper()
	return newBench(b.t, b.server, func(_ *rest.Config, opts *Options) {
		opts.Settings.Namespace, opts.Settings.Service = namespace, service
	})
}

// uids are those of the objects of a fleet that are in the cluster, by kind and name.
func (b *bench) uids(name model.ProxyName) map[string]string {
	out := map[string]string{}
	for _, o := range b.live(name) {
		out[id(o)] = string(o.GetUID())
	}
	return out
}

// versions are the resourceVersions of all objects of a fleet by kind and name. Nothing but a write changes them: here
// nothing reports on objects.
func (b *bench) versions(f *resolve.Fleet) map[string]string {
	b.t.Helper()
	out := map[string]string{}
	for object := range b.uids(f.Proxy) {
		kind, name, _ := strings.Cut(object, "/")
		if o := b.get(kind, f.Namespace, name); o != nil {
			out[object] = o.GetResourceVersion()
		}
	}
	return out
}

func TestInstallationsApart(t *testing.T) {
	values := map[string]Settings{}
	for _, s := range []Settings{
		{Namespace: "a", Service: "b"}, {Namespace: "a-b", Service: "b"}, {Namespace: "a", Service: "b-b"},
		{Namespace: strings.Repeat("n", 60), Service: strings.Repeat("s", 60)},
		{Namespace: strings.Repeat("n", 60), Service: strings.Repeat("s", 61)},
	} {
		if other, ok := values[s.installation()]; ok {
			t.Errorf("%v and %v are both %q", s, other, s.installation())
		}
		values[s.installation()] = s
	}
}

// TestInstallations runs managers of several installations on one API server.
func TestInstallations(t *testing.T) {
	s := apiserver.Start(t)
	for name, test := range map[string]func(*bench){"neighbours": testNeighbours, "takeover": testTakeover} {
		t.Run(name, func(t *testing.T) { test(newBench(t, s)) })
	}
}

// testNeighbours has installations in another namespace, and in the same one, come and go beside a fleet of ours.
func testNeighbours(b *bench) {
	f := b.fleetIn("neighbours", asDeployment)
	b.Want(f.Proxy, f)
	b.work()
	b.settled(f)
	before, writes := b.versions(f), b.requests.writes.Load()
	for i, other := range []*bench{
		newNeighbour(b, "other-system", settings().Service), newNeighbour(b, settings().Namespace, "second"),
	} {
		theirs := sameFleet(b.t, "neighbours", "{}")
		theirs.Name, theirs.Class = []string{"other-theirs", "second-theirs"}[i], "theirs"
		theirs.Proxy, theirs.Owner.UID = model.ProxyName("neighbours/"+theirs.Name), "uid-of-theirs"
		other.Want(theirs.Proxy, theirs)
		stop := other.work()
		other.settled(theirs)
		other.Want(theirs.Proxy, nil)
		other.eventually("theirs is gone", func() bool {
			return len(other.live(theirs.Proxy)) == 0 && other.queue.Len() == 0
		})
		stop()
	}
	if after := b.versions(f); !maps.Equal(after, before) || b.requests.writes.Load() != writes {
		b.t.Errorf("%d writes, and our objects were %v and are %v", b.requests.writes.Load()-writes, before, after)
	}
}

// testTakeover has another installation serve a fleet when the first is gone: it goes on with the same objects.
func testTakeover(b *bench) {
	f := b.fleetIn("takeover", asDeployment)
	b.Want(f.Proxy, f)
	stop := b.work()
	b.settled(f)
	before := b.uids(f.Proxy)
	stop()
	next := newNeighbour(b, "next-system", "next")
	next.Want(f.Proxy, f)
	next.work()
	next.settled(f)
	next.eventually("the same objects are of the next installation", func() bool {
		return maps.Equal(next.uids(f.Proxy), before)
	})
	versions := next.versions(f)

	// The first comes back and serves something else: what was taken over is not its any more.
	again := newBench(b.t, b.server)
	stop = again.work()
	own := sameFleet(b.t, "takeover", "{}")
	own.Name, own.Proxy, own.Owner.UID = "own", "takeover/own", "uid-of-own"
	again.Want(own.Proxy, own)
	again.settled(own)
	stop()
	if after := next.versions(f); !maps.Equal(after, versions) {
		b.t.Errorf("the objects were %v and are %v", versions, after)
	}
	live := b.get("Deployment", "takeover", f.Name)
	if got := live.GetLabels()[labelInstallation]; got != "next-system.next" {
		b.t.Errorf("the Deployment is of %q", got)
	}
}
