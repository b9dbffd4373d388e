"""Benchmarks: `python -m bench` prints what docs/performance.md holds. Every row is a ratio measured inside one run."""
