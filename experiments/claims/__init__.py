"""The papers' claims, one module each: `measure(scale, tick)` and `draw(result)`."""
