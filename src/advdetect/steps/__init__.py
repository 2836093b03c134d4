"""Steps: one command per stage, which reads files, calls the package and writes files."""
