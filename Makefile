# The verbs people use daily. CI calls the same ones. `make` alone lists them.
#
# Another dependency: name it in pyproject.toml, then `make lock install`.
# Only `lock`, `browser`, and an `install` whose lock file changed need a network.

PYTHON ?= python3
DATA   ?= $(or $(REFAULT_DATA),.refault)

BIN   := .venv/bin
STAMP := .venv/installed
# What the environment was made from: where and with which Python (scripts in it carry absolute paths, so a
# moved checkout starts anew), and the digest of the locked versions and entry points.
PLACE  := $(shell pwd -P) $(shell $(PYTHON) --version 2>&1)
WANTED := $(PLACE) $(shell cat requirements.lock pyproject.toml 2>/dev/null | sha256sum | cut -d' ' -f1)

# Tools keep what they remember in the checkout.
export HYPOTHESIS_STORAGE_DIRECTORY := $(CURDIR)/.cache/hypothesis
export PIP_DISABLE_PIP_VERSION_CHECK := 1

PIP  := $(BIN)/python -m pip install --quiet --require-hashes --only-binary :all:
LOCK := $(BIN)/uv pip compile pyproject.toml --quiet --cache-dir .cache/uv --universal --python-version 3.11 \
        --fork-strategy fewest --generate-hashes --no-emit-index-url --no-annotate --no-header

# Two more than there are cores, as many tests wait for processes they started; at most six.
TESTERS := $(shell cores=$$(nproc); echo $$((cores < 4 ? cores + 2 : 6)))

.DEFAULT_GOAL := help
.PHONY: help
help: ## list these verbs
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ":.*## " '{ printf "  make %-8s %s\n", $$1, $$2 }'

.PHONY: demo
demo: install ## from a captured guest to a comparison, on this machine; DATA=folder keeps it elsewhere
	@$(BIN)/python -m services.local demo --data "$(DATA)"

.PHONY: serve
serve: install ## the whole service on this machine until Ctrl-C; DATA=folder as above
	@$(BIN)/python -m services.local serve --data "$(DATA)"

.PHONY: test
test: install browser trees guests ## everything: linters, then every test
	@$(MAKE) --no-print-directory --jobs 2 lint kernels
	@XDG_CACHE_HOME="$(CURDIR)/.cache" XDG_CONFIG_HOME="$(CURDIR)/.cache/config" \
	  $(BIN)/python -m pytest --numprocesses $(TESTERS) --dist loadfile --no-loadscope-reorder $(ARGS)

# While one core lints, the other compiles what every test and every worker of the tests loads.
.PHONY: kernels
kernels: install
	@$(BIN)/python -m tests.engines.warming

.PHONY: lint
lint: install ## ruff, mypy, import contracts, generated files
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/python -m tools.client --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo --cache-dir .cache/import-linter

.PHONY: format
format: install ## let ruff format and mend what it can
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

.PHONY: client
client: install ## generate the synchronous client from refault/client/asynchronous
	@$(BIN)/python -m tools.client

.PHONY: golden
golden: install ## hold the simulator against the counters of the real kernel code, case by case
	$(BIN)/refault golden tests/golden --traces demo/traces

.PHONY: fuzz
fuzz: install ## hostile guests, compiled, bounds-checked and interpreted, for MINUTES=5 from guest SEED=0 on
	@$(BIN)/python -m tests.engines.fuzz "$(or $(MINUTES),5)" "$(or $(SEED),0)"

.PHONY: soak
soak: install ## random faults on a running service for MINUTES=10 from SEED=0, and does everything add up?
	@$(BIN)/python -m tests.soak "$(or $(MINUTES),10)" "$(or $(SEED),0)" $(if $(JSON),--json "$(JSON)")

.PHONY: pictures
pictures: install browser ## every page, wide and narrow, light and dark, into docs/screenshots
	@$(BIN)/python -m tests.browser.pictures

