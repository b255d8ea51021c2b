# Each target sets up its own environment in .venv the first time.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PACKAGES := src tests tools benchmarks results
# PyTorch for the CPU comes without triton. The interpreter of 3.6 and older fails with numpy 2.4.
TRITON := triton==3.7.1

.PHONY: help demo test test-kernels check docs format constraints clean

help:
	@echo "make demo    install, race the bundled model in six configurations, choose one (report in demo-output/)"
	@echo "make test    run the tests"
	@echo "make test-kernels  run those of the Triton kernels, in its interpreter"
	@echo "make check   format, lint, strict types, import contract"
	@echo "make docs    build the documentation (build/site/index.html)"
	@echo "make format  rewrite files in the project's format"
	@echo "make clean   remove the environment and everything built"

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "servewatt needs Python 3.11 or newer; try: make PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || \
		{ rm -rf $(VENV); echo "python venv is missing; on Debian and Ubuntu: apt-get install python3-venv"; exit 1; }

# Stamps: an environment for users (demo), and one with the tools for working on servewatt on top.
$(VENV)/.installed: pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing servewatt and its engines into $(VENV) (minutes, the first time)"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[all]'
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[all,dev]'
	@touch $@

demo: $(VENV)/.installed
	$(BIN)/servewatt run examples/demo.yaml --report demo-output
	@echo
	@echo "The command is $(BIN)/servewatt; to call it servewatt in this shell: . $(BIN)/activate"
	@echo "Next: servewatt doctor, servewatt run --help, servewatt run --model FOLDER-OR-HUB-ID"

# Workers by cores and memory (tests/conftest.py); TEST_ARGS='-n 0 tests/engines' runs what it names in one process.
test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -n auto --dist worksteal $(TEST_ARGS)

# Apart from .venv, so that triton is in nobody else's way; the stamp's name has the version.
build/triton/.installed-$(TRITON): | $(VENV)/.installed-dev
	rm -rf build/triton
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --target build/triton $(TRITON)
	@touch $@

test-kernels: build/triton/.installed-$(TRITON)
	PYTHONPATH="$(CURDIR)/build/triton" $(BIN)/python -m pytest -n auto --dist worksteal $(TEST_ARGS) \
		$$(grep -l triton_interpreter tests/engines/test_*.py)

check: $(VENV)/.installed-dev
	$(BIN)/ruff format --check $(PACKAGES)
	$(BIN)/ruff check $(PACKAGES)
	$(BIN)/mypy
	$(BIN)/lint-imports

$(VENV)/.installed-docs: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[all,docs]'
	@touch $@

docs: $(VENV)/.installed-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet
	@echo "The site is build/site/index.html; a browser opens it as a file."

format: $(VENV)/.installed-dev
	$(BIN)/ruff format $(PACKAGES)
	$(BIN)/ruff check --fix $(PACKAGES)

# The versions of the environment at hand become the tested set.
constraints: $(VENV)/.installed-dev
	{ sed -n '/^#/p' constraints.txt; $(BIN)/python -m pip freeze --exclude-editable | sed 's/+cpu//'; } > .constraints
	mv .constraints constraints.txt

clean:
	rm -rf $(VENV) demo-output build dist src/*.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
