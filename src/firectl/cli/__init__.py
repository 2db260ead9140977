"""The command line: what people type, and how they are answered. Speaks to the API through firectl.client alone."""
