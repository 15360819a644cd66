# make run and make test each work alone on a fresh machine: both make .venv first, and nothing twice.
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PROTOS := $(wildcard proto/gossipcontrol/*/*.proto proto/gossipcontrol/*/*/*.proto)
PROTOS += $(wildcard clients/gossipcontrol/lattice/*.proto)

.PHONY: setup run demo test clients lint type bench lock clean
.DEFAULT_GOAL := help

.PHONY: help
help: ## List the targets
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /\1\t/' | expand -t 10

setup: $(READY) ## Make .venv with everything that the other targets need

$(READY): dev/setup.sh requirements-dev.lock pyproject.toml hatch_build.py $(PROTOS)
	@dev/setup.sh $(VENV)
	@touch $@

run: $(READY) ## Run the service, this host's watcher and a real iroh-gossip node until Ctrl-C
	@$(BIN)/python dev/run.py

demo: $(READY) ## See gossip rot and recover: three real nodes, one cut off, without and with GossipControl
	@$(BIN)/python -m dev.demo

# Most tests wait for sockets and timeouts, so there are more workers than processors.
WORKERS := 12
# Python keeps what it compiled, although the environment may forbid it: the tests start hundreds of processes.
COMPILED_ONCE := env -u PYTHONDONTWRITEBYTECODE PYTHONPYCACHEPREFIX=$(CURDIR)/$(VENV)/pycache
test: $(READY) ## Run all tests; those that this machine cannot run say what they need
	@$(COMPILED_ONCE) $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

clients: $(READY) ## Build the clients of other languages and run them against the service
	@GOSSIPCONTROL_TESTS=clients $(COMPILED_ONCE) $(BIN)/python -m pytest tests/clients

# The protos as they landed last; what older clients know may not be taken away.
LANDED := tests/versions/7e60038.binpb
lint: $(READY) ## Check style, protos and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/buf lint
	$(BIN)/buf format --diff --exit-code
	$(BIN)/buf breaking --against $(LANDED)

type: $(READY) ## Check types with mypy, for Linux, macOS and Windows, and with pyright, all strict
	$(BIN)/mypy server clients examples tests bench dev
	$(BIN)/mypy --platform darwin server clients
	$(BIN)/mypy --platform win32 server clients
	$(BIN)/pyright

bench: $(READY) ## Produce every figure that the project claims
	@$(BIN)/python -m bench

COMPILE := $(BIN)/uv pip compile -q pyproject.toml --python-version 3.11 --universal --no-header --upgrade
lock: $(READY) ## Choose the versions in the two lock files again
	$(COMPILE) --extra iroh --extra http --extra tls --extra otel --extra serf -o requirements.lock
	$(COMPILE) --extra http --extra tls --extra otel --extra serf --no-annotate --generate-hashes -c requirements.lock \
	  -o deploy/constraints.txt
	$(COMPILE) --all-extras -o requirements-dev.lock

clean: ## Remove what setup and the tests made
	rm -rf $(VENV) build .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find proto clients/gossipcontrol -name '*_pb2*' -delete
