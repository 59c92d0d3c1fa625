"""Inception-v3 in JAX against torch-fidelity's, and the reading of its weights."""

import hashlib
import http.client
import importlib.util
import io
import os
import pathlib
import pickle
import sys
import types
import urllib.error
import zipfile

import jax
import numpy as np
import pytest

from jaxgan import metrics
from jaxgan.metrics import inception, inception_weights, torch_file

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "experiments"))
import inception as comparison

GOLDEN_FEATURES = [1.95278, 4.204, 11.4196, 0.225912, 8.60324, 0.0016376, 7.61069, 7.47389]
GOLDEN_LOGITS = [-3.47431, -2.05808, 0.311557, -3.27704, -5.22065, 8.83112, 0.601259, -6.49848]

needs_torch = pytest.mark.skipif(
    importlib.util.find_spec("torch") is None, reason="PyTorch, the extra `bench`, is missing"
)


@pytest.fixture(scope="module")
def state_dict():
    """Random weights as in torch-fidelity's file, which keep activations of order 1."""
    return comparison.random_weights()


@pytest.fixture(scope="module")
def params(state_dict):
    return inception.from_state_dict(state_dict)


def images(*shape):
    return np.random.RandomState(1).randint(0, 256, shape).astype(np.uint8)


def save(path, arrays):
    """Writes arrays as torch.save does, without torch."""
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")

    class FloatStorage: ...

    def _rebuild_tensor_v2(): ...

    for module, part in ((torch, FloatStorage), (utils, _rebuild_tensor_v2)):
        part.__module__, part.__qualname__ = module.__name__, part.__name__
        setattr(module, part.__name__, part)

    class Tensor:
        def __init__(self, key, array):
            self.key, self.array = key, array

        def __reduce__(self):
            strides = tuple(step // 4 for step in self.array.strides)
            where = Storage(self.key), 0, self.array.shape, strides, False, None
            return _rebuild_tensor_v2, where

    class Storage:
        def __init__(self, key):
            self.key = key

    class Pickler(pickle.Pickler):
        def persistent_id(self, it):
            return ("storage", FloatStorage, it.key, "cpu", 0) if isinstance(it, Storage) else None

    listing, known = (
        io.BytesIO(),
        {name: sys.modules.get(name) for name in ("torch", "torch._utils")},
    )
    sys.modules |= {"torch": torch, "torch._utils": utils}
    try:
        tensors = {name: Tensor(str(i), array) for i, (name, array) in enumerate(arrays.items())}
        Pickler(listing, 2).dump(tensors)
    finally:
        for name, module in known.items():
            sys.modules.pop(name) if module is None else sys.modules.__setitem__(name, module)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("it/data.pkl", listing.getvalue())
        for tensor in tensors.values():
            archive.writestr(f"it/data/{tensor.key}", tensor.array.tobytes())


@needs_torch
def test_every_block_is_that_of_torch_fidelity(state_dict, params, tmp_path):
    fidelity = pytest.importorskip("torch_fidelity.feature_extractor_inceptionv3")
    import torch

    torch.save({k: torch.tensor(v) for k, v in state_dict.items()}, tmp_path / "weights.pth")
    network = fidelity.FeatureExtractorInceptionV3(
        "x", ["2048", "logits_unbiased"], feature_extractor_weights_path=tmp_path / "weights.pth"
    )
    seen = {}
    for name, part in network.named_children():
        name = {"MaxPool_1": "pool_1", "MaxPool_2": "pool_2"}.get(name, name)
        part.register_forward_hook(lambda _, x, y, name=name: seen.__setitem__(name, y.numpy()))
    for sides in ((32, 32), (64, 64), (299, 299), (48, 80)):
        for channels in (1, 3):
            x = np.repeat(images(2, *sides, channels), 3 // channels, axis=-1)
            theirs = network(torch.tensor(x.transpose(0, 3, 1, 2)))
            layers = inception.layers(params, x)
            assert len(layers) == 18 and layers.keys() < seen.keys()
            for name, ours in layers.items():
                other = seen[name].transpose(0, 2, 3, 1)
                np.testing.assert_allclose(ours, other, rtol=0, atol=1e-4 * np.abs(other).max())
            for ours, other in zip(inception.apply(params, x), theirs, strict=True):
                scale = np.abs(other.numpy()).max()
                np.testing.assert_allclose(ours, other.numpy(), rtol=0, atol=1e-4 * scale)


@needs_torch
def test_scores_of_features_are_those_of_torch_fidelity_and_prdc():
    fid = pytest.importorskip("torch_fidelity.metric_fid")
    kid = pytest.importorskip("torch_fidelity.metric_kid").kid_features_to_metric
    prdc = pytest.importorskip("prdc").compute_prdc
    import torch

    random = np.random.default_rng(0)
    x = np.maximum(random.normal(size=(1200, 64)) + 0.3, 0)
    y = np.maximum(random.normal(size=(1000, 64)) @ random.normal(size=(64, 64)) / 9 + 0.4, 0)
    theirs = fid.fid_statistics_to_metric(
        *(fid.fid_features_to_statistics(torch.tensor(a)) for a in (x, y)), False
    )["frechet_inception_distance"]
    ours = metrics.frechet_of_moments(metrics.moments([x[:7], x[7:]]), metrics.moments([y]))
    np.testing.assert_allclose(ours, theirs, rtol=1e-6)
    np.testing.assert_allclose(metrics.frechet_distance(x, y), theirs, rtol=1e-6)
    # Theirs of each block, all of which it draws.
    how = {"kid_subsets": 1, "kid_subset_size": 500, "verbose": False}
    blocks = [kid(torch.tensor(x[i:1000:2]), torch.tensor(y[i::2]), **how) for i in range(2)]
    theirs = np.mean([block["kernel_inception_distance_mean"] for block in blocks])
    np.testing.assert_allclose(metrics.kernel_distance(x[:1000], y, 2).value, theirs, rtol=1e-6)
    found = metrics.precision_recall_density_coverage(x, y, 5)._asdict()
    theirs = prdc(x, y, 5)
    assert 0 < found["precision"] < 1 and found == pytest.approx(theirs, rel=1e-6)


def test_it_computes_what_torch_fidelity_computes_from_these_weights(params):
    """Without torch: numbers of torch-fidelity 0.4.0 for the weights above."""
    features, logits = inception.apply(params, images(1, 32, 48, 3))
    # Beside the largest, as some are near 0.
    for ours, theirs in ((features[0, ::256], GOLDEN_FEATURES), (logits[0, ::126], GOLDEN_LOGITS)):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5 * np.abs(theirs).max())


def test_images_go_through_in_batches_as_files_of_them_would(params, monkeypatch):
    monkeypatch.setattr(inception, "BATCH", 2)
    network = inception.Inception(params, "")
    grey = images(3, 8, 8, 1)
    features, logits = network(grey)
    assert features.shape == (3, 2048) and logits.shape == (3, 1008)
    colours = network(np.repeat(grey, 3, axis=-1))
    floats = network(grey / np.float32(127.5) - 1)
    each = [network(grey[i : i + 1]).features[0] for i in range(3)]
    for other in (colours.features, floats.features, each):
        np.testing.assert_allclose(features, other, rtol=1e-4, atol=1e-5)
    for shape in ((3, 8, 8, 4), (3, 8, 8), (0, 8, 8, 3)):
        with pytest.raises(ValueError, match=r"Inception looks at images .*got \("):
            network(images(*shape))


@needs_torch
@pytest.mark.parametrize("as_zip", [True, False])
def test_files_of_pytorch_are_read_without_it(as_zip, tmp_path):
    import torch

    whole = torch.arange(24.0).reshape(2, 3, 4)
    tensors = {
        **{"a": whole, "turned": whole.permute(2, 0, 1), "part": whole[1, 1:]},
        **{"count": torch.tensor(7), "none": torch.zeros(0, 3), "half": whole.half()},
        "own": torch.nn.Parameter(whole + 1),
    }
    torch.save(tensors, tmp_path / "x.pth", _use_new_zipfile_serialization=as_zip)
    found = torch_file.read(tmp_path / "x.pth")
    assert found.keys() == tensors.keys()
    for name, tensor in tensors.items():
        expected = tensor.detach().numpy()
        np.testing.assert_array_equal(found[name], expected)
        assert found[name].dtype == expected.dtype


def test_a_file_that_names_other_functions_runs_none(tmp_path):
    class Bad:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "made"),)

    (tmp_path / "bad").write_bytes(pickle.dumps(Bad()))
    with zipfile.ZipFile(tmp_path / "bad.pth", "w") as archive:
        archive.writestr("it/data.pkl", pickle.dumps({"a": Bad()}))
    for name in ("bad", "bad.pth"):
        with pytest.raises(ValueError, match=r"it names \w+.mkdir, which is not run"):
            torch_file.read(tmp_path / name)
    assert not (tmp_path / "made").exists()


