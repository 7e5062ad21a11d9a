# make demo: from a fresh clone to a table and figures.   make test: everything that CI checks.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# The lock that CI uses; TORCH picks another build of torch, for example: make demo TORCH='torch>=2.13'
TORCH ?= torch==2.13.0
# Test processes, a file to one of them at a time, one thread each; make test JOBS=0 runs the tests in one.
JOBS ?= 2
PYTEST = $(if $(filter-out 0,$(JOBS)),OMP_NUM_THREADS=1) $(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder

.PHONY: demo test lint unit coverage reliability mutation clean

demo: $(VENV)/.installed
	$(BIN)/python -m experiments.run +sweep=durations

test: $(VENV)/.installed-dev lint coverage

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

unit: $(VENV)/.installed-dev
	$(PYTEST)

# The same tests; fails below 95% of the lines of litefocus/ and evaluation/.
coverage: $(VENV)/.installed-dev
	$(PYTEST) --cov --cov-report=term-missing

# Faults and soak alone, their log kept, and the tables of docs/reliability.md written from it.
reliability: $(VENV)/.installed-dev
	rm -rf .cache/reliability && mkdir -p .cache/reliability results/reliability
	LITEFOCUS_FAULT_LOG=$(CURDIR)/.cache/reliability/faults.jsonl \
	LITEFOCUS_SOAK_LOG=$(CURDIR)/.cache/reliability/soak.jsonl $(BIN)/python -m pytest tests/faults --ignore=tests/faults/test_table.py
	mv .cache/reliability/*.jsonl results/reliability/
	$(BIN)/python -m tests.faults.table docs/reliability.md

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; set PYTHON=")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/pip install -q '$(TORCH)'
	$(BIN)/pip install -q -c constraints.txt -e '.[harness]'
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/pip install -q -c constraints.txt -e '.[dev,wandb,docs,app,dataset,devices]'
	touch $@

# A real SLURM on this machine (Debian, root): a sharded run on a one-node cluster, preempted and killed, against a plain run.
.PHONY: test-slurm
test-slurm: $(VENV)/.installed-dev $(VENV)/.installed-slurm
	tests/slurm/install.sh
	timeout 900 $(BIN)/python -m pytest tests/slurm

# One CUDA device, under ten minutes: the check, and the published architecture to 320 s in two precisions. Records land
# in results/gpu_*. A CUDA build of torch first: make demo TORCH='torch>=2.13'
.PHONY: gpu
gpu: $(VENV)/.installed
	$(BIN)/python -m experiments.benchmark.gpu

# One thread: a mutant is a forked process, which a pool of threads would not survive.
mutation: $(VENV)/.installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python tests/mutation/mutate.py

# The documentation site in site/. First what its pages show and git does not hold: the notebooks with their outputs and
# clips to listen to, made by the commands that the pages name. A second time only the site is built: rm -rf .cache/docs
.PHONY: docs
docs: $(VENV)/.installed-docs .cache/docs/.notebooks .cache/docs/samples/listen.html
	$(BIN)/mkdocs build --strict

# Every run of results/ as parquet tables with Croissant metadata.
.PHONY: dataset
dataset: $(VENV)/.installed-dataset
	$(BIN)/python -m experiments.dataset dist/dataset

# An extra of pyproject.toml by its name.
$(VENV)/.installed-%: $(VENV)/.installed
	$(BIN)/pip install -q -c constraints.txt -e '.[$*]'
	touch $@

# The library's own tests on other releases of torch, diffusers and transformers, an environment each (docs/versions.md).
.PHONY: matrix
matrix: $(BIN)/python
	$(BIN)/python tests/matrix/run.py

# Does constraints.txt still resolve, for every Python that pyproject.toml allows, and pin everything? Metadata alone.
.PHONY: lock
lock: $(BIN)/python
	$(BIN)/pip install -q 'uv>=0.13'
	$(BIN)/python tests/matrix/lock.py

.cache/docs/.notebooks: $(wildcard notebooks/*.ipynb) | $(VENV)/.installed-docs
	mkdir -p .cache/docs/notebooks && cp notebooks/*.ipynb .cache/docs/notebooks
	$(BIN)/jupyter-execute --inplace .cache/docs/notebooks/*.ipynb
	touch $@

.cache/docs/samples/listen.html: | $(VENV)/.installed-docs
	$(BIN)/python -m experiments.run +sweep=durations 'durations=[5.12,20.48]' 'stages=[generate,score,report]' out_dir=.cache/docs/samples

clean:
	rm -rf $(VENV) .venv-published runs site .cache/docs

# The real packages of published papers, in an environment of their own: laion-clap needs numpy 1, this project numpy 2.
PUBLISHED := .venv-published
.PHONY: test-published install-published
install-published: $(PUBLISHED)/.installed
# The main environment takes part: its runs are scored by packages of the other one.
test-published: install-published $(VENV)/.installed
	MAIN_PYTHON=$(CURDIR)/$(BIN)/python $(PUBLISHED)/bin/python -m pytest tests/published

$(PUBLISHED)/.installed: constraints-published.txt
	$(PYTHON) -m venv $(PUBLISHED)
	$(PUBLISHED)/bin/pip install -q -c constraints-published.txt torch torchvision torchaudio
	$(PUBLISHED)/bin/pip install -q -c constraints-published.txt laion-clap frechet-audio-distance torchvggish hear21passt audiobox-aesthetics hydra-core soxr pytest
	# It asks for transformers 4, which only its wrapper needs: evaluation/embedders/networks/ms_clap.py takes its networks.
	$(PUBLISHED)/bin/pip install -q --no-deps -c constraints-published.txt msclap
	touch $@
