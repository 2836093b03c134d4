"""Tables: which cells, and how they are written in each format."""
