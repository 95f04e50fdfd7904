# Two commands do everything on a fresh machine: `make demo` and `make test`.
SHELL := /bin/bash
PY ?= python3
BIN := .venv/bin
GPU_PINS := --generate-hashes --no-emit-index-url --no-annotate --upgrade -q
PINS := $(GPU_PINS) --python-version 3.11
export YOLO_OFFLINE ?= true
export YOLO_AUTOINSTALL ?= false

.PHONY: demo test instructions audit install install-dev install-training lint check clean constraints schema

demo: install ## two cameras -> RTSP -> edge -> cases in the console; SOURCE=rtsp://... or a file shows your own camera
	@exec $(BIN)/curbwatch demo $(if $(SOURCE),--source '$(SOURCE)')

install:
	@scripts/install base

install-dev: install
	@scripts/install dev

install-training: install-dev
	@scripts/install training

test: install-training
	@scripts/install system
	@$(MAKE) --no-print-directory lint
	@scripts/audit known || [ $$? = 3 ] # a known vulnerability fails; a service that cannot be asked does not
	$(BIN)/pytest -q -n 2 --dist loadfile $(ARGS)

lint: install-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check -q .
	$(BIN)/lint-imports
	$(BIN)/mypy

instructions: install-dev ## instructions of the hot loops against their budget (valgrind); ARGS=--write makes these the budget
	@scripts/install system
	$(BIN)/curbwatch bench instructions $(ARGS)

audit: install-dev ## secrets in the tree, pins, known vulnerabilities (the last needs the internet)
	@scripts/audit

constraints: ## write requirements/*.txt anew: exact versions with hashes, no registry addresses
	$(BIN)/uv pip compile pyproject.toml --extra edge --extra api $(PINS) -o requirements/base.txt
	$(BIN)/uv pip compile pyproject.toml --extra edge --extra api --extra dev -c requirements/base.txt $(PINS) -o requirements/dev.txt
	scripts/compile-training
	$(BIN)/uv pip compile pyproject.toml --extra edge -c requirements/base.txt $(PINS) -o requirements/image-edge-cpu.txt
	$(BIN)/uv pip compile pyproject.toml --extra api -c requirements/base.txt $(PINS) -o requirements/image-api.txt
	echo onnxruntime-gpu | $(BIN)/uv pip compile - pyproject.toml --extra edge --override requirements/no-cpu-runtime.txt --python-version 3.12 $(GPU_PINS) -o requirements/image-edge-cuda.txt
	$(BIN)/uv pip compile pyproject.toml --extra edge --override requirements/no-cpu-runtime.txt -c requirements/base.txt $(PINS) -o requirements/image-edge-jetson.txt

schema:
	$(BIN)/curbwatch schema docs/schema
	$(BIN)/curbwatch models schema > docs/schema/bundle.json

clean:
	rm -rf var build .mypy_cache .ruff_cache .pytest_cache
