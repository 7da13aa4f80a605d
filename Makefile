PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
unexport PYTHONDONTWRITEBYTECODE  # tests start processes, which need not all compile the same modules

.PHONY: help demo test test-quick test-long faults survival benchmark docs figures lint clean

help:
	@echo "make demo       train a Branching network on digits and draw its neighbours, into runs/demo: four minutes"
	@echo "make test       run lint, type checks, import checks and the tests: eight minutes on two cores"
	@echo "make test-quick run one case of each fast test: a minute"
	@echo "make test-long  run the sweeps, such as one step of every network with every layer and setting: half an hour"
	@echo "make faults     kill, signal, damage and starve some hundred runs: half an hour"
	@echo "make survival   put our layers into every network of torchvision and 41 of timm: half an hour"
	@echo "make benchmark  measure every figure of docs/benchmarks: 45 minutes on a quiet machine"
	@echo "make docs       build the documentation, into site/index.html"
	@echo "make figures    redraw the figures of the documentation and rerun its tutorial"
	@echo "make clean      remove the environment, the demo and the site"

$(VENV)/.installed: pyproject.toml CMakeLists.txt $(wildcard src/convnn/backends/cpu/core/*)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev,tensorboard]'
	@touch $@

demo: $(VENV)/.installed
	$(BIN)/convnn train --dataset digits --model resnet18 --width 0.125 --layer Branching --branch_ratio 0.25 \
		--K 5 --padding 0 --metric euclidean --similarity_type Loc_Col --aggregation_type Loc_Col \
		--num_epochs 12 --batch_size 16 --lr 4e-3 --scheduler cosine --output_dir runs/demo --overwrite
	$(BIN)/convnn neighbors runs/demo/best.safetensors --index 1 7 42 --out runs/demo --overwrite
	@echo "look at runs/demo/curves.png and runs/demo/neighbors_digits_*.png, and open neighbors_digits_*.html beside them"

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: lint
	$(BIN)/pytest -n auto --dist loadgroup

test-quick: $(VENV)/.installed
	$(BIN)/pytest --quick

test-long: $(VENV)/.installed
	$(BIN)/pytest -m long -n auto --dist loadgroup

faults: $(VENV)/.installed
	PYTHONPATH=tests $(BIN)/python -m faults

survival: $(VENV)/.installed
	PYTHONPATH=tests $(BIN)/python -m survival

benchmark: $(VENV)/.installed
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[benchmark]'
	$(BIN)/python -m benchmarks

docs: $(VENV)/.installed
	PYTHONPATH=docs $(BIN)/zensical build --clean --strict

figures: $(VENV)/.installed
	PYTHONPATH=docs $(BIN)/python -m figures docs/images/steps
	PYTHONPATH=docs $(BIN)/python -m generate.notebook docs/tutorial.ipynb

clean:
	rm -rf $(VENV) runs/demo site
