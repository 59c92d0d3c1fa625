"""The notebooks of the documents run from the top in a kernel of their own, without a warning."""

import pathlib

import pytest

ROOT = pathlib.Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.md"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_and_draws(path, tmp_path, monkeypatch):
    nbclient = pytest.importorskip("nbclient")
    read = pytest.importorskip("myst_nb.core.read").read_myst_markdown_notebook
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    notebook = read(path.read_text())
    client = nbclient.NotebookClient(
        notebook,
        timeout=600,
        kernel_name=notebook.metadata.kernelspec.name,
        resources={"metadata": {"path": str(tmp_path)}},
    )
    client.execute()  # raises on a cell's error
    outputs = [o for cell in notebook.cells for o in cell.get("outputs", ())]
    said = "".join(o.text for o in outputs if o.get("name") == "stderr")
    assert "warning" not in said.lower(), said
    assert sum("image/png" in o.get("data", {}) for o in outputs) >= 2
    assert any(o.get("name") == "stdout" for o in outputs)
    assert {each.name for each in tmp_path.iterdir()} <= {"runs"}
