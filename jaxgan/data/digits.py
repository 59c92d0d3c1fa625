"""Handwritten digits that need no download: the set that scikit-learn embeds, as a TFDS builder."""

import io
import pathlib

import numpy as np
import tensorflow_datasets as tfds


# Registered, it would refuse to be imported beside anyone else's set named digits.
class Digits(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
    """The 1,797 grey 8x8 digits of `sklearn.datasets.load_digits`, 1,437 train and 360 test.

    They come with this package, in digits.npz, since scikit-learn takes 60 MB. Pixels of 0..16 are
    scaled to 0..255. A fixed permutation chooses the test images, because the set comes sorted by
    writer. Records hold PNG bytes: preparing them takes neither TensorFlow (which TFDS would encode
    arrays with) nor the network.

    References:
      Alpaydin and Kaynak, `Optical Recognition of Handwritten Digits
      <https://archive.ics.uci.edu/dataset/80>`_, 1998, licensed under CC BY 4.0.
    """

    VERSION = tfds.core.Version("1.0.0")

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description="Grey 8x8 handwritten digits, embedded in scikit-learn.",
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(8, 8, 1), encoding_format="png"),
                    "label": tfds.features.ClassLabel(num_classes=10),
                }
            ),
            supervised_keys=("image", "label"),
        )

    def _split_generators(self, dl_manager):
        # RandomState, unlike Generator, is frozen: the split is the same under every numpy.
        order = np.random.RandomState(0).permutation(1797)
        return {
            "train": self._generate_examples(order[:1437]),
            "test": self._generate_examples(order[1437:]),
        }

    def _generate_examples(self, indices):
        from PIL import Image

        with np.load(pathlib.Path(__file__).with_name("digits.npz")) as digits:
            images, labels = digits["images"], digits["labels"]
        pixels = np.rint(images * (255 / 16)).astype(np.uint8)
        for index in indices:
            png = io.BytesIO()
            Image.fromarray(pixels[index]).save(png, format="PNG")
            yield int(index), {"image": png.getvalue(), "label": int(labels[index])}
