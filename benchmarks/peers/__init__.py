"""The same work in other frameworks: one module per peer, imported in a child process alone."""
