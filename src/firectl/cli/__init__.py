"""The command line of firectl: parse arguments, run commands, show results. Calls the API only with firectl.client."""
