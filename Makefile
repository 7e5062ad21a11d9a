# make demo: from a fresh clone to a table and figures.   make test: everything that CI checks.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# The lock that CI uses; TORCH picks another build of torch, for example: make demo TORCH='torch>=2.11'
TORCH ?= torch==2.13.0

.PHONY: demo test lint unit mutation clean

demo: $(VENV)/.installed
	$(BIN)/python -m experiments.run +sweep=durations

test: $(VENV)/.installed-dev lint unit

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

unit: $(VENV)/.installed-dev
	$(BIN)/python -m pytest

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; set PYTHON=")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/pip install -q '$(TORCH)'
	$(BIN)/pip install -q -c constraints.txt -e .
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/pip install -q -c constraints.txt -e '.[dev,wandb,notebooks]'
	touch $@

# One thread: a mutant is a forked process, which a pool of threads would not survive.
mutation: $(VENV)/.installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python tests/mutation/mutate.py

clean:
	rm -rf $(VENV) .venv-published runs

# The real packages of published papers, in an environment of their own: laion-clap needs numpy 1, this project numpy 2.
PUBLISHED := .venv-published
.PHONY: test-published install-published
install-published: $(PUBLISHED)/.installed
test-published: install-published
	$(PUBLISHED)/bin/python -m pytest tests/published

$(PUBLISHED)/.installed: constraints-published.txt
	$(PYTHON) -m venv $(PUBLISHED)
	$(PUBLISHED)/bin/pip install -q -c constraints-published.txt torch torchvision torchaudio
	$(PUBLISHED)/bin/pip install -q -c constraints-published.txt laion-clap frechet-audio-distance torchvggish hydra-core soxr pytest
	touch $@
