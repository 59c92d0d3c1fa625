"""Tabulates scored runs: `python experiments/results.py runs/*` prints tables in Markdown.

Each row has the command that repeats it, and scores as mean ± standard error over seeds; each table
ends with the floors, what training data score in the samples' place. `evaluate.py` comes first.
"""

from etils import epath

from jaxgan.commands import endings, names, tables


@endings.ends_in_a_line("results.py")
def main(arguments: list[str]) -> int:
    """Runs the command line; returns 0, 2 for bad input, or 130 if interrupted."""
    if {"-h", "--help"} & set(arguments):
        print(names.as_typed(__doc__.strip()))
        return 0
    if not arguments or arguments[0].startswith("-"):
        raise ValueError("give the folders of scored runs, as in results.py runs/*")
    runs: list[tables.Scored] = []
    for folder in arguments:
        try:
            run = tables.read(epath.Path(folder).expanduser())
            tables.check_comparable(run, runs)
            runs.append(run)
        except ValueError as error:
            endings.report("results.py", error)
    print("\n".join(tables.tabulate(runs)))
    return 0 if runs else endings.BAD_INPUT
