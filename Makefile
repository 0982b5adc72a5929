# The one interface people use; everything behind it is scripts/ and CMake presets (build/host: programs,
# build/kernel: the kernel, build/asan: tests). `make help` lists the targets. Progress goes to stderr, so
# that `echo 'uname -a' | make -s run` prints only what the program prints.

.DEFAULT_GOAL := help
.PHONY: help run test unit fuzz-short kernel-test boot-test bench lint sim soak image dist clean

help: ## this list
	@sed -nE 's/^([a-z-]+):.*## (.*)/  make \1\t\2/p' Makefile | expand -t 20

run: ## build, boot a cluster and open a shell in it (or run what comes on stdin)
	@scripts/run

test: ## set up, build, and run every test: lint, unit, fuzz, kernel, boot
	@scripts/test all

unit: ## unit tests only (ASan + UBSan)
	@scripts/test unit

fuzz-short: ## every fuzz target: its kept corpus, then a few seconds of new input
	@scripts/test fuzz

kernel-test: ## in-kernel tests (QEMU, PVH start)
	@scripts/test kernel

boot-test: ## tests that drive tess on a booted cluster
	@scripts/test boot

sim: ## whole clusters in one thread, from seeds: make sim SEEDS=N or SEEDS=A..B (default 100)
	@SIM_SEEDS=$(SEEDS) scripts/test sim

soak: ## hours: every header alone, clang-tidy over everything, ten minutes for each fuzz target
	@scripts/soak

bench: ## benchmarks: a table, and JSON in build/bench.json
	@scripts/bench

lint: ## formatting, layers, headers, bans
	@scripts/setup test
	@scripts/build run
	@scripts/build test
	@scripts/lint

image: ## the programs, the bootable disk image and the default root; no boot
	@scripts/build run

dist: ## build/tessera.tar.xz: tess and images, for machines with only QEMU
	@scripts/dist

clean: ## remove build/ (stop clusters first: tess down)
	@rm -rf build
