# Everything that a person or a CI runs. `make` alone lists the targets.
#
# PYTHON  the interpreter that .venv is made of; 3.11 or newer (default: python3, else the newest found)
# ARGS    further arguments for pytest, in test and test-full, and for bench

PYTHON ?= python3

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input -qq
BUF := $(BIN)/buf
IMAGE := protos/image.binpb
LOCKS := requirements/build.lock requirements/dev.lock requirements/model.lock
RUNTIME_LOCKS := requirements/build.lock requirements/runtime.lock requirements/model.lock

# A stamp's name says what .venv holds: other locks, another pyproject or another place, another stamp.
# The first is of everything, the second of what the services need, which is all that the demo takes.
STAMP := $(VENV)/.holds-$(shell { pwd; cat $(LOCKS) pyproject.toml; } | cksum | tr ' ' '-')
RUNTIME_STAMP := $(VENV)/.runs-$(shell { pwd; cat $(RUNTIME_LOCKS) pyproject.toml; } | cksum | tr ' ' '-')

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup demo test test-full test-cluster check bench bench-quick eval generate proto-image lock clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 20

setup: $(STAMP) ## make .venv with every locked package, the local chat model and the project

# $(1) are the locks, the packages' own in the middle.
define INSTALL
	@set -eu; \
	fits() { "$$1" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }; \
	case "$(origin PYTHON)" in file) others="python3.13 python3.12 python3.11";; *) others=;; esac; \
	for python in "$(PYTHON)" $$others ""; do [ -z "$$python" ] || ! fits "$$python" || break; done; \
	if [ -z "$$python" ]; then \
	  echo "Cascada needs Python 3.11 or newer with its venv module, and $(PYTHON) is not:" \
	    "install one, or name it with make setup PYTHON=/path/to/python3.11" >&2; \
	  exit 1; \
	fi; \
	rm -f $(VENV)/.holds-* $(VENV)/.runs-*; \
	if ! { fits $(BIN)/python && grep -qsF "$(CURDIR)/$(VENV)" $(BIN)/pip; }; then \
	  echo "setup: making $(VENV) with $$("$$python" --version)"; \
	  "$$python" -m venv --clear $(VENV); \
	fi
	@echo "setup: installing the $$(cat $(1) | grep -c '==') locked packages; the first time takes a minute or two"
	@$(PIP) install --require-hashes --no-deps -r $(word 1,$(1))
	@$(PIP) install --require-hashes --no-deps --no-build-isolation --use-pep517 -r $(word 2,$(1))
	@$(PIP) install --require-hashes --no-deps -r $(word 3,$(1))
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@
endef

$(STAMP):
	$(call INSTALL,$(LOCKS))

$(RUNTIME_STAMP):
	$(call INSTALL,$(RUNTIME_LOCKS))

demo: $(if $(wildcard $(STAMP)),,$(RUNTIME_STAMP)) ## ask the sample documents a question through all three services
	@$(BIN)/python -m cli.demo

# Most tests wait for something, so that a file goes to each core; make test ARGS='-n 0' runs them in one process.
test: setup ## run every test but the long ones and those that need a provider's key
	@$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile $(ARGS)

# bash for pipefail: the pipe must fail where pytest fails.
test-full: SHELL := bash
test-full: .SHELLFLAGS := -euo pipefail -c
test-full: setup ## run the long tests too, and add the result to tests/results/<date>.txt
	@mkdir -p tests/results; \
	{ \
	  echo "commit $$(git rev-parse --short HEAD)$$(git diff --quiet HEAD -- . ':!tests/results' || echo ' with changes')," \
	    "$$($(BIN)/python --version), $$(getconf _NPROCESSORS_ONLN) cores"; \
	  $(BIN)/python -m pytest --no-header -m "not live" -ra --durations=20 $(ARGS); \
	} | tee -a "tests/results/$$(date -u +%Y-%m-%d).txt"

test-cluster: setup ## the tests of a cluster and its faults; all of them as root, the soak for CASCADA_SOAK_SECONDS (1800)
	@$(BIN)/python -m pytest -m "not live" -ra tests/cluster $(ARGS)

check: setup ## lint, format, types, protos, and whether generated/ and docs/ are fresh
	$(BIN)/ruff check --quiet
	$(BIN)/ruff format --check --quiet
	$(BIN)/mypy --no-error-summary
	$(BUF) lint
	$(BUF) format --diff --exit-code
	$(BUF) breaking --against $(IMAGE)
	$(BIN)/python protos/generate.py --check
	$(BIN)/python docs/generate.py --check

bench: setup ## measure, print the tables and write them into the pages; ARGS names some of the measurements
	@$(BIN)/python -m bench $(ARGS)

bench-quick: setup ## what a request costs beside bare gRPC and HTTP, and beside the run before
	@$(BIN)/python -m bench quick

eval: setup ## how often search finds the right passage of the sample documents
	@$(BIN)/python -m bench evaluation

generate: setup ## write generated/ from the protos, and docs/providers.md from the code
	@$(BIN)/python protos/generate.py
	@$(BIN)/python docs/generate.py

proto-image: setup ## accept the protos as the contract that later ones must not break
	@$(BUF) build --exclude-source-info --output $(IMAGE)

# A lock holds names, versions and hashes, and nothing of the machine that wrote it: this machine's
# pip configuration is left aside. Pins move only with LOCK_ARGS=--upgrade (or --upgrade-package X).
# Run it on the oldest Python that is supported, whose set of packages is the largest. Comments are
# taken out because pip-tools warns that pip is not pinned, and pip is the environment's own.
PUBLIC := env -u PIP_FIND_LINKS -u PIP_EXTRA_INDEX_URL PIP_CONFIG_FILE=/dev/null
COMPILE := $(PUBLIC) $(BIN)/pip-compile --quiet --generate-hashes --strip-extras --no-header --no-annotate \
  --no-emit-options --no-emit-index-url --no-emit-find-links --no-emit-trusted-host \
  --unsafe-package pip $(LOCK_ARGS)

# pip-compile always resolves dependencies; the model is locked without its own, from pip's report.
define WITH_HASHES
import json, sys
for found in json.load(sys.stdin)["install"]:
    package, archive = found["metadata"], found["download_info"]["archive_info"]
    print(f"{package['name']}=={package['version']} \\")
    print(f"    --hash=sha256:{archive['hashes']['sha256']}")
endef
export WITH_HASHES

lock: setup ## write requirements/*.lock anew
	@$(COMPILE) --output-file requirements/build.lock requirements/build.in
	@$(COMPILE) --all-extras --constraint requirements/build.lock \
	  --output-file requirements/dev.lock pyproject.toml
	@$(COMPILE) --extra postgresql,milvus,redis --constraint requirements/dev.lock \
	  --output-file requirements/runtime.lock pyproject.toml
	@sed -i.old '/^#/d' requirements/dev.lock requirements/runtime.lock && rm requirements/*.lock.old
	@$(PUBLIC) $(PIP) install --dry-run --ignore-installed --no-deps --report - \
	  -r requirements/model.in | $(BIN)/python -c "$$WITH_HASHES" > requirements/model.lock.new
	@mv requirements/model.lock.new requirements/model.lock

clean: ## remove .venv and everything that tools cached
	@rm -rf $(VENV) dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
