"""What `daskflow perf` measures: standard workloads, on the user's own executors."""
