# Everything a person types. `make help` lists it.
CARGO ?= cargo
SUITES ?= ../shared/suites
RELEASE := target/release/evenkeel
# BUNDLED=1 compiles RocksDB from the crate's own source instead of using the system library.
BUNDLED ?=
export BUNDLED

.PHONY: help setup build devnet test check fmt bench bench-runtime conformance loom shuttle

help: ## Show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 15

setup: ## Install what the build needs (Debian: by apt; elsewhere says what to install)
	@scripts/setup

build: setup ## Build the release binary, target/release/evenkeel (BUNDLED=1 compiles RocksDB)
	$(CARGO) build --release --locked -p evenkeel-bin

devnet: build ## Build and run a devnet node on 127.0.0.1:8545; ARGS="--block-time 1" adds flags
	$(RELEASE) $(ARGS)

test: setup ## Run all tests (nextest when installed, else cargo test)
	@scripts/test

check: setup ## rustfmt, clippy with warnings denied, docs
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --locked --document-private-items

fmt: ## Format the sources
	$(CARGO) fmt --all

bench: build ## Sliced against plain revm, longest uncut step, RSS over 100,000 blocks
	@scripts/bench

loom: setup ## The lock-free parts of the runtime under every order of threads that matters
	RUSTFLAGS="--cfg evenkeel_loom" $(CARGO) test --locked --release -p evenkeel-runtime --lib \
		--target-dir target/loom loom_tests

shuttle: setup ## The threads driver as a whole in orders that are drawn; SHUTTLE_RUNS=N for more
	RUSTFLAGS="--cfg evenkeel_shuttle" $(CARGO) test --locked --release -p evenkeel-runtime --lib \
		--target-dir target/shuttle shuttle_tests

bench-runtime: ## The scheduler beside tokio, ractor, kameo, actix, BEAM; ARGS="--quick" to try
	@scripts/bench-runtime $(ARGS)

conformance: setup ## Third-party tests, all kinds; state tests also in slices of one instruction (SUITES=DIR)
	@SUITES=$(SUITES) scripts/conformance
