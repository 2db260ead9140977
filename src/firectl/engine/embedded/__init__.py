"""The engine that comes with firectl: transformers' models, packed batches, many adapters in one forward pass."""
