# Two commands do everything: `make demo` and `make test`. Each makes .venv first if need be.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
RUN := reports/demo
SELECT ?= -m "not slow"
PROCESSES ?= $(or $(shell nproc 2>/dev/null),auto)

.PHONY: demo test mutants bench docs serve-docs reference lint format clean

# Draws photographs, trains on them in two phases, and writes the report.
demo: $(INSTALLED)
	$(BIN)/fundus-diag demo --out $(RUN)

# The default tests, a few minutes; PROCESSES side by side, each file's tests in one of them.
# The longer ones: make test SELECT="-m slow"; all: make test SELECT=
test: $(INSTALLED)
	$(BIN)/python -m pytest -n $(PROCESSES) --dist loadfile --no-loadscope-reorder $(SELECT)

# Plants known faults, one by one, and sees that the tests named for each fail; an hour.
mutants: $(INSTALLED)
	$(BIN)/python tests/mutants.py

# The short ones of benchmarks/README.md; beside PyTorch where it is installed.
bench: $(INSTALLED)
	$(BIN)/python benchmarks/startup.py
	$(BIN)/python benchmarks/train_step.py --repeats 5
	$(BIN)/python benchmarks/lite_step.py --repeats 3
	$(BIN)/python benchmarks/predict.py --repeats 10
	$(BIN)/python benchmarks/pipeline.py
	$(BIN)/python benchmarks/pretrain_step.py

# The site of docs/ into site/; a warning or a broken link ends it. tests/docs does the same.
docs: $(INSTALLED)
	$(BIN)/zensical build --clean --strict

serve-docs: $(INSTALLED)
	$(BIN)/zensical serve

# Makes the pages of docs/reference anew that are made of code; a test fails where they lag.
reference: $(INSTALLED)
	$(BIN)/python tests/reference.py

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(INSTALLED): setup.cfg pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) build dist site .cache *.egg-info .pytest_cache .ruff_cache .hypothesis
