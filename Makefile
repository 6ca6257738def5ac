# The commands that the README prints and .ci/run calls.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
DEMO   := results/demo

WEB    := deepfake-app/web
# What `make app` serves: a model file or a folder of them.
MODEL  ?= models/default.onnx

.PHONY: setup demo test lint app web-test
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

# The page, built anew when one of its sources changed.
$(WEB)/node_modules/.package-lock.json: $(WEB)/package-lock.json
	cd $(WEB) && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
	touch $@

$(WEB)/dist/index.html: $(WEB)/node_modules/.package-lock.json $(WEB)/index.html $(WEB)/vite.config.ts $(shell find $(WEB)/src $(WEB)/public -type f)
	cd $(WEB) && npm run build

app: setup $(WEB)/dist/index.html
	$(BIN)/python deepfake-app/server.py --model $(MODEL)

# Needs Node 20 and Chromium.
web-test: setup $(WEB)/dist/index.html
	cd $(WEB) && npm test && npm run e2e

test: setup
	$(BIN)/python -m pytest -q -n 2 --dist worksteal

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
