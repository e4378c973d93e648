# make demo   a vision-language model measured, guarded, tuned and measured again; results in demo/
# make test   lint, types, tests
# make results  the tables of docs/results.md: about an hour
# Both set up .venv first, with the versions in constraints.txt. Another Python: make PYTHON=python3.12 ...

PYTHON ?= python3
DEMO_ARGS ?=
BIN := .venv/bin
READY := .venv/.ready
TORCH := $(shell grep -i '^torch==' constraints.txt)

.PHONY: setup demo test lint types results
setup: $(READY)

# torch goes in first and alone: pip then takes the build that the machine offers (without GPU libraries where there is
# one) and keeps it, since every later install is held to the same pin. The stamp is written only when all went well.
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("HoliSafe needs Python 3.11 or newer: make PYTHON=/path/to/python3.11")'
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear .venv
	@rm -f $@
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt $(TORCH)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

results: $(READY)
	$(BIN)/python benches/pictosafe_results.py

demo: $(READY)
	$(BIN)/holisafe demo --out demo $(DEMO_ARGS)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/mypy

test: lint types
	$(BIN)/pytest -n 2
