"""Published benchmarks of compositional understanding: SugarCrepe, ARO, VALSE, Winoground, ..."""
