"""How `evaluate.py` scores samples in Inception's features, where it has the weights."""

import re

import jax
import numpy as np

from jaxgan import data
from jaxgan.commands import withheld
from jaxgan.commands.scorer import to_json
from jaxgan.data import Dataset
from jaxgan.metrics import inception_scores, inception_weights
from jaxgan.metrics.inception import FEATURES, Inception
from jaxgan.metrics.inception_scores import KEPT

SPLITS = ("held-out", "train")
MANY = 10_000  # of fewer samples FID's bias is worth a note


def find_network(asked: str | None, dataset: Dataset, n: int) -> tuple[Inception | None, list[str]]:
    """Inception with its weights, or None; and notes for the user.

    Args:
      asked: a file of weights, "fetch", or "none"; by default those that were fetched before, for
        images and numbers of them that FID is for.
      dataset: the data.
      n: how many samples are scored.

    Raises:
      ValueError: if Inception is asked for and cannot look at the data, or has no weights.
    """
    shape = dataset.train.shape[1:]
    visible = len(shape) == 3 and shape[2] in (1, 3)
    if asked == "none":
        return None, []
    if asked is None:
        if not visible or min(n, len(dataset.test)) <= FEATURES:
            return None, []
        if not inception_weights.place().exists():
            return None, [
                "no fid, kid, mind and manifold_inception: the weights of Inception are not on "
                "this machine. --inception=fetch fetches them once, 91 MB; --inception=FILE reads "
                "those in a file; --inception=none leaves this note out"
            ]
        return inception_weights.load(), []
    if not visible:
        raise ValueError(
            f"--inception={asked}: Inception looks at grey and colour images, and {dataset.name} "
            f"has examples of shape {shape}. Leave it out."
        )
    fetch = asked == "fetch"
    return inception_weights.fetch() if fetch else inception_weights.load(asked), []


class InceptionScorer:
    """Scores n samples in Inception's features.

    Args:
      network: Inception.
      dataset: the data.
      chosen: the training examples in the floor, `[n]`.
      key: of MIND's directions.
      split: "held-out" or "train", the reference. The other one makes the floor.

    Attributes:
      floor: what real images score in the samples' place.
      withheld: scores that there are too few images for, each with a line that says so.
      notes: on what the numbers are.
    """

    def __init__(
        self, network: Inception, dataset: Dataset, chosen: np.ndarray, key: jax.Array, split: str
    ):
        self._network, self._key = network, key
        n, name = len(chosen), re.sub(r"[^\w.-]", "-", dataset.name)
        name = f"{name}-{data.fingerprint(dataset)}"
        against_train = split == "train"
        reference, others = dataset.test, n
        if against_train:
            reference, others = dataset.train, min(n, len(dataset.test))
        counts = n, len(reference)
        # The floor too needs as many images as the scores do.
        self.withheld = withheld.too_few_for_inception(*counts, others, FEATURES)
        self.notes = list(self.withheld.values())
        if "fid" not in self.withheld and n < MANY:
            self.notes.append(
                f"fid of {n:,} samples is too high, as its floor is: compare it with values of as "
                "many samples, against as many images, and no others"
            )
        self._reference: inception_scores.Seen | None = None
        self.floor = dict.fromkeys(self.withheld)
        if "kid" in self.withheld:
            return
        self._reference = inception_scores.look_once(network, reference, f"{name}-{split}")
        floor = dataset.test[:n] if against_train else dataset.train[np.sort(chosen)]
        which = split if against_train else inception_scores.digest(chosen)
        self.floor = self._compare(
            inception_scores.look_once(network, floor, f"{name}-floor-{len(floor)}-{which}"),
            self._reference,
        )
        everything = "training" if against_train else "held-out"
        real = f"{len(floor):,} held-out examples" if against_train else f"{n:,} training examples"
        few = f"{min(n, KEPT):,} samples against {min(counts[1], KEPT):,}"
        self._about = {
            "weights": network.sha256,
            "reference": f"all {counts[1]:,} {everything} examples",
            "floor": f"{real} in the samples' place",
            "images": "rounded to 256 steps, grey ones as three equal channels, resized to 299x299 "
            "as by TensorFlow 1 (bilinear, corners not aligned, not smoothed)",
            "fid": f"{n:,} samples against {counts[1]:,}",
            "kid": f"{few}, in {inception_scores.BLOCKS} blocks",
            "mind": f"{few}, 3·2048·SW₂² over 1,000 directions",
            "manifold_inception": f"{few}, {inception_scores.NEIGHBOURS} neighbours",
        }

    def __call__(self, x: np.ndarray) -> dict:
        """The scores of samples, by name."""
        if self._reference is None:
            return dict.fromkeys(self.withheld)
        seen = inception_scores.look(self._network, x, "Inception on samples")
        return self._compare(seen, self._reference)

    def protocol(self) -> dict:
        """How samples are scored."""
        return {} if self._reference is None else {"inception": self._about}

    def _compare(self, seen, reference):
        found = inception_scores.compare(seen, reference, self._key)
        scores = found._asdict()
        scores["manifold_inception"] = scores.pop("manifold")
        return {name: None if name in self.withheld else to_json(s) for name, s in scores.items()}
