"""What is measured, and against what: `python -m benchmarks` (docs/explanation/performance.md)."""
