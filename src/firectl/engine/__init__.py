"""The server that one replica runs: an HTTP server with vLLM's protocol."""
