# Every target only calls go; what there is to install is installed by the target that needs it.

export GOTOOLCHAIN := go1.27.0
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
FUZZTIME ?= 10s
BENCH ?= .
IMAGE_TAG ?= dev
CLUSTER_NAME ?= dev
CLUSTER_NODES ?= 1
# The race detector needs a C compiler.
RACE ?= $(if $(shell command -v gcc || command -v clang),-race)
TOOL := go tool -modfile=tools/go.mod
# Tests of the whole program, which cannot run beside others, and all the others.
WHOLE = ./test/e2e ./test/drill ./test/cluster ./test/release ./test/e2e/kube
# Tests with Envoy Gateway, which takes minutes to build: test-kube runs them.
PEERED = '^TestBesideEnvoyGateway$$'
UNIT = $$(go list ./... | grep -v -x $(patsubst ./%,-e github.com/sluice-gateway/sluice/%,$(WHOLE) ./test/conformance))

# The name that the Gateway API's collection of reports wants.
REPORT = experimental-$(VERSION)-default-report.yaml
CLUSTER = go run ./test/cluster/cmd -name $(CLUSTER_NAME)

.PHONY: help build sbom image run envoy cluster cluster-down test-kube conformance test check lint vuln generate fuzz \
  bench bench-kube bench-scale microbench drill drill-all clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' Makefile

build: ## Build bin/sluice: static, reproducible
	CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags '-s -w -X main.version=$(VERSION)' -o bin/sluice ./cmd/sluice

sbom: build ## Write what bin/sluice is made of to bin/sluice.cdx.json: a software bill of materials, CycloneDX
	go run ./build/sbom/cmd -binary bin/sluice -version $(VERSION) -out bin/sluice.cdx.json

image: sbom ## Write the container image to bin/sluice-image.tar, without Docker; IMAGE_TAG (dev) is its tag
	go run ./build/image/cmd -binary bin/sluice -sbom bin/sluice.cdx.json -tag $(IMAGE_TAG) -out bin/sluice-image.tar

envoy: build ## Install Envoy into Sluice's cache, unless there is one already
	@if [ -n "$${SLUICE_ENVOY:-}" ]; then echo "Envoy: $$SLUICE_ENVOY"; \
	elif path=$$(bin/sluice envoy path 2>/dev/null); then echo "Envoy: $$path"; \
	else bin/sluice envoy install; fi

run: envoy ## Serve examples/quickstart with its demo backends until Ctrl-C
	./examples/quickstart/run

cluster: envoy image ## A Kubernetes for tests with CLUSTER_NODES nodes (1), and the image in it; as root, on Linux
	@export SLUICE_ENVOY="$${SLUICE_ENVOY:-$$(bin/sluice envoy path)}"; $(CLUSTER) up -nodes $(CLUSTER_NODES)
	@$(CLUSTER) load bin/sluice-image.tar
	@echo 'to use it:  eval "$$($(CLUSTER) env)"'

cluster-down: ## End the cluster, and leave nothing of it behind
	$(CLUSTER) down

test: envoy ## All tests: vet, style, unit tests with the race detector, then with a real Envoy and Kubernetes
	@missing=; for tool in curl openssl redis-server; do command -v $$tool >/dev/null || missing="$$missing $$tool"; done; \
	if [ -n "$$missing" ]; then echo "installing$$missing"; apt-get update -qq; apt-get install -y --no-install-recommends $$missing; fi
	go vet ./...
	@[ -n '$(RACE)' ] || echo 'skipped: the race detector, for there is no C compiler'
	@[ -n '$(RACE)' ] || [ "$${CI:-}" != true ]
	@export SLUICE_ENVOY="$${SLUICE_ENVOY:-$$(bin/sluice envoy path)}" SLUICE_BINARY=$(CURDIR)/bin/sluice; \
	{ go run ./test/cluster/cmd build >&2 || failed=1; \
	   go test $(RACE) -json $(UNIT) || failed=1; \
	   go test -count=1 -p 1 -timeout 30m -json -skip $(PEERED) $(WHOLE) || failed=1; \
	   go test -count=1 -timeout 30m -json ./test/conformance -full || failed=1; \
	   go run ./test/cluster/cmd -name test down >&2 || failed=1; \
	   [ -z "$${failed:-}" ]; } | go run ./test/tally

test-kube: envoy ## The tests of Sluice on Kubernetes, as root; RUN=NAME for some of them, SLUICE_DRILLS=full for long ones
	@export SLUICE_ENVOY="$${SLUICE_ENVOY:-$$(bin/sluice envoy path)}" SLUICE_BINARY=$(CURDIR)/bin/sluice; \
	go test -count=1 -timeout 60m -v ./test/e2e/kube $(if $(RUN),-run $(RUN))

conformance: envoy ## The Gateway API's conformance suite on Kubernetes, as root; RUN=NAME for one test, else a report
	@export SLUICE_ENVOY="$${SLUICE_ENVOY:-$$(bin/sluice envoy path)}" SLUICE_BINARY=$(CURDIR)/bin/sluice; \
	go test -count=1 -timeout 70m ./test/conformance -full \
	  $(if $(RUN),-only $(RUN) -v,-version $(VERSION) -report $(CURDIR)/docs/conformance/$(REPORT))

