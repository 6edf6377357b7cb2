# Everything a fresh machine needs is Python 3.11 and make: each target first makes the environment in .venv.
#
#   make install  the environment alone
#   make demo     data rendered here -> train -> evaluate -> export -> verify -> bench -> report, about six minutes
#   make test     every test; `make test-fast` leaves out the slow ones
#   make check    style, types, layers
#   make golden   records tests/arch/golden_cost.csv anew from timm, torchvision and Keras, in an environment of its own
#   make docs     the documentation, in site/
#   make clean    removes what the targets above made, the environment included
#
# TORCH_INDEX names another index for PyTorch alone (a plain `pip install torch` on Linux may fetch several GB of CUDA).

PYTHON ?= $(firstword $(shell command -v python3.11) $(shell command -v python3) python3.11)
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
PIP := $(BIN)/python -m pip --disable-pip-version-check
# Tests run in so many processes, each with one thread, which small networks hardly need more of. A file stays in one process,
# for the sake of its fixtures.
WORKERS ?= 2
SPREAD := -n $(WORKERS) --dist loadfile
# The libraries that golden tables are recorded from; SHIM has tvshim.py, for a torchvision beside a CPU build of torch.
PEERS ?= .venv-peers
SHIM ?= ../shared/peers

.PHONY: install demo test test-fast test-slow check golden docs clean
.DEFAULT_GOAL := test-fast

install: $(INSTALLED)

demo: $(INSTALLED)
	$(BIN)/mobilenets demo

test: test-fast test-slow

test-fast: $(INSTALLED)
	$(BIN)/python -m pytest $(SPREAD) --durations=15

test-slow: $(INSTALLED)
	$(BIN)/python -m pytest -m slow $(SPREAD) --durations=15

check: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

golden: $(PEERS)/.installed
	PYTHONPATH=src:$(SHIM) $(PEERS)/bin/python benchmarks/peer_costs.py --csv tests/arch/golden_cost.csv

docs: $(INSTALLED)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

clean:
	rm -rf $(VENV) $(PEERS) site build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -not -path './.git/*' -prune -exec rm -rf {} +

# PyTorch goes first and alone: so it can come from another index, and the rest finds it there.
$(INSTALLED): pyproject.toml constraints.txt requirements-litert.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "error: Python 3.11 or newer is needed, $(PYTHON) is older; set PYTHON=..." >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) -c constraints.txt torch
	$(PIP) install --quiet -c constraints.txt -e '.[dev,docs]'
	$(PIP) install --quiet --no-deps -r requirements-litert.txt
	@touch $@

$(PEERS)/.installed: constraints.txt
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install --quiet $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) -c constraints.txt torch
	$(PEERS)/bin/python -m pip install --quiet -c constraints.txt numpy pillow pyyaml huggingface_hub safetensors keras==3.15.1 jax==0.10.2
	$(PEERS)/bin/python -m pip install --quiet --no-deps torchvision==0.28.0 timm==1.0.31
	@touch $@
