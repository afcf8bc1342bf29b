# make train: set everything up and run the main job.  make test: set everything up and pass the tests.  The rest: make help.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUN ?= runs/ml-100k
BENCH ?=
WORKERS ?= 2
PIP = $(BIN)/pip install -q --disable-pip-version-check -c constraints.txt
# cmake and ninja are those of .venv, so that what has not changed is not compiled again.
export PATH := $(abspath $(BIN)):$(PATH)
# A file's tests share what they prepare; the longest begin first.
PYTEST = $(BIN)/pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder
# What clang-format formats.
NATIVE := $(shell find csrc tests/cuda_on_cpu -name '*.cpp' -o -name '*.h' -o -name '*.cu' -o -name '*.cuh')

.PHONY: help setup train test quick native test-kernels peers check lint gpu-report format bench wheel clean

help: ## what can be made
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 21

setup: $(VENV)/tools ## create .venv with everything pinned in constraints.txt, and build the native code
	@# At once: pip waits for the net and the disk, the compilers for neither.
	@$(MAKE) --no-print-directory -j2 $(VENV)/packages $(VENV)/native
	@$(MAKE) --no-print-directory $(VENV)/installed

$(VENV)/python-is-new-enough:
	@command -v $(PYTHON) >/dev/null || { echo "error: $(PYTHON) not found; install Python 3.11 or newer, or name one: make PYTHON=python3.12 ..." >&2; exit 2; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "error: $$($(PYTHON) --version) is too old; name Python 3.11 or newer: make PYTHON=python3.12 ..." >&2; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "error: $(PYTHON) lacks venv; install it (Debian: apt install python3-venv)" >&2; exit 2; }
	@for compiler in "$${CXX:-c++}" g++ clang++; do command -v $${compiler%% *} >/dev/null && exit 0; done; \
	  echo "error: no C++17 compiler; install one (apt install g++, dnf install gcc-c++, xcode-select --install), or set CXX" >&2; exit 2
	$(PYTHON) -m venv $(VENV)
	@touch $@

# What builds the native code.
$(VENV)/tools: $(VENV)/python-is-new-enough constraints.txt
	$(PIP) 'setuptools>=77' pybind11 cmake ninja
	@touch $@

$(VENV)/packages: $(VENV)/tools pyproject.toml constraints.txt
	@$(BIN)/python -c 'import tomllib; p = tomllib.load(open("pyproject.toml", "rb"))["project"]; \
	  every = sum(p["optional-dependencies"].values(), p["dependencies"]); \
	  print(*(r for r in every if not r.startswith(("b4r-fast", "b4r_fast"))), sep="\n")' > $(VENV)/requirements.txt
	$(PIP) -r $(VENV)/requirements.txt
	@touch $@

$(VENV)/native: $(VENV)/tools setup.py CMakeLists.txt $(shell find csrc -type f)
	CMAKE_ARGS=-DB4R_WARNINGS_AS_ERRORS=ON $(BIN)/python setup.py -q build_ext --inplace
	@touch $@

# Set up once, whatever has changed since.
$(VENV)/first:
	@$(MAKE) --no-print-directory setup
	@touch $@

$(VENV)/installed: $(VENV)/packages $(VENV)/native pyproject.toml setup.py
	CMAKE_ARGS=-DB4R_WARNINGS_AS_ERRORS=ON $(PIP) --no-build-isolation --no-deps -e .
	@touch $@

train: setup ## prepare MovieLens-100K, train on it, and rank its test items beside the popularity ranking
	test -e data/ml-100k/values.npy || $(BIN)/b4r-fast prepare ml-100k --out data/ml-100k
	$(BIN)/b4r-fast train data/ml-100k --out $(RUN) --overwrite
	$(BIN)/b4r-fast evaluate $(RUN)

test: setup check ## run ruff, mypy, clang-format and the tests: does this build work on this machine? 6 minutes
	@mkdir -p build
	$(PYTEST) --junitxml=build/test.xml

quick: $(VENV)/first ## for who edits, 90 seconds: build for this machine's processor, lint, types, the tests most likely to break
	@$(MAKE) --no-print-directory native ISA=$$($(BIN)/python -c 'from b4r_fast.backends.cpu.instruction_sets import ISA; print(ISA)')
	@$(MAKE) --no-print-directory lint
	$(PYTEST) -m 'not kernels and not long' tests/ops tests/model tests/evaluation tests/serving tests/data/test_batches.py tests/test_*.py

native: $(VENV)/first ## build the native code again after a change; ISA=avx2, or another, or cuda, builds that module alone
	$(BIN)/cmake --build build/native/ninja $(ISA:%=--target _%)
	$(if $(filter-out cuda,$(ISA)),@echo "B4R_FAST_ISA=$(ISA) runs with it; the other modules are as they were")

test-kernels: setup ## prove the kernels for GPUs without a GPU, and write down what came out: an hour; LANES="cuda-fibers ..." for some
	@$(MAKE) --no-print-directory $(VENV)/ttsem || true
	$(BIN)/python -m tests.lanes --workers $(WORKERS) $(if $(SAMPLE),--sample $(SAMPLE)) $(LANES)

peers: setup ## hold converters and patches to the real packages, each in an environment of its own, and write down what came out: 15 minutes
	$(BIN)/python -m benchmarks.peers.install rectools recbole replay
	$(BIN)/python -m tests.peers

check: setup
	@$(MAKE) --no-print-directory lint

lint:
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	@$(BIN)/clang-format --dry-run --Werror $(NATIVE)

# Young, and for one lane alone. It asks for Python 3.12, and runs on 3.11; all it depends on, numpy, is here.
$(VENV)/ttsem: $(VENV)/installed
	@$(PIP) --no-deps --ignore-requires-python ttsem \
	  && $(BIN)/python -c 'import ttsem.sanitize' \
	  || { echo "ttsem does not install here, so the lane triton-ttsem is left out; nothing else needs it" >&2; exit 2; }
	@touch $@

gpu-report: setup ## print what the kernels of a training step need of three GPUs, computed: 3 minutes
	$(BIN)/python -m tests.without_a_gpu.report

format: setup ## format all code
	$(BIN)/ruff check --fix-only -q .
	$(BIN)/ruff format .
	@$(BIN)/clang-format -i $(NATIVE)

bench: setup ## measure everything beside its peers: 10 minutes; BENCH=--full for all of it, hours
	$(PIP) -e '.[bench]'
	$(BIN)/python -m benchmarks.peers.install
	$(BIN)/python -m benchmarks $(BENCH)

wheel: setup ## build a wheel into dist/
	$(BIN)/pip wheel -q --disable-pip-version-check --no-deps -w dist .

clean: ## remove the environment and what was built
	rm -rf $(VENV) .venv-peers build dist *.egg-info b4r_fast/backends/*/*.so