def test_weights_of_a_file(state_dict, params, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(ValueError, match=r"there are no weights of Inception in .*: fetch https"):
        inception_weights.load()
    file = tmp_path / "weights.pth"
    save(file, state_dict)
    network = inception_weights.load(file)
    assert network.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    jax.tree.map(np.testing.assert_array_equal, network.params, params)
    for change, says in (
        ({"Mixed_7c.branch1x1.conv.weight": None}, "there is no Mixed_7c.branch1x1.conv.weight"),
        ({"fc.weight": np.zeros((10, 2048), np.float32)}, "fc.weight has shape (10, 2048), and"),
    ):
        others = {k: v for k, v in (state_dict | change).items() if v is not None}
        save(file, others)
        with pytest.raises(ValueError, match="holds no weights of Inception") as error:
            inception_weights.load(file)
        assert says in str(error.value) and "\n" not in str(error.value)
    for damage in (b"", b"no file", file.read_bytes()[:5000]):
        file.write_bytes(damage)
        with pytest.raises(ValueError, match="is no PyTorch file of arrays"):
            inception_weights.load(file)


def test_weights_are_fetched_once_and_checked(state_dict, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    lines, asked = [], []

    save(tmp_path / "weights.pth", state_dict)

    def give(url):
        asked.append(url)
        return (tmp_path / "weights.pth").open("rb")

    def fail(url):
        raise urllib.error.URLError("no network")

    def give_half(url):
        raise http.client.IncompleteRead(b"half")

    for bad, why in ((fail, "no network"), (give_half, "4 bytes read")):
        monkeypatch.setattr(inception_weights.urllib.request, "urlopen", bad)
        with pytest.raises(ValueError, match=rf"cannot be fetched .*{why}.*put it at"):
            inception_weights.fetch(lines.append)
    monkeypatch.setattr(inception_weights.urllib.request, "urlopen", give)
    with pytest.raises(ValueError, match=r"not the weights of Inception: its sha256 begins with"):
        inception_weights.fetch(lines.append)
    assert not inception_weights.place().parent.exists()
    monkeypatch.setattr(inception_weights, "SHA256", "")
    for _ in range(2):
        assert inception_weights.fetch(lines.append).params
    assert asked == [inception_weights.URL] * 2 and "91 MB" in lines[-1]
