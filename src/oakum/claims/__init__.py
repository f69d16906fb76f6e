"""The published claims of each system, as code that measures them."""
