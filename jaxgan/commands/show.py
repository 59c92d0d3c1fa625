"""Shows runs in a browser: `python experiments/show.py --workdir=runs/digits-wgan-0`.

Prints an address of this machine; a reload shows what has been trained since. `--export=FOLDER`
writes the page as files for any file server.
"""

import contextlib
import dataclasses
import re
from collections.abc import Sequence

from etils import epath

from jaxgan.commands import endings
from jaxgan.commands.flags import given, read
from jaxgan.commands.page_server import Server
from jaxgan.commands.page_site import MADE_BY, Site
from jaxgan.training import json_files
from jaxgan.training.pictures import saved_samples


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Show runs in a browser: curves, pictures, scores, settings, and new samples."""

    workdir: str
    """The run's folder, or one that holds runs. Several: repeat the flag, or name them after it."""
    port: int = 0
    """Of the address on this machine; 0: a free one."""
    export: str | None = None
    """Write the page into this folder, index.html and all it needs, and serve nothing."""


@endings.ends_in_a_line("show.py")
def main(arguments: list[str]) -> int:
    """Runs the command line; returns 0, or 2 for bad input. Ctrl-C is how a served page ends."""
    folders, rest = split_folders(arguments)
    named = [f"--workdir={folders[0]}"] if folders else []
    options = read(Arguments, named + rest, "show.py")
    if not 0 <= options.port < 2**16:
        raise ValueError(f"--port must be from 0 to {2**16 - 1}; got {options.port}.")
    if options.export is None:
        serve(folders, options.port)
    elif "port" in given(Arguments, rest):
        raise ValueError("--port has no effect with --export: leave it out.")
    else:
        write(Site(folders, live=False), epath.Path(options.export).expanduser())
    return 0


def split_folders(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """The folders that follow each --workdir, and the other words.

    A value that is no folder may be a list, with commas or spaces between them.
    """
    folders: list[str] = []
    rest: list[str] = []
    in_list = False
    for word in arguments:
        name, equals, value = word.partition("=")
        if name == "--workdir":
            in_list = True
            folders += _split(value) if equals else []
        elif word.startswith("-") or not in_list:
            in_list = False
            rest.append(word)
        else:
            folders += _split(word)
    return folders, rest


def _split(value: str) -> list[str]:
    if epath.Path(value).expanduser().exists():
        return [value]
    return value.replace(",", " ").split() or [value]


def serve(folders: Sequence[str], port: int) -> None:
    """Serves the page until Ctrl-C."""
    site = Site(folders, live=True)
    with Server(site, port) as server:
        print(f"{_count(site)}: {server.address} (Ctrl-C ends)", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print()


def write(site: Site, folder: epath.Path) -> None:
    """Writes the page's files, and says how to look at them.

    Raises:
      ValueError: if the folder holds something else than such a page.
    """
    before = earlier(folder)
    size = 0
    for name in site.names():
        content, path = site.read(name), folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        size += len(content)
        before.discard(path)
    for path in before:  # of runs that the page no longer shows, or shows without a generator
        if path.is_file():
            path.unlink()
    print(f"{_count(site)}, {size / 1e6:.1f} MB: {folder / 'index.html'}")
    print(
        f"To look at it: python -m http.server --bind 127.0.0.1 --directory {folder} 8000\n"
        "and open http://127.0.0.1:8000/ (browsers do not run it from file://)"
    )


def earlier(folder: epath.Path) -> set[epath.Path]:
    """The files that an earlier page has written of its runs in a folder, there or not.

    Raises:
      ValueError: if the folder holds something else than such a page.
    """
    page = {}
    with contextlib.suppress(ValueError):  # there is none, or it is damaged
        page = json_files.read(folder / "data" / "page.json")
    if page.get("made_by") != MADE_BY:
        if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
            raise ValueError(
                f"{folder} holds other files: give --export a new or an empty folder, or that of "
                "an earlier page."
            )
        return set()
    ids = [run["id"] for run in page["runs"]]
    found = set()
    for place in (folder / "data" / id for id in ids if re.fullmatch(r"[\w-]+", id)):
        found |= {place / name for name in ("run.json", "generator.json", "generator.onnx")}
        found |= {path for _, path in saved_samples(place)}
    return found


def _count(site: Site) -> str:
    return f"{len(site.places)} run{'s' * (len(site.places) > 1)}"
