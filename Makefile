# The two commands of the README: `make demo` and `make test`. Both make .venv if it is missing, as all others do.
# `make docs` writes the pages of docs/ and of the API to build/docs.
# Needs Python >= 3.11 with venv; uses uv where it is installed, else pip.

PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
READY = $(VENV)/.volovan-ready
DOCS_READY = $(VENV)/.volovan-docs-ready

.PHONY: demo test check docs install clean

demo: $(READY)
	$(BIN)/volovan demo

test: $(READY) check
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2

check: $(READY)
	$(BIN)/ruff check src tests benchmarks docs
	$(BIN)/ruff format --check src tests benchmarks docs
	$(BIN)/mypy -n 2
	$(BIN)/lint-imports

docs: $(DOCS_READY)
	$(BIN)/python -m sphinx -n -W --keep-going -q -b html docs build/docs
	@echo "wrote build/docs/index.html"

install: $(READY)

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and f"volovan needs Python 3.11 or newer, {sys.executable} is {sys.version.split()[0]}; say make PYTHON=/path/to/python3.11")'
	@if command -v uv >/dev/null 2>&1; then \
		uv venv --quiet --allow-existing --python $(PYTHON) $(VENV) && \
		uv pip install --quiet --python $(BIN)/python --constraint constraints.txt --editable '.[dev]'; \
	else \
		echo "installing with pip into $(VENV); this takes a few minutes" && \
		$(PYTHON) -m venv $(VENV) && \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'; \
	fi
	@touch $@

$(DOCS_READY): $(READY)
	@if command -v uv >/dev/null 2>&1; then \
		uv pip install --quiet --python $(BIN)/python --constraint constraints.txt --editable '.[docs]'; \
	else \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[docs]'; \
	fi
	@touch $@

clean:
	rm -rf $(VENV) build dist