check: lint ## Before a commit, under 3 minutes: lint, known faults, race tests (cached), generated files
	@export SLUICE_ENVOY="$${SLUICE_ENVOY:-$$(go run ./cmd/sluice envoy path 2>/dev/null)}"; \
	go test $(RACE) -json $(UNIT) | go run ./test/tally
	@$(MAKE) --no-print-directory vuln CI=
	@state() { git diff; git ls-files --others --exclude-standard -z | xargs -0r sha256sum; }; \
	before=$$(state | sha256sum); go generate ./...; \
	[ "$$before" = "$$(state | sha256sum)" ] || { echo 'generated files were stale: they are new now, commit them'; exit 1; }

lint: ## gofmt, vet, staticcheck, errcheck and the style rules
	@unformatted=$$(gofmt -l $$(git ls-files --cached --others --exclude-standard '*.go' | xargs ls 2>/dev/null)); \
	[ -z "$$unformatted" ] || { echo "run gofmt -w on:" $$unformatted; exit 1; }
	go vet ./...
	$(TOOL) staticcheck -checks all,-ST1000,-ST1005 ./...
	@echo errcheck ./...; found=$$($(TOOL) errcheck -ignoretests ./...) || [ $$? = 1 ]; \
	! grep -v '//nolint:errcheck // ' <<<"$${found:-//nolint:errcheck // }"
	go test ./test/style

# What govulncheck says when it does not get at the database. All else that it ends with is a finding, or a mistake.
UNREACHABLE = fetching vulnerabilities: .*(dial tcp|no such host|connection refused|i/o timeout|403 Forbidden)

vuln: ## Known vulnerabilities in what sluice calls; GOVULNDB is another database than https://vuln.go.dev
	@echo govulncheck ./cmd/sluice; \
	if out=$$($(TOOL) govulncheck $(if $(GOVULNDB),-db $(GOVULNDB)) ./cmd/sluice 2>&1); then exit 0; fi; \
	grep -qE '$(UNREACHABLE)' <<<"$$out" || { printf '%s\n' "$$out"; exit 1; }; \
	echo "skipped: known vulnerabilities, for their database cannot be reached: $${out##*fetching vulnerabilities: }"; \
	[ "$${CI:-}" != true ]

generate: ## Make all generated files anew
	go generate ./...

fuzz: ## Each fuzz target for FUZZTIME (10s)
	@grep -rE '^func Fuzz' --include='*_test.go' . | sed -E 's|/[^/]*:func (Fuzz[A-Za-z0-9]*).*| \1|' | sort | \
	while read -r dir name; do echo "$$dir $$name"; \
	  go test "$$dir" -run '^$$' -fuzz "^$$name\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 1x </dev/null; done

bench: envoy ## Measure against the targets, six minutes; PEER=envoy-gateway beside it, BENCHFLAGS=-quick and others
	@go run ./test/bench -sluice bin/sluice -envoy "$${SLUICE_ENVOY:-$$(bin/sluice envoy path)}" \
	  $(if $(PEER),-peer $(PEER)) $(BENCHFLAGS)

bench-kube: envoy ## Measure in Kubernetes, as root; PEER=envoy-gateway beside it, BENCHFLAGS=-quick and others
	@export SLUICE_ENVOY="$${SLUICE_ENVOY:-$$(bin/sluice envoy path)}" SLUICE_BINARY=$(CURDIR)/bin/sluice; \
	go run ./test/bench/kube $(if $(PEER),-peer) $(BENCHFLAGS)

bench-scale: envoy ## Measure up to 50,000 routes, 1,000 Gateways and 100 Envoys, as root; BENCHFLAGS=-quick and others
	@go run ./test/cluster/cmd build >&2
	@go build -o bin/scale ./test/bench/scale
	@bin/scale -sluice bin/sluice -envoy "$${SLUICE_ENVOY:-$$(bin/sluice envoy path)}" $(BENCHFLAGS)

microbench: ## Go benchmarks of the packages; BENCH chooses which
	go test -run '^$$' -bench '$(BENCH)' -benchmem ./internal/...

drill: envoy ## Inject faults under load and count what is lost, some minutes; DRILLFLAGS='-only F13' and others
	@go run ./test/drill -sluice bin/sluice -envoy "$${SLUICE_ENVOY:-$$(bin/sluice envoy path)}" $(DRILLFLAGS)

drill-all: envoy ## The same at full length, an hour and a half, and docs/reliability.md anew
	go test ./internal/pipeline -run TestAnyOrder -orders 1000 -timeout 30m
	@go run ./test/drill -all -update -sluice bin/sluice -envoy "$${SLUICE_ENVOY:-$$(bin/sluice envoy path)}" $(DRILLFLAGS)

clean: ## Remove what was built
	rm -rf bin
