# The commands that the README prints and .ci/run calls.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
DEMO   := results/demo

.PHONY: setup demo test lint
setup: $(VENV)/installed

# `installed` is touched last: an installation that was interrupted is done again.
$(VENV)/installed: requirements.txt requirements-dev.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	touch $@

demo: setup
	$(BIN)/python -m tools.samples $(DEMO)/samples --per-class 1000 --size 64
	$(BIN)/python train.py --data $(DEMO)/samples --arch tiny --epochs 24 --lr 1e-3 --out $(DEMO)/tiny --overwrite
	$(BIN)/python eval.py --models $(DEMO)/tiny/best.safetensors --data $(DEMO)/samples --out $(DEMO)/evaluation --overwrite
	$(BIN)/python predict.py $(DEMO)/samples/Test/Real/chelsea-00[0-2].jpg $(DEMO)/samples/Test/Fake/*/chelsea-00[0-2].jpg --model $(DEMO)/tiny/best.safetensors
	@echo "This was a demonstration: the network has seen a few photos and our own manipulations of them. It is no detector."

test: setup
	$(BIN)/python -m pytest -q

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
