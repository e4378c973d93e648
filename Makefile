# make demo   a vision-language model measured, guarded, tuned and measured again; results in demo/
# make test   lint, types, tests
# make test-real  tests against real models: SmolLM2 behind llama.cpp's server, and OCR; a few minutes
# make test-litellm  LiteLLM as a client of the gateway; half a minute
# make test-ray  a scan over a Ray cluster of this machine; two minutes
# make test-vllm  guards of ours served by vLLM; minutes, and 3 GB to install
# make results  the tables of docs/results.md: about an hour
# All set up .venv first, with the versions in constraints.txt. Another Python: make PYTHON=python3.12 ...

PYTHON ?= python3
DEMO_ARGS ?=
BIN := .venv/bin
READY := .venv/.ready
BESIDE := real litellm ray vllm
TOOLS := build/tools
COMPILE := --quiet --generate-hashes --allow-unsafe --strip-extras --no-annotate --no-header \
	--no-emit-index-url --no-emit-find-links --no-emit-trusted-host
TORCH := $(shell grep -i '^torch==' constraints.txt)

.PHONY: setup demo test $(BESIDE:%=test-%) lint types results audit lock release
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

# Vulnerabilities known of the pins; needs the package index's own database, so it is no part of `make test`, which
# holds offline that every dependency is pinned, that what is installed is what is pinned, and that it fits together.
audit: $(TOOLS)
	$(TOOLS)/bin/pip-audit --no-deps --disable-pip -r constraints.txt

# Renew the hashes after a change of pins.
lock: $(TOOLS)
	$(TOOLS)/bin/pip-compile $(COMPILE) -c constraints.txt --extra hub --extra inspect --extra local --extra serve pyproject.toml -o build/all.lock
	printf 'build\nsetuptools>=77\nwheel\n' | $(TOOLS)/bin/pip-compile $(COMPILE) - -o build/build.lock
	$(PYTHON) tools/lock.py build/all.lock requirements.lock build/build.lock build-requirements.lock

$(TOOLS):
	$(PYTHON) -m venv $@
	$@/bin/pip install --quiet pip-audit pip-tools

# A wheel and a source archive, built with nothing but what build-requirements.lock names, and their hashes.
release:
	rm -rf build/release && $(PYTHON) -m venv build/release
	build/release/bin/pip install --quiet --require-hashes --no-deps -r build-requirements.lock
	build/release/bin/python -m build --no-isolation --outdir dist
	cd dist && sha256sum *.whl *.tar.gz > SHA256SUMS

test: lint types
	$(BIN)/pytest -n 2

# Tests in need of packages that stay out of .venv: theirs are in .venv-NAME, and talk with ours over HTTP, or in Ray's
# case are found by its tests alone.
$(BESIDE:%=test-%): test-%: $(READY) .venv-%/.ready
	$(BIN)/pytest tests/$*

$(BESIDE:%=.venv-%/.ready): .venv-%/.ready: tests/%/requirements.txt
	@rm -f $@
	$(PYTHON) -m venv --clear .venv-$*
	.venv-$*/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -r $<
	@touch $@
