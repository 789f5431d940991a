.DEFAULT_GOAL := help
.SILENT:

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# One installation for each content of the lock file.
STAMP := $(VENV)/.installed-$(shell cksum < requirements.lock | cut -d ' ' -f 1)
PROGRAMS := $(STAMP)-$(shell cksum < requirements-programs.lock | cut -d ' ' -f 1)
COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --upgrade \
    --no-emit-index-url --custom-compile-command "make lock"

.PHONY: help demo demo-check demo-container down images test lint format bench lock clean

help: ## This list
	awk -F ': .*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' Makefile

demo: $(STAMP) ## Render the template, start the service on PORT (8080) and say what to try
	$(BIN)/python tools/demo.py serve $(if $(DEMO),--directory $(DEMO))

demo-check: $(STAMP) ## The same, then ask every documented operation and stop
	$(BIN)/python tools/demo.py check $(if $(DEMO),--directory $(DEMO))

demo-container: $(STAMP) ## Render, build the image, run it with PostgreSQL on PORT (8080); Docker or Podman
	$(BIN)/python tools/demo_container.py up $(if $(DEMO),--directory $(DEMO))

down: $(STAMP) ## Remove what demo-container made
	$(BIN)/python tools/demo_container.py down $(if $(DEMO),--directory $(DEMO))

images: ## Build base images from Debian packages, where no container registry answers
	for name in python-builder python-runtime postgresql; do images/$$name/build || exit 1; done

test: $(PROGRAMS) ## The whole test suite; AMORCE_REQUIRE_ENGINES=1 forbids skipping for want of an engine
	$(BIN)/python -m pytest -n auto --dist loadgroup

lint: $(PROGRAMS) ## Format, lint, types, YAML, shell and the spelling of EXI identifiers
	$(BIN)/ruff format --check --quiet . || { echo "Run 'make format' to mend the layout."; exit 1; }
	$(BIN)/ruff check --quiet .
	$(BIN)/mypy --no-error-summary
	$(BIN)/yamllint --strict $$(git ls-files '*.yml' '*.yaml')
	$(BIN)/shellcheck $$(git grep -lE '^#!.*/(env )?(ba)?sh\b' -- ':!*.md' ':!*.jinja')
	$(BIN)/python tools/check_exi.py
	echo "lint: clean"

format: $(STAMP) ## Mend the layout and what ruff can mend by itself
	$(BIN)/ruff check --fix --quiet . ; $(BIN)/ruff format .

bench: $(PROGRAMS) ## Measure, see benchmarks/
	$(BIN)/python -m benchmarks

lock: $(STAMP) ## Compile the lock files again, with the newest versions allowed
	$(COMPILE) requirements.in -o requirements.lock
	$(COMPILE) --constraint requirements.lock requirements-programs.in -o requirements-programs.lock
	$(COMPILE) tests/scanners/checkov.in -o tests/scanners/checkov.lock

clean: ## Remove the virtual environment and everything that was built
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis

$(STAMP):
	command -v $(PYTHON) >/dev/null || \
	    { echo "$(PYTHON) is missing: install Python 3.11 or newer, or say PYTHON=/path/to/python3."; exit 1; }
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "$$($(PYTHON) --version) is too old: install Python 3.11 or newer and say PYTHON=python3.11."; exit 1; }
	$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	    { echo "Python's venv module is missing: install it (Debian: apt-get install python3-venv)."; exit 1; }
	command -v git >/dev/null || { echo "git is missing: install it (Debian: apt-get install git)."; exit 1; }
	echo "Installing the locked tools into $(VENV)..."
	rm -rf $(VENV)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -qq --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

$(PROGRAMS): $(STAMP)
	echo "Installing the programs that the tests run..."
	$(BIN)/python -m pip install -qq --disable-pip-version-check --require-hashes -r requirements-programs.lock
	touch $@
