# Everything a new user types. Each target installs what it needs into .venv first, and nothing when that is up to date.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# The index from which pip installs torch; empty is pip's own. See README.md, "Installation", to choose a build.
TORCH_INDEX ?=

# The parts that `make gpu` measures.
PART ?= A B C D
# Optional dependencies beyond those of a sweep; with "dev,triton" the GPU's kernels are tested without one, too.
EXTRAS ?= dev

.PHONY: quickstart test lint format docs coverage gpu install clean

quickstart: $(VENV)/.sweep-installed ## run the embedded study, write and name the report
	$(BIN)/python -m sweep.run
	$(BIN)/python -m analysis.report results/quickstart -o report.html

test: install ## run the quick tests, which need neither a GPU nor the network
	$(BIN)/python -m pytest -n 2 --dist loadfile

lint: install ## style and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

docs: install ## the pages of docs/ and the API reference, into docs/_build; a warning is an error
	rm -rf docs/api
	$(BIN)/python -m sphinx -b html -q -W --keep-going docs docs/_build

coverage: install ## lines and branches that the unit tests run, in child processes, too
	$(BIN)/python -m coverage erase
	$(BIN)/python -m coverage run -m pytest tests/unit
	$(BIN)/python -m coverage combine -q
	$(BIN)/python -m coverage report

gpu: install ## measure all that runs on a GPU; with GPU="--device cpu --tiny", rehearse it without one
	$(BIN)/python -m benchmarks.gpu $(addprefix --part ,$(PART)) $(GPU)

format: install
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

install: $(VENV)/.installed ## everything that a contributor needs

# torch comes first and by itself: with it in place, no other package's open range fetches another build.
$(VENV)/.sweep-installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) -r constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[sweep]'
	@touch $@

$(VENV)/.installed: $(VENV)/.sweep-installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[$(EXTRAS)]'
	@touch $@

clean:
	rm -rf $(VENV) build dist docs/_build docs/api htmlcov .coverage* *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
