package e2e

import (
	"fmt"
	"strings"
	"syscall"
	"testing"

	"github.com/sluice-gateway/sluice/test/bench/load"
)

// hostRoutes are routes of as many hosts, each with a rule of its name.
func hostRoutes(n int) string {
	var out strings.Builder
	for i := range n {
		name := fmt.Sprintf("host-%d", i)
		out.WriteString(route(name, "["+name+".example]", [2]string{name, `[{path: {value: /}}]`}))
	}
	return out.String()
}

// TestDividedHosts has a Gateway get so many hosts, under load, that Envoy has them in several route tables, then has
// them edited by another control plane, and then has them become few.
func TestDividedHosts(t *testing.T) {
	t.Parallel()
	in := prepare(t, simple, "--srds-from", "32")
	in.write("hosts.yaml", hostRoutes(20))
	in.run()
	in.waitReady()
	stop := load.Start(load.Config{Address: in.address("HTTP"), Conns: 4, Rate: 400, Requests: []load.Request{
		load.NewRequest("host-3.example", "/", nil), load.NewRequest("other.example", "/", nil),
	}})
	rule := func(i int) expect {
		return expect{header: []string{fmt.Sprintf("x-rule: host-%d", i)}, received: []string{"x-sluice-scope:"}}
	}
	in.write("hosts.yaml", hostRoutes(60))
	in.want(t, request{host: "host-59.example"}, rule(59))
	told := request{host: "host-20.example", header: []string{"x-sluice-scope: tcp"}}
	in.want(t, told, rule(20)) // connections of before go on with the listener of before, which sends this on
	for i := range 60 {
		host := fmt.Sprintf("host-%d.example", i)
		for _, proto := range []string{"h1", "h2c"} {
			in.must(t, request{host: host, proto: proto}, rule(i))
		}
		in.must(t, request{host: strings.ToUpper(host)}, rule(i))
		in.must(t, request{host: host + ":8080"}, rule(i))
	}
	in.must(t, request{host: "host-60.example"}, expect{backend: "one", received: []string{"x-sluice-scope:"}})
	if err := syscall.Kill(in.workerPID(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	in.write("more.yaml", route("more", "[more.example]", [2]string{"more", `[{path: {value: /}}]`}))
	in.want(t, request{host: "more.example"}, expect{header: []string{"x-rule: more"}})
	in.write("hosts.yaml", hostRoutes(5))
	in.want(t, request{host: "host-5.example"}, expect{backend: "one", header: []string{"x-rule:"}})
	in.must(t, request{host: "host-4.example"}, rule(4))
	if got := stop(); got.Failed() > 0 || got.Sent < 100 {
		t.Errorf("%v, want none failed of at least 100", got)
	}
}
