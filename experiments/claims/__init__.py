"""The papers' claims, one module each: `measure(scale, tick, seed)` and `draw(result)`."""
