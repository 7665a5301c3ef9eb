"""A province in a box: the truth that judgement needs. Only the CLI, tests and benchmarks import it."""
