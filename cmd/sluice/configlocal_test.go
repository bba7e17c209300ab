package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-gateway/sluice/internal/envoygateway"
)

const foreignWorld = `
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: theirs}
spec: {controllerName: example.com/gateways}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: gw}
spec:
  gatewayClassName: theirs
  listeners: [{name: http, port: 8080, protocol: HTTP}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: own}
spec:
  gatewayClassName: sluice
  listeners: [{name: http, port: 8081, protocol: HTTP}]
`

// TestControllerOfFolder serves the classes of the controller that the file names from a folder, beside those that are
// served without it.
func TestControllerOfFolder(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "world.yaml")
	if err := os.WriteFile(folder, []byte(foreignWorld), 0o600); err != nil {
		t.Fatal(err)
	}
	const foreign = `GatewayClass "theirs" is another controller's (example.com/gateways)`
	if out, _, err := sluice(t, "validate", folder); err == nil || !strings.Contains(out, foreign) {
		t.Errorf("without the file: %v, %s", err, out)
	}
	config := configFile(t, "gateway: {controllerName: example.com/gateways}\n")
	if out, _, err := sluice(t, "validate", "--config", config, folder); err != nil || out != "3 objects, no problems\n" {
		t.Errorf("with the file: %v, %s", err, out)
	}
	out, problems, err := sluice(t, "translate", "--config", config, folder)
	if err != nil || problems != "" {
		t.Fatal(err, problems)
	}
	for _, listener := range []string{"name: tcp/8080\n", "name: tcp/8081\n"} {
		if !strings.Contains(out, listener) {
			t.Errorf("there is no listener with %q:\n%s", listener, out)
		}
	}
	for name, want := range map[string][]string{
		"":                    {controllerName, envoyGateway},
		envoyGateway:          {controllerName, envoyGateway},
		"example.com/gateway": {controllerName, envoyGateway, "example.com/gateway"},
	} {
		got := takeAll(t, envoygateway.Run, "gateway: {controllerName: '"+name+"'}").Run.controllers
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("sluice run with %q (-want +got):\n%s", name, diff)
		}
	}
}

// TestValidateTellsNoticesOfTheFile checks that what is to be noticed about the file is said, and before what is about
// objects.
func TestValidateTellsNoticesOfTheFile(t *testing.T) {
	object := filepath.Join(t.TempDir(), "job.yaml")
	if err := os.WriteFile(object, []byte("{apiVersion: batch/v1, kind: Job, metadata: {name: j}}"), 0o600); err != nil {
		t.Fatal(err)
	}
	config := configFile(t, "metadata: {name: c}\nspec:\n  admin: {enableDumpConfig: true}\n")
	out, _, err := sluice(t, "validate", "--config", config, object)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(out), "\n")
	want := []string{
		"note: " + config + ":4: spec: its fields are taken",
		"note: " + config + ":5: spec.admin.enableDumpConfig: without effect",
		"note: " + object + ":1: Job/j: ",
		"0 objects, no problems",
	}
	if !slices.EqualFunc(lines, want, strings.HasPrefix) {
		t.Errorf("want %q, got:\n%s", want, out)
	}
}
