"""Which resources do the client and the platform exchange? One pydantic model for each, used by both sides."""
