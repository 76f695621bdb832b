PYTHON ?= python3
DOCKER ?= docker
IMAGE ?= modelyard
BIN := .venv/bin
UV_VERSION := 0.13.9
export UV_PYTHON_DOWNLOADS := never

.DEFAULT_GOAL := help
.PHONY: help run test format lint imports hosts check bench chaos fuzz build image-run image-check lock clean

help: ## Show what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: .venv/.runtime ## Start the service; settings go along: make run PORT=9000
	@exec $(BIN)/python -m entrypoints.cli serve

test: .venv/.dev ## Run every test; make test ARGS="-k alias" runs some
	@$(BIN)/python -m pytest -n auto --dist loadgroup $(ARGS)

format: .venv/.dev ## Format the code and repair what can be repaired
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

lint: .venv/.dev imports hosts ## Run the linters and the type checker
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/hadolint Dockerfile

imports: .venv/.dev ## Check which package may import which
	@$(BIN)/lint-imports --no-logo

# Nobody's package registry, and no path of anybody's machine, belongs in a file.
hosts:
	@git grep --untracked -nIE 'py[p]i\.org|python[h]osted\.org|npm[j]s\.(com|org)|deb[.]debian|/(opt/(pypi|wheels)|[r]oot/[a-z.]|[w]ork/[a-z.])'; test $$? = 1

check: lint test ## Everything that CI does

bench: .venv/.dev ## Measure the service; takes a while
	@$(BIN)/python -m benchmarks $(ARGS)

chaos: .venv/.dev ## Publish while one server after another fails, and look at what came of it
	@$(BIN)/python -m benchmarks.chaos $(ARGS)

fuzz: .venv/.dev ## Have broken model files checked; make fuzz ARGS="--count 20000 --seed 1"
	@$(BIN)/python -m tests.support.mutations $(ARGS)

build: ## Build the image; without a Docker daemon it says so and goes on
	@if $(DOCKER) info >/dev/null 2>&1; then $(DOCKER) build --tag $(IMAGE) .; \
	else echo "No Docker daemon here, so no image is built; the other targets do without."; fi

image-run: ## Run the image; its data stay in the volume modelyard-data
	$(DOCKER) run --rm --read-only --tmpfs /tmp --volume modelyard-data:/data \
		--publish 127.0.0.1:$(or $(PORT),8000):8000 $(IMAGE)

image-check: ## Build and reach the image without Docker (Debian, as root, 5 minutes)
	@scripts/image_check.sh

lock: .venv/.dev ## Pin the dependencies anew; make lock ARGS=--upgrade takes the newest
	$(call pin,dev,requirements-dev.lock)
	$(call pin,build,requirements.lock --constraints requirements-dev.lock)

clean: ## Remove all that make and its tools made, but not data/
	rm -rf .venv .hypothesis build dist .*_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "Modelyard needs Python 3.11 or newer; '$(PYTHON)' is missing or older. Name another: make run PYTHON=python3.13" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "'$(PYTHON)' cannot make virtual environments. On Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	@$(PYTHON) -m venv .venv || { rm -rf .venv; exit 1; }

.venv/.runtime: requirements.lock pyproject.toml | .venv/bin/python
	$(call install,requirements.lock)

.venv/.dev: requirements-dev.lock pyproject.toml | .venv/bin/python
	$(call install,requirements-dev.lock)

# uv when it can be had, else pip: the same pins and hashes either way.
define install
	@echo "Installing $(1) into .venv"
	@test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet uv==$(UV_VERSION) || true
	@for install in "$(BIN)/uv pip install --python $(BIN)/python" "$(BIN)/python -m pip install"; do \
		$$install --quiet --require-hashes --requirement $(1) && \
		$$install --quiet --no-deps --no-build-isolation --editable . && exec touch $@; \
	done; exit 1
endef

define pin
	@$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header \
		$(ARGS) --group $(1) --output-file $(2) pyproject.toml
endef
