# Each target sets up what it needs in .venv/ and does it once: the stamp files remember.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
DATA   := $(wildcard ../shared/data)
# MNIST and Fashion-MNIST for tests and benchmarks, where they are at hand; scikit-learn's digits otherwise.
export ARTCLIP_DATA ?= $(abspath $(DATA))

.PHONY: demo photos photos-full figures lint test test-quick test-frameworks wheel-test docs benchmark clean

# Five ways to train a net on digits, attacked; a table, and a report in out/demo.html.
demo: $(VENV)/.demo
	mkdir -p out
	$(BIN)/artclip compare --data digits --defences standard,weight@0.98,clip@0.98,clip@0.95,madry \
	    --nb-epochs 60 --eps 0.5 --noise 0.3 --seeds 3 --jobs -1 --html out/demo.html

# Models that others trained, on 20 photos each: a photo that looks the same is taken for something else. Two reports in
# out/, in less than 3 minutes on 2 cores.
photos: ATTACKS_torch := noise:sigma=0.1+fgsm+pgd:max_iter=20,nb_restarts=1
photos: ATTACKS_keras := noise:sigma=0.1+fgsm+pgd:max_iter=40,nb_restarts=1
photos: MORE_torch := --no-masking
# The same with more attacks, and with the search for signs of gradient masking: 20 CPU-minutes.
photos-full: ATTACKS_torch := noise:sigma=0.1+fgsm+pgd:max_iter=40,nb_restarts=1+pgd-margin:max_iter=40,nb_restarts=1+patch:max_iter=15,nb_targets=1
photos-full: ATTACKS_keras := noise:sigma=0.1+fgsm+pgd+pgd-margin+square

photos photos-full: $(VENV)/.photos
	mkdir -p out
	$(BIN)/artclip evaluate examples.photos:efficientnet_lite0 --data examples.photos:imagenet \
	    --class-names examples.photos:imagenet_names --norm inf --eps 1/255 --no-lipschitz $(MORE_torch) \
	    --attacks $(ATTACKS_torch) --html out/imagenet.html -o out/imagenet.json
	$(BIN)/artclip evaluate "$$($(BIN)/python -c 'from examples.photos import cifar10_cnn; print(cifar10_cnn())')" \
	    --data examples.photos:cifar10 --class-names examples.photos:cifar10_names --mean 0 --std 1/255 \
	    --norm inf --eps 2/255 --no-lipschitz --attacks $(ATTACKS_keras) \
	    --html out/cifar10.html -o out/cifar10.json

# The pictures of the docs: those of committed results, and those that an example makes, in five minutes.
FIGURES := pairs_1d regression_1d pairs_fashion bounds patch_and_spatial
figures: $(VENV)/.dev
	$(BIN)/python benchmarks/figures.py
	set -e; for name in $(FIGURES); do OMP_NUM_THREADS=1 $(BIN)/python examples/$$name.py -o docs/figures; done

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: lint
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder

# Tests of every room that train little.
QUICK := tests/test_layout.py tests/test_import.py tests/test_packaging.py tests/test_safety.py tests/hashing \
    tests/graph tests/models/test_loading.py tests/lipschitz/test_product.py tests/lipschitz/test_pairs.py tests/trainers/test_base.py \
    tests/trainers/test_schedule.py tests/evaluation/test_budgets.py tests/evaluation/test_plots.py tests/cli/test_main.py
test-quick: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile $(QUICK)

# The same tests where only one framework is installed; each has an environment of its own.
test-frameworks: test-only-torch test-only-tensorflow

test-only-%:
	$(MAKE) VENV=.venv-$* .venv-$*/.only-$*
	OMP_NUM_THREADS=1 .venv-$*/bin/pytest -n 2 --dist loadfile --no-loadscope-reorder

# The quick tests on the oldest versions that pyproject.toml allows, which uv finds.
test-oldest-%:
	$(MAKE) VENV=.venv-oldest-$* .venv-oldest-$*/bin/python
	.venv-oldest-$*/bin/python -m pip install --quiet --disable-pip-version-check uv
	.venv-oldest-$*/bin/uv pip install --quiet --python .venv-oldest-$*/bin/python --resolution lowest-direct -e '.[$*,test]'
	OMP_NUM_THREADS=1 .venv-oldest-$*/bin/pytest -n 2 --dist loadfile $(QUICK)

# The wheel: built, installed in a fresh environment, run there.
wheel-test: wheel-test-torch

wheel-test-%:
	$(PYTHON) tests/packaging/check_wheel.py $*

docs: $(VENV)/.docs
	OMP_NUM_THREADS=1 $(BIN)/sphinx-build -W --keep-going -b html docs docs/_build/html

benchmark: $(VENV)/.dev
	$(BIN)/python benchmarks/step_cost.py
	$(BIN)/python benchmarks/step_cost_tensorflow.py
	$(BIN)/python benchmarks/short_fits.py
	$(BIN)/python benchmarks/pairs.py
	$(BIN)/python benchmarks/residual.py
	$(BIN)/python benchmarks/defences.py
	$(BIN)/python benchmarks/both_frameworks.py
	$(BIN)/python benchmarks/bounds.py
	$(BIN)/python benchmarks/certificates.py
	$(BIN)/python benchmarks/estimators.py
	$(BIN)/python benchmarks/evaluate_speed.py
	$(BIN)/python benchmarks/masking.py
	$(BIN)/python benchmarks/tables.py
	$(BIN)/python benchmarks/figures.py

clean:
	rm -rf .venv .venv-* out docs/_build .mypy_cache .pytest_cache .ruff_cache

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# One recipe for all environments: .venv/.NAME installs the extras that NAME needs.
EXTRAS_demo := torch,report
EXTRAS_dev  := dev
EXTRAS_docs := docs
EXTRAS_models := torch,tensorflow,report
EXTRAS_only-torch      := torch,test
EXTRAS_only-tensorflow := tensorflow,test

$(VENV)/.photos: examples/requirements.txt | $(VENV)/.models
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -r examples/requirements.txt
	touch $@

$(VENV)/.%: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[$(EXTRAS_$*)]'
	touch $@
