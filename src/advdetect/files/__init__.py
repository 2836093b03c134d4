"""Files between the stages: what each holds, how it is checked, written and read."""
