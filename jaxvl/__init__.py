"""Vision-language training in JAX: text-driven soft masks and adaptive hard negatives."""
