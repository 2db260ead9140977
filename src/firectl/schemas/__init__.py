"""The wire, spelled once for both sides: pydantic models of every resource the client and the platform exchange."""
