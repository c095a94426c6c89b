# Each target sets up what it needs in .venv/ and does it once: the stamp files remember.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
DATA   := $(wildcard ../shared/data)
# MNIST and Fashion-MNIST for tests and benchmarks, where they are at hand; scikit-learn's digits otherwise.
export ARTCLIP_DATA ?= $(abspath $(DATA))

.PHONY: demo test test-frameworks docs benchmark clean

demo: $(VENV)/.demo
	$(BIN)/artclip compare --data digits --defences standard,weight@0.98,clip@0.98,weight@0.95,clip@0.95 \
	    --nb-epochs 60 --eps 0.5 --noise 0.3 --seeds 3

test: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2

# The same tests where only one framework is installed; each has an environment of its own.
test-frameworks: test-only-torch test-only-tensorflow

test-only-%:
	$(MAKE) VENV=.venv-$* .venv-$*/.only-$*
	OMP_NUM_THREADS=1 .venv-$*/bin/pytest -n 2

docs: $(VENV)/.docs
	$(BIN)/sphinx-build -W --keep-going -b html docs docs/_build/html

benchmark: $(VENV)/.dev
	$(BIN)/python benchmarks/step_cost.py
	$(BIN)/python benchmarks/step_cost_tensorflow.py
	$(BIN)/python benchmarks/mnist_mlp.py
	$(BIN)/python benchmarks/both_frameworks.py
	$(BIN)/python benchmarks/bounds.py
	$(BIN)/python benchmarks/tables.py

clean:
	rm -rf .venv .venv-* docs/_build .mypy_cache .pytest_cache .ruff_cache

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# One recipe for all environments: .venv/.NAME installs the extras that NAME needs.
EXTRAS_demo := torch
EXTRAS_dev  := dev
EXTRAS_docs := docs
EXTRAS_only-torch      := torch,test
EXTRAS_only-tensorflow := tensorflow,test

$(VENV)/.%: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[$(EXTRAS_$*)]'
	touch $@
