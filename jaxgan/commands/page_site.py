"""The files of the page, each by its path: what a server sends, and what an export writes."""

import collections
import dataclasses
import importlib.resources
import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

import jaxgan
from jaxgan import data, export, plots
from jaxgan.commands import names, page_places, page_runs, page_words, settings
from jaxgan.commands.page_runs import Place
from jaxgan.plots.samples import extent
from jaxgan.training import load
from jaxgan.training.pictures import saved_samples

MOST_MODELS = 8  # that are kept: a large generator has tens of megabytes
POINTS = 1500  # of the data that are drawn under samples
MADE_BY = "jaxgan"  # in page.json, which tells such a page's folder from others


class Site:
    """The page of some runs, made anew from their folders whenever a file is asked for.

    Its files are `index.html` and what it needs; `data/page.json`, the list of runs; and for each
    run `data/ID/run.json`, `samples/step_*.png` and `generator.json` beside it, which names the
    generator's ONNX file or says why there is none.

    Args:
      folders: of runs, or folders that hold runs.
      live: whether a reload shows newer data. If not, the page may be published: no file says
        where something is on this machine.

    Raises:
      ValueError: if a folder is missing or holds no run, or there are too many runs.
    """

    def __init__(self, folders: Sequence[str], live: bool):
        self._folders, self._live = list(folders), live
        self._static = dict(_walk(importlib.resources.files("jaxgan") / "page"))
        self._models: collections.OrderedDict = collections.OrderedDict()
        self._making = threading.Lock()
        self.places = page_runs.find(self._folders)

    def names(self) -> Iterator[str]:
        """The paths of all files."""
        yield from self._static
        for place in self.places:
            yield f"data/{place.id}/run.json"
            for _, path in saved_samples(place.folder):
                yield f"data/{place.id}/samples/{path.name}"
            yield f"data/{place.id}/generator.json"
            if self._generator(place)[1]:
                yield f"data/{place.id}/generator.onnx"
        yield "data/page.json"

    def find(self, name: str) -> Callable[[], bytes] | None:
        """What reads or makes a file; None if the page has no such file.

        Raises:
          OSError: if a folder of a run cannot be read. Making a file may raise it too, or a
            ValueError where a folder is gone.
        """
        if name in self._static:
            return self._static[name].read_bytes
        if name == "data/page.json":
            return lambda: _json(self._page())
        part, _, rest = name.partition("/")
        id, _, file = rest.partition("/")
        place = next((place for place in self.places if place.id == id), None)
        if part != "data" or place is None:
            return None
        if file == "run.json":
            return lambda: _json(self._public(place, page_runs.describe(place)))
        if file == "generator.json":
            return lambda: _json(self._public(place, self._generator(place)[0]))
        if file == "generator.onnx":
            model = self._described(place)[1]
            return (lambda: model) if model else None
        pictures = {f"samples/{path.name}": path for _, path in saved_samples(place.folder)}
        return pictures[file].read_bytes if file in pictures else None

    def read(self, name: str) -> bytes:
        """What a file holds.

        Raises:
          KeyError: if the page has no such file.
          ValueError: if a folder of runs is gone.
        """
        if (make := self.find(name)) is None:
            raise KeyError(name)
        return make()

    def _public(self, place: Place, content: dict[str, Any]) -> dict[str, Any]:
        """What the page says of a run; where things are only while it is this machine's own."""
        return content if self._live else page_places.cut(content, page_places.of(place))

    def _page(self) -> dict[str, Any]:
        if self._live:
            self.places = page_runs.find(self._folders)  # there may be new ones
        return {
            "made_by": MADE_BY,
            "version": jaxgan.__version__,
            "live": self._live,
            "evaluate": names.as_typed("python experiments/evaluate.py"),
            "written": time.strftime("%Y-%m-%d %H:%M"),
            "words": page_words.tables(),
            "runs": [self._public(place, page_runs.summarise(place)) for place in self.places],
        }

    def _generator(self, place: Place) -> tuple[dict[str, Any], bytes]:
        """What the page needs to draw, and the ONNX file; or why it cannot, and nothing."""
        key = place.folder, page_runs.newest_checkpoint(place.folder)
        with self._making:
            if key in self._models:
                self._models.move_to_end(key)
                return self._models[key]
            made = make_generator(place)
            if made[1]:  # what has failed may succeed the next time
                self._models[key] = made
            while len(self._models) > MOST_MODELS:
                self._models.popitem(last=False)
            return made

    def _described(self, place: Place) -> tuple[dict[str, Any], bytes]:
        """What generator.json said last of a run: training may have gone on since."""
        with self._making:
            made = [each for (folder, _), each in self._models.items() if folder == place.folder]
        return made[-1] if made else self._generator(place)


def make_generator(place: Place) -> tuple[dict[str, Any], bytes]:
    """A run's generator for the page: what it takes and makes, and its ONNX file.

    Where there is none: a reason, and no file.
    """
    try:
        config = settings.of_run(place.folder)
        run = load(place.folder, settings.model_of_run(place.folder), warn=lambda line: None)
        shape = run.model.game.data_shape
        if not plots.can_draw(shape):
            raise ValueError(f"samples of shape {list(shape)} are neither images nor 2-D points")
        # What a file says of the run is read by whoever has the page.
        public = page_places.cut(run.settings, page_places.of(place))
        model = export.to_onnx(dataclasses.replace(run, settings=public))
        export.check_onnx(run, model)
    except (ValueError, OSError) as error:
        return {"reason": " ".join(str(error).split())}, b""
    return {
        "file": "generator.onnx",
        "bytes": len(model),
        "step": run.step,
        "latent_dim": run.model.game.generator.latent_dim,
        "num_classes": run.model.game.num_classes,
        "class_names": run.class_names,
        "shape": list(shape),
        "seed": config.seed if config.num_seeds > 1 else None,
        "data": _extent(config.dataset) if config.dataset in data.TOYS else None,
    }, model


def _extent(name: str) -> dict[str, Any]:
    """Points of a toy, its modes, and how far to draw, as the pictures of training do."""
    dataset = data.load(name)
    center, reach = extent(dataset)
    held_out = np.asarray(dataset.test[:POINTS], float)
    return {
        "points": held_out.round(4).tolist(),
        "center": center.tolist(),
        "reach": reach,
        "modes": None if dataset.modes is None else dataset.modes.tolist(),
        "sigma": dataset.sigma,
    }


def _walk(folder, prefix=""):
    """The files of the package's folder of the page, and their paths."""
    for file in folder.iterdir():
        if file.is_dir():
            yield from _walk(file, f"{prefix}{file.name}/")
        elif not file.name.endswith((".py", ".pyc")):
            yield prefix + file.name, file


def _json(content: Any) -> bytes:
    return json.dumps(content, ensure_ascii=False, allow_nan=False).encode()
