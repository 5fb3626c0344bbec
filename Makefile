# Two commands on a fresh Debian 12 with a Rust toolchain: `make demo`, `make test` (as root).
# Everything else here is a name for a line that you could type.

SHELL  := /bin/bash
PREFIX ?= /usr/local
CARGO  ?= cargo
target := $(or $(CARGO_TARGET_DIR),target)

.DEFAULT_GOAL := help
.PHONY: help build demo test test-vm bench lint schema install

help: ## Show this list
	@sed -nE 's/^([a-z-]+):.*## (.*)$$/  make \1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 18

build: ## Build bpfkit (release)
	@tools/setup demo
	+$(CARGO) build --release --locked -p bpfkit-cli

demo: ## Take three C programs to a live, signed chain, in namespaces of its own (root)
	@tools/setup demo
	+@$(CARGO) build --locked --workspace --bins
	@install -D -m 0755 $(target)/debug/bpfkit $(target)/demo/bin/bpfkit
	@PATH="$(abspath $(target))/demo/bin:$$PATH" tools/demo

test: ## Check everything, the fast things first (root)
	@tools/setup test
	+@tools/test

test-vm: ## Hold what every hook must do on other kernels, in virtual machines (KERNELS="6.1 newest")
	@tools/setup vm
	+@tools/test-vm $(KERNELS)

bench: ## Measure bpfkit beside what its users would run otherwise (root; ARGS=--write for docs/benchmarks.md)
	@tools/setup test
	+@$(CARGO) build --release --locked --workspace --bins
	+@$(CARGO) bench --locked --workspace --bench bench -- $(ARGS)

lint: ## Check format, lints and layering: what to run before each commit
	$(CARGO) fmt --all --check
	+$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	+$(CARGO) test --locked -q --workspace --test layering --test generated

schema: ## Write the JSON Schemas, anew
	+REGENERATE=1 $(CARGO) test --locked -q --workspace --test generated

install: ## Install into PREFIX (/usr/local) and DESTDIR
	+$(CARGO) build --release --locked -p bpfkit-cli
	install -D -m 0755 $(target)/release/bpfkit "$(DESTDIR)$(PREFIX)/bin/bpfkit"
	$(target)/release/bpfkit man --dir "$(DESTDIR)$(PREFIX)/share/man/man1"
	install -d "$(DESTDIR)$(PREFIX)/share/bash-completion/completions" "$(DESTDIR)$(PREFIX)/share/zsh/site-functions" "$(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d"
	$(target)/release/bpfkit completions bash >"$(DESTDIR)$(PREFIX)/share/bash-completion/completions/bpfkit"
	$(target)/release/bpfkit completions zsh >"$(DESTDIR)$(PREFIX)/share/zsh/site-functions/_bpfkit"
	$(target)/release/bpfkit completions fish >"$(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/bpfkit.fish"
