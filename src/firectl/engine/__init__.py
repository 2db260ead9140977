"""What one replica runs: an HTTP server that speaks vLLM's protocol."""
