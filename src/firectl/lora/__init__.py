"""LoRA adapters: read them, check that they fit their base, merge them. Imports no server and no command line."""
