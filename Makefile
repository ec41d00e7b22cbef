# Python 3.11 or newer and make are all this needs: each target installs what it lacks into .venv.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
PIP := $(RUN) -m pip install --quiet --disable-pip-version-check
SHELL_SCRIPTS := .ci/run $(wildcard launch/*.sh launch/generated/*.sh launch/generated/*.sbatch)
SHELL_SCRIPTS += launch/generated/tpu_vm.env

.PHONY: help demo coco test quick lint docs plan

help:
	@echo 'make demo   render images, train on them, draw what each word refers to (five minutes)'
	@echo 'make coco   download COCO and weights, train the published SoftMask on them (21 GB, GPUs)'
	@echo 'make quick  the tests without the slow ones (two minutes)'
	@echo 'make test   lint and all tests (a quarter of an hour): a change is accepted when this passes'
	@echo 'make lint   format, style, types, shell scripts, Dockerfile'
	@echo 'make docs   build the documentation into site/'
	@echo 'make plan   plan the shipped experiments on TPU slices, for docs/scaling.md (hours)'

# Renders the embedded data set, trains on it and draws what each word refers to.
demo: $(VENV)/installed
	$(RUN) -m jaxvl prepare scenes --out data/scenes --level 1 --train 10000 --size 64 --seed 0
	$(RUN) -m jaxvl train --config=coco_softmask_ahnpl:demo --workdir=runs/demo

# The published experiment from nothing: downloads COCO and two sets of weights (21 GB), then trains.
coco: $(VENV)/installed
	test -d data/coco || $(RUN) -m jaxvl fetch coco --out data/coco
	test -d data/deit-base-patch16-224 || $(RUN) -m jaxvl fetch weights deit-base-patch16-224
	test -d data/bert-base-uncased || $(RUN) -m jaxvl fetch weights bert-base-uncased
	$(RUN) -m jaxvl train --config=coco_softmask --workdir=runs/coco

test: lint
	$(RUN) -m pytest

quick: $(VENV)/installed-test
	$(RUN) -m pytest -m 'not slow'

lint: $(VENV)/installed-test
	$(RUN) -m ruff format --check .
	$(RUN) -m ruff check .
	$(RUN) -m pyright
	$(VENV)/bin/shellcheck --exclude=SC1091 $(SHELL_SCRIPTS)
	$(VENV)/bin/hadolint Dockerfile

docs: $(VENV)/installed-docs
	NO_MKDOCS_2_WARNING=1 $(RUN) -m mkdocs build --strict

# Continues where it was interrupted; the programs that are done lie in docs/plans.json.
plan: $(VENV)/installed-test
	$(RUN) docs/plans.py

# Each file below says that a set of packages is there; a change of pyproject.toml makes them anew.
$(VENV)/installed: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "jaxvl needs Python 3.11 or newer: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(VENV)
	@echo 'installing jaxvl into $(VENV): 2.7 GB on disk, mostly TensorFlow and JAX'
	$(PIP) -e .
	@touch $@

$(VENV)/installed-test: $(VENV)/installed
	@echo 'installing what the tests need into $(VENV): PyTorch (1 GB on disk, 4.5 GB with its CUDA'
	@echo 'libraries), spaCy, pyright and others'
	$(PIP) -e '.[test,torch,negatives,japanese,chinese,thai,clean,gcs,s3,plan]'
	@touch $@

$(VENV)/installed-docs: $(VENV)/installed
	@echo 'installing MkDocs into $(VENV)'
	$(PIP) -e '.[docs]'
	@touch $@
