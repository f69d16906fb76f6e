# Two commands do everything on a fresh machine with Python 3.11 and make: `make audit` and `make test`.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
# Spinning OpenMP threads on a busy machine cost ten times the work; passive waiting costs nothing.
export OMP_WAIT_POLICY := PASSIVE
OUT ?= oakum-audit

.PHONY: env audit test lint types docs claims bench clean
env: $(VENV)/.ready

$(VENV)/.ready: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet torch==2.13.0
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@

audit: env
	$(BIN)/oakum audit --quick --out $(OUT) || [ $$? -eq 1 ]
	@echo "The report is $(abspath $(OUT))/report.html"

test: env lint types
	$(BIN)/python -m pytest -n 4

lint: env
	$(BIN)/ruff check src tests benchmarks examples docs
	$(BIN)/ruff format --check src tests benchmarks examples docs

types: env
	$(BIN)/mypy

claims: env
	$(BIN)/oakum claims --all --write docs/claims.json

# Beside other libraries, each in an environment of its own; ARGS="--only ease --fresh", see `python -m benchmarks --help`.
bench: env
	$(BIN)/python -m benchmarks $(ARGS)

docs: env
	$(BIN)/python docs/build.py && $(BIN)/mkdocs build --strict

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache site
