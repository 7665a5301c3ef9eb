# Each target sets up what it needs in .venv and reuses it. Nothing else is needed than Python 3.11 and a C compiler.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
TORCH := torch==2.13.0
PYTORCH_CPU_INDEX := https://download.pytorch.org/whl/cpu
# axe-core 4.12.1, that finds what hinders readers of a page; its Playwright is not used, so not installed.
AXE := axe-playwright-python==0.1.8
DEMO ?= demo
WORKSPACE ?= $(DEMO)/workspace

SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)

.PHONY: setup demo test test-services check slow bench serve wheel clean
.DEFAULT_GOAL := help

help: ## Show what can be made.
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 10

# The CPU build of torch, from the configured indexes or PyTorch's own: plain PyPI would bring gigabytes of CUDA.
$(VENV)/.installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -c 'import torch' 2>/dev/null \
	  || $(BIN)/pip install -q -c constraints.txt '$(TORCH)+cpu' \
	  || $(BIN)/pip install -q -c constraints.txt --extra-index-url $(PYTORCH_CPU_INDEX) '$(TORCH)+cpu' \
	  || $(BIN)/pip install -q -c constraints.txt '$(TORCH)'
	$(BIN)/pip install -q -c constraints.txt -e '.[dev]'
	touch $@

setup: $(VENV)/.installed ## Make .venv with everything pinned by constraints.txt.

demo: setup ## Walk both roads on simulated traffic: identification to a REST answer, counters to indicators (about three minutes).
	$(BIN)/iotlens demo --out $(DEMO)

test: setup ## Run the tests that need no server and no minutes.
	$(BIN)/pytest -q

# Chromium and Redis come from the system's packages (Debian's names); each test starts its own, on a free port.
test-services: setup ## Install the real servers and run the tests that need them (uses apt-get where they lack).
	{ command -v redis-server && command -v chromium; } >/dev/null || { $(SUDO) apt-get update -qq && \
	  $(SUDO) apt-get install -y -qq --no-install-recommends redis-server chromium; }
	$(BIN)/pip install -q -c constraints.txt -e '.[redis]'
	$(BIN)/pip install -q --no-deps '$(AXE)'
	$(BIN)/pytest -q -m services

slow: setup ## Run the tests that need minutes or the real captures.
	$(BIN)/pytest -q -m slow

check: setup ## Lint, types, import contracts, tests: as CI does.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest -q

bench: setup ## Print each benchmark's ratios against its rival in the same run.
	$(BIN)/python benchmarks/history.py
	$(BIN)/python benchmarks/online.py
	$(BIN)/python benchmarks/serve.py
	$(BIN)/python benchmarks/score_rest.py
	$(BIN)/python benchmarks/counters.py

serve: setup ## Serve the newest run of the workspace (WORKSPACE=DIR) on http://127.0.0.1:3000.
	$(BIN)/iotlens serve --workspace $(WORKSPACE)

wheel: setup ## Build dist/iotlens-*.whl.
	$(BIN)/python -m build --wheel --outdir dist .

clean: ## Remove what the demo and the builds left.
	rm -rf $(DEMO) dist build
