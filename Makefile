# `make demo` and `make test` build .venv/ first and need nothing else but Python 3.11 or newer and a package index.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python

# Releases of transformers that must read what is saved here, in environments of their own under .versions/.
VERSIONS := 4.56.2 4.57.6 5.17.0 5.24.0

.PHONY: help demo test test-all lint format clean

help:  ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

demo: $(VENV)/.ready  ## practice data, the first command, a k-mer BERT, scores and figures: about 4 minutes on 2 CPU cores
	@PYTHON=$(RUN) bash recipes/smoke/demo.sh

test: $(VENV)/.ready lint  ## the whole test suite: under 5 minutes on 2 CPU cores
	OMP_NUM_THREADS=1 $(RUN) -m pytest -q -n auto --maxprocesses 4 --dist loadfile --durations 10

test-all: test $(VERSIONS:%=.versions/%/.ready)  ## the suite, and saved models read by other releases of transformers
	rm -rf .versions/models
	OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 HF_HOME=.versions/home $(RUN) -m tests.support.other_versions write .versions/models
	@failed=0; for version in $(VERSIONS); do \
		OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 HF_HOME=.versions/home .versions/$$version/bin/python tests/support/other_versions.py \
			check .versions/models || failed=1; done; exit $$failed

lint: $(VENV)/.ready  ## ruff: mistakes and layout of the code
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

format: $(VENV)/.ready  ## lay the code out
	$(VENV)/bin/ruff format .

clean:  ## remove the environment, and what the demo wrote; your own runs stay
	rm -rf $(VENV) runs/demo

.versions/%/.ready: requirements.txt
	$(PYTHON) -m venv .versions/$*
	.versions/$*/bin/python -m pip install --quiet --disable-pip-version-check transformers==$* "numpy>=2.2,<3" $$(grep '^torch==' requirements.txt)
	@touch $@

$(VENV)/.ready: requirements.txt requirements-dev.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(v < (3, 11) and f"Python {v[0]}.{v[1]} found, 3.11 or newer needed: make PYTHON=/path/to/python3.11 ...")'
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --disable-pip-version-check -r requirements.txt -r requirements-dev.txt
	@touch $@
