"""The machine itself, as if it were a batch system: a job is all processes of a script."""
