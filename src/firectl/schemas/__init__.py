"""Which resources do the client and the platform exchange? Both use the same pydantic models."""
