.DEFAULT_GOAL := help
PYTHON ?= python3.11
PROFILE ?= full
JOBS ?= 2
BIN := .venv/bin
READY := .venv/.ready
# One line for each tier in .venv/tiers, shown at the end of `make test`.
TIER = start=$$(date +%s); $(2) || { cat .venv/tiers 2>/dev/null; echo "make: $(1) failed" >&2; exit 1; }; echo "$(1): $$(( $$(date +%s) - start )) s" >> .venv/tiers

.PHONY: help report test test-slow lint types unit notebooks-check lab notebooks lock benchmarks benchmarks-long zoo clean

help:  ## this list
	@awk -F':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

$(READY): requirements.lock pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "make: needs Python 3.11; name it with PYTHON=…" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || { echo "make: $(PYTHON) is not Python 3.11; name one with PYTHON=…" >&2; exit 1; }
	@echo "installing the locked packages into .venv (some minutes)"
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --disable-pip-version-check --no-compile -qq -r requirements.lock
	@$(BIN)/python -W ignore -m compileall -qq -j 2 .venv/lib >/dev/null 2>&1 || true  # pip does this one file after the other
	@$(BIN)/python -m pip install --disable-pip-version-check -qq --no-deps --no-build-isolation -e .
	@touch $@

report: $(READY)  ## execute the notebooks and build reports/index.html; PROFILE=quick takes seconds
	$(BIN)/workbench data prepare ml-100k
	$(BIN)/workbench report --profile $(PROFILE)

test: $(READY)  ## lint, types, unit tests, and every notebook under nbval
	@rm -f .venv/tiers
	@$(call TIER,lint,$(MAKE) --no-print-directory lint)
	@$(call TIER,unit tests,$(MAKE) --no-print-directory unit)
	@$(call TIER,types and notebooks,$(MAKE) --no-print-directory -j2 types notebooks-check)
	@echo "make test: all passed"; cat .venv/tiers

lint: $(READY)  ## ruff, for code and notebooks
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/mypy

# One thread each: two processes whose threads wait by spinning take many times as long on two cores.
unit: $(READY)
	OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE $(BIN)/pytest -n $(JOBS) --dist loadfile

notebooks-check: $(READY)
	$(BIN)/workbench data prepare ml-100k
	OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE $(BIN)/pytest -n $(JOBS) --dist loadfile -p no:cacheprovider \
		--nbval-lax --nbval-current-env --nbval-cell-timeout=300 notebooks

test-slow: $(READY)  ## the tests that take minutes, those of Spark among them
	$(BIN)/python -m pip install --disable-pip-version-check -qq --no-build-isolation -e ".[spark]"
	$(BIN)/pytest -m slow

lab: $(READY)  ## JupyterLab on the notebooks
	$(BIN)/workbench data prepare ml-100k
	$(BIN)/jupyter lab --notebook-dir=notebooks

notebooks: $(READY)  ## execute the notebooks in place and keep small outputs, before committing them
	$(BIN)/workbench data prepare ml-100k
	$(BIN)/jupyter nbconvert --log-level=WARN --ExecutePreprocessor.extra_arguments=--IPKernelApp.log_level=CRITICAL \
		--to notebook --execute --inplace notebooks/*.ipynb
	$(BIN)/nbstripout --keep-count --max-size 1500 \
		--extra-keys "metadata.language_info metadata.papermill cell.metadata.execution cell.metadata.papermill" notebooks/*.ipynb
	$(BIN)/ruff format --quiet notebooks

lock: $(READY)  ## requirements.lock and environment.yml out of pyproject.toml
	$(BIN)/python -m workbench.environment

benchmarks: $(READY)  ## ours beside RecBole's and pandas'; the first call fetches ML-1M
	$(BIN)/python -m benchmarks.anchors
	$(BIN)/python -m benchmarks.sar
	$(BIN)/python -m benchmarks.data
	$(BIN)/python -m benchmarks.evaluation
	$(BIN)/python -m benchmarks.retrieval
	$(BIN)/python -m benchmarks.ranking
	$(BIN)/python -m benchmarks.bundle

benchmarks-long: $(READY)  ## how fast and how well models learn, beside RecBole's: more than an hour; goes on where it stopped
	$(BIN)/python -m benchmarks.training
	$(BIN)/python -m benchmarks.zoo
	$(BIN)/python -m benchmarks.long_run

zoo: $(READY)  ## try each of RecBole's models, and write what ran into docs/zoo.md
	$(BIN)/python -m benchmarks.census

clean:  ## remove the generated reports; what was promoted stays, and so does the registry
	find reports -mindepth 1 -maxdepth 1 -type d -not -name bundles -not -name mlflow -exec rm -rf {} +
	rm -f reports/index.html reports/.lock