.PHONY: faults
faults: install ## every error of the database at every statement, then operations without end: MINUTES=5 each, SEED=0
	@FAULTS_MINUTES="$(or $(MINUTES),5)" FAULTS_SEED="$(or $(SEED),0)" \
	  $(BIN)/python -m pytest -q --show-capture=no tests/worker/test_database_faults.py
	@$(BIN)/python -m tests.engines.bounded_work "$(or $(MINUTES),5)" "$(or $(SEED),0)"

.PHONY: bench
bench: install ## the figures of the README, each a ratio measured in one run
	@for script in $(filter-out benchmarks/report.py benchmarks/fill.py benchmarks/comparisons.py,$(wildcard benchmarks/*.py)); do \
	  echo "== $$script"; $(BIN)/python "$$script" || exit 1; done

.PHONY: clean
clean: ## remove caches; .venv and the data folder stay
	rm -rf .cache build dist
	find . -name __pycache__ -type d -not -path './.venv/*' -prune -exec rm -rf {} +

.PHONY: browser
browser: ## Chromium for the browser tests: on Debian as root installs it, elsewhere says how
	@if command -v chromium chromium-browser google-chrome >/dev/null 2>&1; then exit 0; fi; \
	if grep -qs '^ID=debian' /etc/os-release && [ "$$(id -u)" = 0 ]; then \
	  echo "installing Debian's chromium for the browser tests"; \
	  apt-get update -qq && \
	  DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends chromium >/dev/null && exit 0; \
	fi; \
	echo "No Chromium here, so the browser tests will be skipped. To run them, install it as root:"; \
	echo "    apt-get install chromium        (Debian; other systems: their own package of Chromium)"

.PHONY: trees
trees: install ## the kernel sources that tests build: downloaded once, where there is apt-get
	@XDG_CACHE_HOME="$(CURDIR)/.cache" $(BIN)/python -m tools.trees .cache/trees

.PHONY: guests
guests: install ## what tests capture guests with: kernels, busybox, and QEMU where none is: downloaded once, where there is apt-get
	@$(BIN)/python -m tools.guests .cache/guests amd64 i386
	@$(BIN)/python -m tools.qemu .cache/guests/qemu

.PHONY: corpus
corpus: install guests ## capture the guests of demo/corpus.json into .refault/corpus; those up to 1 MB into demo/corpus
	@$(BIN)/python -m tools.corpus .refault/corpus $(NAMES)

.PHONY: install
install: ## create .venv with the locked versions; a second call does nothing
	@if [ "$$(cat $(STAMP) 2>/dev/null)" != "$(WANTED)" ]; then $(MAKE) --no-print-directory reinstall; fi

.PHONY: reinstall
reinstall:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 15))' || \
	  { echo "refault needs Python 3.11 to 3.14; choose one with: make install PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || \
	  { echo "this Python cannot create environments; on Debian: apt-get install python3-venv" >&2; exit 1; }
	@case "$$(cat $(STAMP) 2>/dev/null)" in \
	  "$(PLACE) "*) ;; \
	  *) echo "creating .venv"; $(PYTHON) -m venv --clear .venv ;; \
	esac
	@echo "installing the versions of requirements.lock into .venv (once; needs a network)"
	@sed -n '/^uv==/,/[^\\]$$/p' requirements.lock > .venv/uv.lock
	@$(PIP) --no-deps -r .venv/uv.lock
	@$(BIN)/uv pip install --quiet --system-certs --cache-dir .cache/uv --python $(BIN)/python --require-hashes --no-build \
	  -r requirements.lock || { echo "uv cannot, so pip does it, which takes longer"; $(PIP) -r requirements.lock; }
	@$(BIN)/python -m pip install --quiet --no-index --no-deps --no-build-isolation --editable .
	@echo "$(WANTED)" > $(STAMP)

.PHONY: lock
lock: ## pin dependencies anew after pyproject.toml changed (needs a network)
	$(LOCK) --all-extras --group dev --output-file requirements.lock
	$(LOCK) --group api --constraint requirements.lock --output-file requirements-api.lock
	$(LOCK) --extra mmu --group worker --constraint requirements.lock --output-file requirements-worker.lock
