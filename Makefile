# make train: set everything up and run the main job.  make test: set everything up and pass the tests.  The rest: make help.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUN ?= runs/ml-100k
BENCH ?=
SOURCES := pyproject.toml setup.py CMakeLists.txt constraints.txt $(shell find csrc -type f)
# What clang-format formats.
NATIVE := $(shell find csrc tests/cuda_on_cpu -name '*.cpp' -o -name '*.h' -o -name '*.cu' -o -name '*.cuh')

.PHONY: help setup train test check check-gpu gpu-report format bench wheel clean

help: ## what can be made
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 18

setup: $(VENV)/installed ## create .venv with everything pinned in constraints.txt, and build the native code

$(VENV)/python-is-new-enough:
	@command -v $(PYTHON) >/dev/null || { echo "error: $(PYTHON) not found; install Python 3.11 or newer, or name one: make PYTHON=python3.12 ..." >&2; exit 2; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "error: $$($(PYTHON) --version) is too old; name Python 3.11 or newer: make PYTHON=python3.12 ..." >&2; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "error: $(PYTHON) lacks venv; install it (Debian: apt install python3-venv)" >&2; exit 2; }
	@for compiler in "$${CXX:-c++}" g++ clang++; do command -v $${compiler%% *} >/dev/null && exit 0; done; \
	  echo "error: no C++17 compiler; install one (apt install g++, dnf install gcc-c++, xcode-select --install), or set CXX" >&2; exit 2
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/installed: $(VENV)/python-is-new-enough $(SOURCES)
	CMAKE_ARGS=-DB4R_WARNINGS_AS_ERRORS=ON $(BIN)/pip install -q --disable-pip-version-check -c constraints.txt -e '.[test,check]'
	@touch $@

train: setup ## prepare MovieLens-100K, train on it, and rank its test items beside the popularity ranking
	test -e data/ml-100k/values.npy || $(BIN)/b4r-fast prepare ml-100k --out data/ml-100k
	$(BIN)/b4r-fast train data/ml-100k --out $(RUN) --preset fast --overwrite
	$(BIN)/b4r-fast evaluate $(RUN)

test: setup check ## run ruff, mypy, clang-format and all tests
	$(BIN)/pytest

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	@$(BIN)/clang-format --dry-run --Werror $(NATIVE)

# Young, and for this alone. It asks for Python 3.12, and runs on 3.11; all it depends on, numpy, is here.
$(VENV)/ttsem: $(VENV)/installed
	@$(BIN)/pip install -q --disable-pip-version-check --no-deps --ignore-requires-python -c constraints.txt ttsem \
	  && $(BIN)/python -c 'import ttsem.sanitize' \
	  || { echo "error: ttsem, through which make check-gpu runs the Triton kernels, does not install here; nothing else needs it" >&2; exit 2; }
	@touch $@

check-gpu: setup $(VENV)/ttsem ## run the tests of the Triton kernels once more, through ttsem: 5 to 13 minutes
	TRITON_CACHE_DIR=build/triton $(BIN)/python -m tests.backends.run_in_ttsem

gpu-report: setup ## print what the kernels of a training step need of three GPUs, computed: 3 minutes
	$(BIN)/python -m tests.backends.gpu_report

format: setup ## format all code
	$(BIN)/ruff check --fix-only -q .
	$(BIN)/ruff format .
	@$(BIN)/clang-format -i $(NATIVE)

bench: setup ## measure everything beside its peers: 10 minutes; BENCH=--full for all of it, hours
	$(BIN)/pip install -q --disable-pip-version-check -c constraints.txt -e '.[bench]'
	$(BIN)/python -m benchmarks.peers.install
	$(BIN)/python -m benchmarks $(BENCH)

wheel: setup ## build a wheel into dist/
	$(BIN)/pip wheel -q --disable-pip-version-check --no-deps -w dist .

clean: ## remove the environment and what was built
	rm -rf $(VENV) .venv-peers build dist *.egg-info b4r_fast/backends/*/*.so
