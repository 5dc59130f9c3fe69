# tinygen: `make demo` and `make test` need Python 3.11+ and a package index, nothing else.

VENV ?= .venv
# Options of the demo's training run, beside --data and --out.
DEMO_OPTIONS ?= --conditional --likelihood gaussian --size 16 --hidden 400 --latent 12 --epochs 120
# make test TEST_EXTRAS=app,test runs everything without Numba.
TEST_EXTRAS ?= app,test,numba,examples
TEST_JOBS ?= 2
# What `make test` runs with NumPy alone, beside everything with kernels.
NUMPY_TESTS ?= tests/engine tests/ops tests/models
# A requirement and, where needed, pip options for PyTorch's own index. "" leaves it out.
TORCH ?= torch==2.13.0

# Data sets beside the checkout, where there are any.
TINYGEN_DATA ?= $(abspath $(wildcard ../shared/data))
ifneq ($(TINYGEN_DATA),)
export TINYGEN_DATA
endif

comma := ,
BIN := $(VENV)/bin
# -qq: errors only.
PIP_INSTALL := $(BIN)/python -m pip install -qq --disable-pip-version-check --no-input
# One stamp per set of extras: .venv/.stamp-app-test stands for `pip install -e .[app,test]`.
stamp = $(VENV)/.stamp-$(subst $(comma),-,$(1))

.DEFAULT_GOAL := help
.NOTPARALLEL:  # two pips in one environment
.PHONY: help demo test examples bench gpu clean distclean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' Makefile

demo: $(call stamp,app)  ## train a small VAE on digits and draw samples into runs/demo/samples.png
	@$(BIN)/tinygen train vae --data digits --out runs/demo --resume $(DEMO_OPTIONS)
	@test -s runs/demo/samples.png || { echo "make demo: no runs/demo/samples.png" >&2; exit 1; }
	@echo "Samples drawn by the trained model: $(CURDIR)/runs/demo/samples.png"

# Every step runs, so that one report shows all that is wrong; the full test run comes last, so
# that the output ends with its summary. The run before it is of NumPy alone: its definitions are
# out of sight where kernels stand in for them. The kernels are compiled once, not in every worker.
test: $(VENV)/.stamp-torch $(VENV)/.stamp-gputest $(call stamp,$(TEST_EXTRAS))  ## ruff, mypy and every test
	@$(BIN)/python -c 'import importlib.util as u, sys; sys.exit(u.find_spec("torch") is None)' \
	    || echo "PyTorch not available: conformance tests will be skipped"
	@status=0; \
	step() { echo; echo "== $$*"; "$$@" || status=1; }; \
	step $(BIN)/python -m ruff check .; \
	step $(BIN)/python -m mypy; \
	step $(BIN)/python benchmarks/overhead.py --check; \
	step env TINYGEN_KERNELS=numpy $(BIN)/python -m pytest -q -n $(TEST_JOBS) $(NUMPY_TESTS); \
	case ,$(TEST_EXTRAS), in *,numba,*) step $(BIN)/tinygen warmup;; esac; \
	step $(BIN)/python -m pytest -n $(TEST_JOBS); \
	exit $$status

examples: $(call stamp,$(TEST_EXTRAS))  ## run every example in full and write docs/results.md (hours)
	@$(BIN)/python examples/run_all.py

bench: $(VENV)/.stamp-torch $(call stamp,$(TEST_EXTRAS))  ## measure against the installed peers
	@$(BIN)/python -m benchmarks

# The wheel of PyTorch without a suffix is the one with CUDA. An environment of its own: `make test`
# may have put PyTorch for the CPU into the other one.
GPU_EXTRAS ?= app,test,cuda,nvidia
GPU_VENV ?= .venv-gpu
gpu:  ## on a machine with an NVIDIA GPU: numerics, compute-sanitizer, benchmark (ten minutes)
	@python3 benchmarks/gpu.py --look
	@$(MAKE) --no-print-directory VENV=$(GPU_VENV) TEST_EXTRAS=$(GPU_EXTRAS) .gpu

.PHONY: .gpu
.gpu: $(VENV)/.stamp-torch $(call stamp,$(TEST_EXTRAS))
	@$(BIN)/python -m benchmarks.gpu

clean:  ## remove builds and caches (keeps .venv and runs/)
	rm -rf build dist *.egg-info .pytest_cache .hypothesis .mypy_cache .ruff_cache .benchmarks
	find . -path './$(VENV)' -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean  ## clean, and remove .venv
	rm -rf '$(VENV)' '$(GPU_VENV)'

# The first interpreter that runs and is new enough; PYTHON=... goes before all others. Where venv
# fails half-way (Debian without python3-venv), the next make has to start over.
$(BIN)/python:
	@for python in $(PYTHON) python3 python3.14 python3.13 python3.12 python3.11 python; do \
	    if "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	        echo "Creating $(VENV) with $$("$$python" --version)"; \
	        "$$python" -m venv '$(VENV)' || { rm -f '$@'; exit 1; }; \
	        exit 0; \
	    fi; \
	done; \
	echo "tinygen needs Python 3.11 or newer, and none was found on PATH." >&2; \
	echo "Install one, or name it: make PYTHON=/path/to/python3.12 $(MAKECMDGOALS)" >&2; \
	exit 1

# PyTorch is what results are compared with; tinygen never needs it.
$(VENV)/.stamp-torch: | $(BIN)/python
	@if [ -n '$(TORCH)' ]; then \
	    echo "Installing $(TORCH)"; \
	    $(PIP_INSTALL) $(TORCH) \
	        || echo "PyTorch could not be installed; to try again: rm $@ && make test"; \
	fi
	@touch '$@'

# As PyTorch: without NVRTC the tests that compile for a GPU are skipped, and say so.
$(VENV)/.stamp-gputest: | $(BIN)/python
	@echo "Installing tinygen[gputest]"
	@$(PIP_INSTALL) --editable '.[gputest]' \
	    || echo "NVRTC could not be installed; to try again: rm $@ && make test"
	@touch '$@'

# PyTorch first: what it asks of the shared dependencies is then seen by this install.
$(VENV)/.stamp-%: setup.cfg pyproject.toml | $(BIN)/python
	@echo "Installing tinygen[$(subst -,$(comma),$*)] into $(VENV)"
	@$(PIP_INSTALL) --editable '.[$(subst -,$(comma),$*)]'
	@touch '$@'
