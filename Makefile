# Merlon's developer commands: `make help` lists them.
#
# Building and running needs Go and nothing else: the BPF objects are committed.
# Whatever needs more installs it from Debian's packages (scripts/install-deps.sh).

# Go is used where it is, in or out of PATH; commands need `go` in PATH too.
GO := $(firstword $(shell command -v go 2>/dev/null) $(wildcard /usr/local/go/bin/go $(HOME)/go/bin/go /usr/lib/go-*/bin/go) go)
export PATH := $(dir $(abspath $(GO))):$(PATH)

CLANG ?= clang-19
CLANG_FORMAT ?= clang-format-19

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
COMMIT ?= $(shell git rev-parse HEAD 2>/dev/null || echo unknown)
LDFLAGS := -s -w -X main.version=$(VERSION) -X main.commit=$(COMMIT)

# BPF needs root: sudo where we are not. Test binaries are built by the user
# and only run by root, so that nothing in the caches belongs to root.
SUDO := $(if $(filter 0,$(shell id -u)),,sudo)
AS_ROOT := $(if $(SUDO),-exec "$(SUDO) -E env PATH=$(PATH)",)

# Everything but the VM matrix. One package at a time: they attach to one
# kernel and mount in one tree.
HOST_PACKAGES = $(shell $(GO) list ./... | grep -v /tests/vm)
BPF_SOURCES = $(shell find bpf internal tests -name '*.[ch]' -not -path '*/testdata/*')
FUZZTIME ?= 10s
ARGS ?=

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z][a-z-]*:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

##

.PHONY: build
build: ## the agent, ./build/merlon: needs Go only
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o build/merlon ./cmd/merlon

.PHONY: run
run: build ## build and start the agent as root (ARGS="--config F")
	$(SUDO) ./build/merlon run $(ARGS)

.PHONY: demo
demo: build ## boot a Debian kernel with the agent inside and show what it sees: no root
	scripts/demo.sh

.PHONY: deps
deps: ## install what `make test` needs from Debian's packages
	$(SUDO) scripts/install-deps.sh

##

.PHONY: test
test: ## everything: lint, BPF objects, host tests as root, VM matrix
	@$(MAKE) --no-print-directory deps
	@$(MAKE) --no-print-directory lint
	@$(MAKE) --no-print-directory check-bpf
	@$(MAKE) --no-print-directory test-go
	@$(MAKE) --no-print-directory test-vm

.PHONY: test-go
test-go: ## unit, BPF, CLI and whole-agent tests on this host, as root
	$(GO) test -count=1 -p 1 -timeout 20m $(AS_ROOT) $(HOST_PACKAGES)

.PHONY: test-vm
test-vm: ## the same test binaries on Debian's kernels under QEMU
	$(GO) test -count=1 -timeout 40m -v ./tests/vm/...

.PHONY: race
race: ## the host tests under the race detector: needs a C compiler
	CGO_ENABLED=1 $(GO) test -race -count=1 -p 1 -timeout 40m $(AS_ROOT) $(HOST_PACKAGES)

.PHONY: fuzz
fuzz: ## every fuzz target for a short time (FUZZTIME=10s each)
	@$(GO) list -f '{{.Dir}}' ./... | while read -r dir; do \
	  for t in $$(grep -ohs '^func Fuzz[A-Za-z0-9_]*' $$dir/*_test.go | sed 's/^func //'); do \
	    echo "== $$t in $${dir#$(CURDIR)/}"; \
	    (cd $$dir && $(GO) test -run '^$$' -fuzz "^$$t\$$" -fuzztime $(FUZZTIME) .) || exit 1; \
	  done; \
	done

.PHONY: bench
bench: build ## the numbers of docs/performance.md, 25 minutes (BENCH="-only overhead,sensors -pairs 5")
	$(GO) build -o build/bench ./tests/bench
	$(SUDO) ./build/bench $(BENCH)

.PHONY: soak
soak: build ## the long forms of the benchmarks, within an hour (BENCH="-only hostile")
	$(GO) build -o build/bench ./tests/bench
	$(SUDO) ./build/bench -long $(BENCH)

##

.PHONY: bpf
bpf: ## rebuild the committed BPF objects: needs clang-19
	$(GO) generate -run bpf2go ./...

.PHONY: check-bpf
check-bpf: ## rebuild the BPF objects in a copy of the tree: they must equal the committed ones
	@dir=$$(mktemp -d) && trap 'rm -rf "$$dir"' EXIT && \
	tar --exclude=./.git --exclude=./build -cf - . | tar -xf - -C "$$dir" && \
	find "$$dir" -name '*_bpfel*.o' -delete && \
	(cd "$$dir" && $(GO) generate -run bpf2go ./...) && \
	bad=0 && for f in $$( (find . -name '*_bpfel*.o' -o -name '*_bpfel*.go'; cd "$$dir" && find . -name '*_bpfel*.o') | sort -u); do \
	  cmp -s "$$f" "$$dir/$$f" || { echo "$$f: differs from what $$($(CLANG) --version | head -n1) builds; run: make bpf"; bad=1; }; \
	done && [ $$bad = 0 ] && echo "check-bpf: $$(cd "$$dir" && find . -name '*_bpfel*.o' | wc -l) objects equal the rebuilt ones"

.PHONY: docs
docs: build ## the generated pages of docs/
	$(GO) generate -run docs ./...

.PHONY: docs-kernels
docs-kernels: ## docs/kernels.md, from what the last `make test-vm` learnt
	$(GO) run ./tests/vm/page

.PHONY: fmt
fmt: ## format Go and C
	gofmt -w cmd internal tests
	$(CLANG_FORMAT) -i $(BPF_SOURCES)

.PHONY: lint
lint: ## gofmt, go vet, staticcheck, clang-format, both architectures
	@out=$$(gofmt -l cmd internal tests) && { [ -z "$$out" ] || { echo "not formatted (make fmt): $$out"; exit 1; }; }
	$(CLANG_FORMAT) --dry-run -Werror $(BPF_SOURCES)
	$(GO) vet ./...
	$(GO) tool staticcheck ./...
	CGO_ENABLED=0 GOARCH=arm64 $(GO) build -o /dev/null ./cmd/merlon

.PHONY: clean
clean: ## remove what was built
	rm -rf build
