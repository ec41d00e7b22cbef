# `make test` and `make demo` set themselves up: Python 3.11 and make are all they need.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python

.PHONY: install test lint demo

install: $(VENV)/installed

$(VENV)/installed: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "jaxvl needs Python 3.11 or newer: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --disable-pip-version-check -e '.[test,torch,negatives]'
	touch $@

test: install lint
	$(RUN) -m pytest

lint: install
	$(RUN) -m ruff check .

# Renders the embedded data set, trains on it and shows what each word looks at.
demo: install
	$(RUN) -m jaxvl prepare scenes --out data/scenes --train 10000 --size 64 --seed 0
	$(RUN) -m jaxvl.main --config=configs/coco_softmask.py:demo --workdir=runs/demo
