# make demo   pictures into out/, with the weights inside the package
# make test   the test suite
# make lint   formatting, lint, types, import contracts, spelling
# Each makes .venv when it is missing and installs again only when pyproject.toml or constraints.txt changed.
# constraints.txt pins the tested versions; pip then takes torch's CPU build wherever the configured index offers one.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
INSTALL := $(PIP) install -qq --constraint constraints.txt

.NOTPARALLEL:
.PHONY: demo test lint clean
.DELETE_ON_ERROR:

demo: $(VENV)/installed
	$(BIN)/python examples/demo.py --out out

# One thread a process. A file's tests stay in one process, because they share fixtures.
test: $(VENV)/installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile $(PYTEST_ARGS)

lint: $(VENV)/installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell src tests examples docs benchmarks README.md CHANGELOG.md CONTRIBUTING.md

clean:
	rm -rf $(VENV) out

$(VENV)/created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo 'mentor needs Python 3.11 or newer, and "$(PYTHON)" is not: make $(MAKECMDGOALS) PYTHON=/path/to/python3.11' >&2; exit 1; }
	$(PYTHON) -m venv --clear $(VENV)
	@touch $@

$(VENV)/installed: $(VENV)/created pyproject.toml constraints.txt
	@echo 'Installing mentor into $(VENV) (a minute or two, the first time only) ...'
	$(INSTALL) --editable .
	@touch $@

# The developer's set holds the user's, so `make demo` after `make test` installs nothing.
$(VENV)/installed-dev: $(VENV)/created pyproject.toml constraints.txt
	@echo 'Installing mentor with its development tools into $(VENV) (a few minutes, the first time only) ...'
	$(INSTALL) --editable '.[dev]'
	@touch $@ $(VENV)/installed
