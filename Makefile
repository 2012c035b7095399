# Thin targets over the `clicklab` command. `make help` lists them.
PYTHON  ?= python3
VENV    ?= .venv
BIN     := $(VENV)/bin
DEVICES ?= 1
VARIANT ?=
ARGS    ?=
export NO_ALBUMENTATIONS_UPDATE := 1

empty   :=
space   := $(empty) $(empty)
METHODS := $(filter-out _base,$(notdir $(patsubst %/,%,$(wildcard experiments/*/))))

.PHONY: help setup demo annotate test lint lint-page docs bench
.DEFAULT_GOAL := help

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z%-]+:.*## / {printf "  make %-20s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo "  methods: $(METHODS)"

# without their dependencies: lvis would put the GUI build of OpenCV over the headless one (see pyproject.toml), label-studio-sdk
# an older OpenCV; of it a test reads the one file that decodes brush masks
$(VENV)/.installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "ClickLab needs Python 3.11 or newer; $(PYTHON) is older. Try: make setup PYTHON=python3.11"; exit 2; }
	@test -d $(VENV) || $(PYTHON) -m venv $(VENV_ARGS) $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps 'lvis==0.5.3' 'label-studio-sdk==2.1.2'
	@touch $@

setup: $(VENV)/.installed  ## make .venv with everything (VENV_ARGS=--system-site-packages keeps a machine's own torch)

demo: setup  ## train a small network on generated shapes, measure it, draw it: runs/demo/
	$(BIN)/clicklab demo --output runs/demo $(ARGS)

annotate: setup  ## click on a few free photos in the browser: runs/annotate/
	$(BIN)/clicklab annotate --try runs/annotate $(ARGS)

test: setup  ## all tests (real images in ../shared/data are used where present)
	$(BIN)/python -m pytest -n auto $(ARGS)

lint: setup  ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/ty check src data_modules

# npm comes with Node.js; the page itself needs neither
lint-page:  ## types of the page's scripts (needs npm)
	@test -x build/node/node_modules/.bin/tsc || npm install --silent --no-audit --no-fund --prefix build/node typescript@5.9.3
	build/node/node_modules/.bin/tsc -p tests/annotate/tsconfig.json

train-%: setup  ## train a method: make train-simpleclick VARIANT="sbd large ddp" DEVICES=8 DATA_ROOT=...
	@$(call known,$*,config.yaml)
	@for f in $(VARIANT); do test -f experiments/_base/$$f.yaml || $(call known,$*,$$f.yaml); done
	$(BIN)/clicklab fit --config experiments/_base/trainer.yaml --config experiments/$*/config.yaml \
	  $(addprefix --config ,$(call overlays,$*)) --trainer.devices=$(DEVICES) \
	  --trainer.default_root_dir=runs/$(subst $(space),-,$(strip $* $(VARIANT))) $(ARGS)

smoke-%: setup  ## two training steps and a short evaluation on generated data
	@$(call known,$*,smoke.yaml)
	$(BIN)/clicklab fit --config experiments/_base/trainer.yaml --config experiments/$*/config.yaml --config experiments/$*/smoke.yaml \
	  --trainer.default_root_dir=runs/smoke-$* $(ARGS)

eval-%: setup  ## measure a checkpoint: make eval-simpleclick CHECKPOINT=... DATA="GrabCut=... Berkeley=..."
	@$(call known,$*,config.yaml)
	@test -n "$(CHECKPOINT)" -a -n "$(DATA)" || { echo 'usage: make eval-$* CHECKPOINT=file DATA="NAME=FOLDER ..."'; exit 2; }
	$(BIN)/clicklab evaluate $(CHECKPOINT) $(foreach d,$(DATA),--data $(d)) --output runs/eval-$* $(ARGS)

sweep-%: setup  ## register the method's sweep with W&B (VARIANT="tiny"); without a login: how to run it here
	@$(call known,$*,sweep.yaml)
	@mkdir -p runs && $(BIN)/clicklab sweep experiments/$*/sweep.yaml $(if $(VARIANT),--variant $(VARIANT)) --wandb-file > runs/sweep-$*.yaml
	@if test -n "$$WANDB_API_KEY" || grep -qs wandb $$HOME/.netrc; then $(BIN)/wandb sweep runs/sweep-$*.yaml; \
	  else echo "not logged in to W&B. Here, without an account: clicklab sweep experiments/$*/sweep.yaml $(if $(VARIANT),--variant $(VARIANT))"; \
	  echo "With one: wandb login, then the same again"; fi

docs: setup  ## the API reference, made from docstrings: build/docs/index.html
	$(BIN)/python docs/reference.py build/docs

bench: setup  ## speed, as ratios measured in one run
	for b in benchmarks/*.py; do $(BIN)/python $$b || exit 1; done

.DEFAULT:
	@echo "no target '$@'. Known ones:"; $(MAKE) --no-print-directory help; exit 2

# $(1) method: what VARIANT names, the method's own overlays first, then those that serve all methods
overlays = $(foreach v,$(VARIANT),$(wildcard experiments/$(1)/$(v).yaml)) \
  $(foreach v,$(VARIANT),$(if $(wildcard experiments/$(1)/$(v).yaml),,experiments/_base/$(v).yaml))

# $(1) method, $(2) file: says what exists when something does not
define known
{ test -f experiments/$(1)/$(2) || { echo "no experiments/$(1)/$(2). Methods: $(METHODS)."; \
  test ! -d experiments/$(1) || echo "experiments/$(1) has: $$(cd experiments/$(1) && ls *.yaml | tr '\n' ' ')"; \
  echo "for every method: $$(cd experiments/_base && ls *.yaml | tr '\n' ' ')"; exit 2; }; }
endef
