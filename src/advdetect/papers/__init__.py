"""What papers report beside what came out here."""
