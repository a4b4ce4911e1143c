"""Use cases, one module each: what a verb does, between the command line and the stages."""
