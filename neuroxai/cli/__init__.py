"""The command line: parse, call, write. Each command lives in a module of its own."""
