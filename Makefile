# `make help` lists the targets.
SHELL := /bin/bash
.DEFAULT_GOAL := help

.PHONY: help deps demo test lint fmt images charts golden bench bench-kernels kube cluster-up cluster-down e2e

help: ## This list.
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

deps: ## Install what the build needs (a C compiler, curl, Rust's components).
	@scripts/install-deps

demo: deps ## A cluster, the operator by helm, a service, and pictures through it in demo/ (CLUSTER=kind|current for another cluster).
	@scripts/demo

test: deps lint kube charts ## Run every test.
	@echo "== test: cargo test, the whole workspace"
	@cargo test --workspace --locked
	@scripts/e2e

lint: deps ## Formatting and clippy, warnings are errors.
	@echo "== lint: cargo fmt, cargo clippy"
	@cargo fmt --all --check
	@cargo clippy --workspace --all-targets --locked --quiet -- -D warnings

fmt: ## Format the code.
	@cargo fmt --all

images: deps ## Build the container images into the cache, with docker, podman or buildah.
	@scripts/images

charts: ## Lint the helm charts and check what they render.
	@scripts/charts-test

golden: ## Make the golden values again with diffusers and torch (6 GB the first time), and say what changed.
	@OMP_NUM_THREADS=1 "$$(scripts/oracle)" inference-server/golden/run.py

bench: deps ## Time Stable Diffusion's shape beside torch, OpenVINO, stable-diffusion.cpp and candle, and write docs/performance.md (hours).
	@scripts/bench

bench-kernels: deps ## Time every kernel beside the machine's peak (KERNELS='bf16.*attention' for some); scripts/kernel-table has the figures.
	@cargo bench --locked --quiet -p diffusion-kernels -- '$(KERNELS)'

kube: ## Build the Kubernetes programs that tests and the local cluster need, from their Go modules, into the cache.
	@scripts/install-cluster-deps
	@e2e/cluster/build

cluster-up: ## Start a Kubernetes cluster for tests (NODES=1, CLUSTER=local|kind|current); see docs/cluster.md.
	@scripts/cluster-up

e2e: deps ## Prove it all on a real cluster with two nodes (10 minutes when images and cluster are built; KEEP=1 leaves it running).
	@scripts/e2e $(SCENARIOS)

cluster-down: ## End it, and leave nothing behind.
	@scripts/cluster-down
