# The two commands of the README: `make demo` and `make test`. Both make .venv if it is missing, as all others do.
# `make benchmark-gpu` checks the kernels on a GPU and fills its tables, with the torch of $(PYTHON), from the sources alone.
# `make docs` writes the pages of docs/ and of the API to build/docs.
# Needs Python >= 3.11 with venv; uses uv where it is installed, else pip.

PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
READY = $(VENV)/.volovan-ready
DOCS_READY = $(VENV)/.volovan-docs-ready

.PHONY: demo test check docs install clean benchmark-gpu

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

# A GPU machine has a torch of its own, and perhaps no network: nothing is installed. About 20 minutes.
GPU ?= cuda
GPU_BATCH ?= 128
GPU_ROUNDS ?= 15
GPU_OUT ?= benchmarks/results/gpu
GPU_BENCH = PYTHONPATH=src $(PYTHON) -m volovan benchmark --device $(GPU) --rounds $(GPU_ROUNDS)

benchmark-gpu:
	PYTHONPATH=src timeout 600 $(PYTHON) -m pytest tests/ops -m "slow or not slow" -p no:cacheprovider
	$(GPU_BENCH) ops --tune --batch $(GPU_BATCH) --precision bf16 --part inference train --out $(GPU_OUT)/operations
	VOLOVAN_KERNELS=try $(GPU_BENCH) volo_d1 --batch $(GPU_BATCH) --precision bf16 --part inference train --form eager compiled --peers plain:volo_d1 \
		timm:volo_d1_224 --out $(GPU_OUT)/volo
	VOLOVAN_KERNELS=try $(GPU_BENCH) van_b2 --batch $(GPU_BATCH) --precision bf16 --part inference train --form eager compiled --peers plain:van_b2 \
		timm:swin_tiny_patch4_window7_224 timm:convnext_tiny --out $(GPU_OUT)/van
	VOLOVAN_KERNELS=try $(GPU_BENCH) van_b0 van_b1 van_b2 van_b3 van_b4 van_b5 van_b6 volo_d1 volo_d2 volo_d3 volo_d4 volo_d5 --batch 32 \
		--precision bf16 --form eager fused --out $(GPU_OUT)/all

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
