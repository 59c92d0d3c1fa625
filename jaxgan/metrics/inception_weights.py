"""Finds the weights of `jaxgan.metrics.inception`, which are fetched once."""

import hashlib
import http.client
import os
import pathlib
import urllib.request
from collections.abc import Callable

from jaxgan import places
from jaxgan.metrics import torch_file
from jaxgan.metrics.inception import Inception, from_state_dict

# The file that torch-fidelity and pytorch-fid measure with, 91 MB, and how its sha256 begins.
URL = (
    "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/"
    "weights-inception-2015-12-05-6726825d.pth"
)
SHA256 = "6726825d"


def load(path: str | os.PathLike | None = None) -> Inception:
    """The network with the weights in a file; by default in the one that `fetch` has fetched.

    Raises:
      ValueError: if there is no such file, or it holds no weights of this network, in one line.
    """
    file = pathlib.Path(path).expanduser() if path is not None else place()
    if not file.is_file():
        raise ValueError(f"there are no weights of Inception in {file}: fetch {URL}")
    whole = file.read_bytes()
    try:
        params = from_state_dict(torch_file.parse(whole, file))
    except ValueError as error:
        raise ValueError(f"{file} holds no weights of Inception: {error}") from error
    return Inception(params, hashlib.sha256(whole).hexdigest())


def fetch(log: Callable[[str], None] = print) -> Inception:
    """The network with its usual weights, which are fetched if they are not there yet.

    Args:
      log: called with a line when they are fetched.

    Raises:
      ValueError: if they cannot be fetched, or are others, in a line that says what to do.
    """
    file = place()
    if not file.exists():
        log(f"fetching the weights of Inception, 91 MB, from {URL}")
        try:
            with urllib.request.urlopen(URL) as answer:
                content = answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise ValueError(
                f"the weights of Inception cannot be fetched ({error}). Fetch {URL} elsewhere, "
                f"and put it at {file}"
            ) from error
        found = hashlib.sha256(content).hexdigest()
        if not found.startswith(SHA256):
            raise ValueError(
                f"what {URL} gave is not the weights of Inception: its sha256 begins with "
                f"{found[:8]}, not {SHA256}"
            )
        places.write_whole(file, content)
    return load(file)


def place() -> pathlib.Path:
    """Where `fetch` keeps the weights."""
    return places.cache("inception", URL.rpartition("/")[2])
