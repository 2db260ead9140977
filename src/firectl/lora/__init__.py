"""What a LoRA adapter is: read it, check that it fits its base, merge it. Knows no server and no command line."""
