"""The parts of benchmarks/serving.py: each starts what it measures, measures in turns, and ends it."""
