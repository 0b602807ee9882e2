"""Many runs with one question: the reproduction of a claim, and later sweeps and benchmarks."""
