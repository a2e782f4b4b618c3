# build, run, demo and test need only Go and make; lint needs git and bash too, race a C compiler.

.DEFAULT_GOAL := help
lint-format lint-vet lint-generate lint-tidy format race fuzz: SHELL := /usr/bin/env bash
lint-format lint-vet lint-generate lint-tidy format race fuzz: .SHELLFLAGS := -euo pipefail -c

GO        ?= go
FUZZTIME  ?= 10s
BENCHTIME ?= 1s
COUNT     ?= 1
PKG       ?= ./...
ARGS      ?=
SEED      ?= 1
NODES     ?= 5
TRIES     ?= 10
N         ?= 500

TOOL := $(GO) -C tools tool
# Our own Go files: tracked or new, neither ignored nor generated nor deleted.
SOURCES  = $$(git ls-files --cached --others --exclude-standard -- '*.go' ':!*.pb.go' | while read -r f; do [ ! -e "$$f" ] || echo "$(CURDIR)/$$f"; done)

.PHONY: help
help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

.PHONY: build
build: ## build our commands into bin/; Go stamps them with the version that git tells
	@mkdir -p bin
	$(GO) build -trimpath -o bin/ ./cmd/...

.PHONY: run
run: build ## start three nodes on this machine (weir dev); ARGS="--ephemeral" adds flags
	bin/weir dev $(ARGS)

.PHONY: demo
demo: build ## show a decision going from rate limit to quota to credit to refusal (weir demo)
	bin/weir demo $(ARGS)

.PHONY: test
test: ## run all tests, in shuffled order
	$(GO) test -shuffle=on -timeout 30m $(PKG)

.PHONY: race
race: ## run the short tests under the race detector (needs a C compiler)
	@cc=$$($(GO) env CC); command -v "$${cc%% *}" >/dev/null || { \
	  echo "make race: the race detector needs cgo, and the C compiler '$$cc' is not installed" >&2; exit 1; }
	CGO_ENABLED=1 $(GO) test -race -shuffle=on -short -timeout 30m $(PKG)

.PHONY: sim
sim: ## simulate one schedule and, if it fails, shrink it: SEED=17 (NODES=5), or SCHEDULE=FILE; docs/chaos.md
	$(GO) test ./chaos/sim -count 1 -timeout 0 -run 'TestSeed$$' -v -tries $(TRIES) \
	  $(if $(SCHEDULE),-schedule $(abspath $(SCHEDULE)),-seed $(SEED) -nodes $(NODES)) $(ARGS)

.PHONY: soak
soak: ## simulate N (500) random schedules from SEED on; ARGS="-keep DIR" keeps those that fail
	$(GO) test ./chaos/sim -count 1 -timeout 0 -run 'TestSoak$$' -v -seed $(SEED) -seeds $(N) -nodes $(NODES) $(ARGS)

.PHONY: lint
lint: lint-format lint-vet lint-generate lint-tidy ## check format, vet, staticcheck, generated code, go.mod

.PHONY: lint-format
lint-format:
	@echo "gofumpt"; found=$$($(TOOL) gofumpt -l $(SOURCES)); \
	  [ -z "$$found" ] || { printf 'not formatted (make format):\n%s\n' "$$found" >&2; exit 1; }

.PHONY: lint-vet
lint-vet:
	$(GO) vet ./...
	$(GO) -C tools vet ./...
	@echo "staticcheck"; checker=$$($(TOOL) -n staticcheck); "$$checker" ./... && cd tools && "$$checker" ./...

.PHONY: lint-generate
lint-generate:
	@echo "generated code"; fresh=$$(mktemp -d); trap 'rm -rf "$$fresh"' EXIT; \
	  $(GO) -C tools run ./protogen -root ../api -out "$$fresh"; \
	  (cd api && find . -name '*.pb.go' | sort) >"$$fresh/have"; (cd "$$fresh" && find . -name '*.pb.go' | sort) >"$$fresh/want"; \
	  diff -u "$$fresh/have" "$$fresh/want" && while read -r f; do diff -u "api/$$f" "$$fresh/$$f" || exit 1; done <"$$fresh/want" \
	  || { echo 'generated code is stale: make generate' >&2; exit 1; }

.PHONY: lint-tidy
lint-tidy:
	$(GO) mod tidy -diff
	$(GO) -C tools mod tidy -diff

.PHONY: format
format: ## format our Go files with gofumpt
	$(TOOL) gofumpt -w $(SOURCES)

.PHONY: generate
generate: ## make Go of api/**/*.proto
	$(GO) -C tools run ./protogen -root ../api -out ../api

.PHONY: fuzz
fuzz: ## run each fuzz target for FUZZTIME (10s)
	@$(GO) list -f '{{.ImportPath}} {{.Dir}}' $(PKG) | while read -r package dir; do \
	  for target in $$(sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\)(.*/\1/p' "$$dir"/*_test.go 2>/dev/null || true); do \
	    echo "== $$package $$target"; \
	    $(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) "$$package" </dev/null; \
	  done; \
	done

.PHONY: bench
bench: build ## measure real nodes against their floor (weir bench --suite figures), 3 minutes; ARGS="--save FILE" keeps it
	bin/weir bench --suite figures $(ARGS)

.PHONY: benchmarks
benchmarks: ## run the packages' Go benchmarks; BENCHTIME, COUNT and PKG narrow it down
	$(GO) test -run '^$$' -bench . -benchmem -benchtime $(BENCHTIME) -count $(COUNT) $(PKG)

.PHONY: cover
cover: ## write bin/cover.html and print the coverage of each function
	@mkdir -p bin
	$(GO) test -shuffle=on -coverpkg ./... -coverprofile bin/cover.out $(PKG)
	$(GO) tool cover -html bin/cover.out -o bin/cover.html
	$(GO) tool cover -func bin/cover.out | grep -v '\.pb\.go:'

.PHONY: ci
ci: ## what a change must pass: lint, race, test (end-to-end tests included)
	$(MAKE) --no-print-directory lint
	$(MAKE) --no-print-directory race
	$(MAKE) --no-print-directory test

.PHONY: clean
clean: ## remove what make build and make cover wrote
	rm -rf bin
