"""The commands: a file for each noun, each command options → request → one client call → one emit."""
