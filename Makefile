# Two commands do everything on a fresh machine: `make gate` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.installed
QUIET := env -u OPENBLAS_CORETYPE -u OPENBLAS_L2_SIZE

.PHONY: gate test test-long test-scale lint docs rivals scale bench baseline timings trend lock clean

gate: $(READY)  ## measure, judge and report; exit 0 only when nothing is open
	$(BIN)/harness gate --profile ci

test: $(READY)  ## all tests but those that take long
	$(BIN)/pytest -q -n auto --dist loadfile

test-long: $(READY)  ## the tests that `make test` has no time for
	$(BIN)/pytest -q -n auto --dist loadfile -m long

test-scale: $(VENV)/.scale  ## shared tables, bulk jobs, Ray: what `make test` has no packages for
	$(BIN)/pytest -q -m 'long or not long' suites/tests/scale

lint: $(READY)  ## format, rules, types, layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(VENV)/.docs  ## the documentation as a site, build/site/docs/index.html; a warning is an error
	$(BIN)/sphinx-build -q -W --keep-going -c docs -b html . build/site

rivals: $(VENV)/.rivals  ## beside what people would use instead; minutes, on a quiet machine
	$(QUIET) $(BIN)/harness rivals

scale: $(READY)  ## what grows with the number of vectors, to 10^6; hours, on a quiet machine
	$(QUIET) $(BIN)/harness scale

bench: $(READY)  ## the benchmarks at full size, judged; never on a loaded machine
	mkdir -p .benchmarks
	$(QUIET) $(BIN)/pytest suites/bench --size=full --benchmark-enable \
	    --benchmark-json=.benchmarks/run.json -o 'addopts=--import-mode=importlib -p no:codspeed -p no:recording -p no:pytest_socket -p no:syrupy -p no:langsmith_plugin'
	$(BIN)/harness bench .benchmarks/run.json $(addprefix --baseline ,$(wildcard .benchmarks/baseline.json))

baseline:  ## from now on, `make bench` must have the benchmarks of the run before
	cp .benchmarks/run.json .benchmarks/baseline.json

timings: $(READY)  ## asv: this commit into the history, which `asv publish` draws
	$(BIN)/asv machine --yes
	$(QUIET) $(BIN)/asv run --skip-existing --show-stderr 'HEAD^!'
	$(BIN)/asv publish

trend: $(READY)  ## where the stored history took a step
	$(BIN)/harness trend

$(READY): requirements.lock pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	touch $@

$(VENV)/.docs: requirements-docs.lock $(READY)
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements-docs.lock
	touch $@

$(VENV)/.rivals: requirements-rivals.lock $(READY)
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements-rivals.lock
	touch $@

$(VENV)/.scale: requirements-scale.lock $(READY)
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements-scale.lock
	touch $@

lock:  ## resolve the lock file anew (needs uv)
	uv pip compile pyproject.toml --extra bedrock --extra langchain --extra lance --extra metrics --extra top --extra harness --extra rivals --group dev --universal \
	    --generate-hashes --no-annotate --no-header --python-version 3.11 -o requirements.lock
	uv pip compile pyproject.toml --extra scale --constraints requirements.lock --universal \
	    --generate-hashes --no-annotate --no-header --python-version 3.11 -o requirements-scale.lock
	uv pip compile --group docs --constraints requirements.lock --universal \
	    --generate-hashes --no-annotate --no-header --python-version 3.11 -o requirements-docs.lock
	uv pip compile --group rivals --constraints requirements.lock --universal \
	    --generate-hashes --no-annotate --no-header --python-version 3.11 -o requirements-rivals.lock

clean:
	rm -rf $(VENV) build dist *.egg-info src/*.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .benchmarks .asv
