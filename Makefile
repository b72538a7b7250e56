# Thin: each line calls a script, cargo or xtask. `make demo` and `make test` are all of the set-up.
TARGET := $(or $(CARGO_TARGET_DIR),target)
BIN := $(TARGET)/debug
SEEDS ?= 200
SECONDS ?= 300

.PHONY: demo test test-v2 test-hosts build setup bench simulate workload fmt example

demo: build example
	$(BIN)/assay dev --tour --examples examples

build: setup
	cargo build --locked -p cli -p fake-nvml -p assay-train

example: build
	mkdir -p examples/digits/code
	cp $(BIN)/assay-train examples/digits/code/assay-train

test:
	@scripts/setup test
	cargo fmt --all --check
	cargo run --locked -q -p xtask -- tidy
	cargo clippy --locked --workspace --all-targets -- -D warnings
	cargo test --locked --workspace
	$(MAKE) simulate SEEDS=$(SEEDS) SECONDS=$(SECONDS)
	cargo build --locked -q --workspace --features simulations/planted --bin assay-sim
	$(BIN)/assay-sim planted

# Walls and limits on a host with version 2 of control groups, in an emulated machine; needs root.
test-v2:
	scripts/test-v2

# Every playbook, on hosts with systemd and sshd that stand on this machine; needs root.
test-hosts: build
	ansible/test/run $(BIN)

# Built as a part of the whole workspace, with the features that its crates have there: what the tests built
# is not built again.
simulate: setup
	cargo build --locked -q --workspace --bin assay-sim
	$(BIN)/assay-sim run --seeds $(SEEDS) --seconds $(SECONDS)
	$(BIN)/assay-sim kept
	$(BIN)/assay-sim replay --clean $(SEEDS) --flipped $(SEEDS)

bench: setup
	scripts/setup-bench
	cargo build --locked --release -p cli -p fake-nvml -p bench
	$(TARGET)/release/assay-bench all

fmt:
	cargo fmt --all

setup:
	@scripts/setup

# For example: make workload TRACE=trace1.csv FORMAT=muri POLICY=fifo,srtf,assay NODES=8x8
FORMAT ?= csv
POLICY ?= fifo,sjf,srtf,srsf,tiresias-l,assay
NODES ?= 8x8
workload: setup
	cargo run --locked -q -p simulations --bin assay-sim -- workload --trace $(TRACE) --format $(FORMAT) --policy $(POLICY) $(if $(NODE_LIST),--node-list $(NODE_LIST),--nodes $(NODES)) $(WORKLOAD_FLAGS)
