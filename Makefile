# `make demo` and `make test` do all on a fresh machine with Python 3.11 or newer; `make setup` is the first half of both.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: setup demo test slow lint lock check-pip clean

setup: $(READY)

# uv where it is, pip where it is not; both install exactly what requirements.lock pins.
$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "make: $(PYTHON) is older than 3.11; name a newer one: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 2; }
	@rm -f $@
	@if command -v uv > /dev/null; then set -e; \
	  uv venv --quiet --allow-existing --python "$$($(PYTHON) -c 'import sys; print(sys.executable)')" $(VENV); \
	  uv pip install --python $(BIN)/python --require-hashes -r requirements.lock; \
	  uv pip install --python $(BIN)/python --quiet --no-deps --no-build-isolation -e .; \
	else set -e; \
	  $(PYTHON) -m venv $(VENV); \
	  $(BIN)/python -m pip install --require-hashes -r requirements.lock; \
	  $(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .; \
	fi
	@touch $@

demo: setup
	@$(BIN)/ninefold train quickstart

test: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not slow" -n auto --maxprocesses 8 --dist loadfile

slow: setup
	$(BIN)/python -m pytest -m slow

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports

lock:
	uv pip compile --quiet --universal --generate-hashes --python-version 3.11 --extra test \
	  --no-emit-index-url --custom-compile-command "make lock" pyproject.toml -o requirements.lock

# The other way of setting up, without the hours of downloading: would pip install the lock too?
check-pip:
	$(PYTHON) -m pip install --dry-run --quiet --ignore-installed --require-hashes -r requirements.lock

clean:
	rm -rf $(VENV) dist
