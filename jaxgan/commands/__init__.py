"""The command line: settings, presets, and what `jaxgan train`, `sample` and the others do."""
