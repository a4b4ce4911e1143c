"""Use cases, one module each, between the command line and the stages."""
