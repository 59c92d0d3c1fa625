"""What the page calls the numbers of runs: curves and scores, in words."""

from typing import NamedTuple


class Quantity(NamedTuple):
    """What a number is called.

    Attributes:
      words: in a few of them.
      note: what to know before comparing it, or "".
      better: lower, higher, or "" where neither is.
    """

    words: str
    note: str = ""
    better: str = ""


_OWN_SCALE = "every loss has its own scale"
_HALF = "½ where the critic cannot tell them apart"

# Of scores.jsonl, metrics.jsonl and health.jsonl, in the order in which they are shown.
CURVES = {
    "frechet_classifier": Quantity("Fréchet distance while training", "", "lower"),
    "mind": Quantity("MIND in Inception's features while training", "", "lower"),
    "w1": Quantity("Wasserstein distance W₁ while training", "", "lower"),
    "wasserstein": Quantity(
        "critic's estimate of the Wasserstein distance",
        "in units of the slope that its clip or penalty allows",
    ),
    "js": Quantity("Jensen-Shannon divergence that the discriminator certifies"),
    "divergence": Quantity("f-divergence that the critic certifies"),
    "total_variation": Quantity("total variation that the critic certifies"),
    "convergence": Quantity("BEGAN's measure of convergence"),
    "d_ahead": Quantity("data that the critic scores above the samples they are paired with"),
    "d_real": Quantity("discriminator's output on data", "the loss sets its target"),
    "d_fake": Quantity("discriminator's output on samples", "the loss sets its target"),
    "d_loss": Quantity("critic's loss", _OWN_SCALE),
    "g_loss": Quantity("generator's loss", _OWN_SCALE),
    "gradient_penalty": Quantity("gradient penalty, without its weight"),
    "slope_penalty": Quantity("penalty on the critic's slope, without its weight"),
    "r1": Quantity("critic's squared slope at data (R1)"),
    "r2": Quantity("critic's squared slope at samples (R2)"),
    "k": Quantity("BEGAN's balance k"),
    "real_error": Quantity("autoencoder's error on data"),
    "fake_error": Quantity("autoencoder's error on samples"),
    "ada_p": Quantity("probability of an augmentation (ADA's p)"),
    "ada_r": Quantity("ADA's measure of overfitting"),
    "skipped": Quantity("updates skipped since a number was not finite"),
    "ahead": Quantity("discriminator's accuracy: data ranked above samples", _HALF),
    "memorised": Quantity("training examples ranked above held-out ones", "near 1: known by heart"),
    "spread": Quantity("spread of the samples over the data's", "1 is the data's"),
    "dims": Quantity("directions that samples vary in, over the data's", "1 is the data's"),
    "d_slope": Quantity("critic's slope between data and samples"),
    "g_slope": Quantity("gradient that reaches the generator"),
    "at_clip": Quantity("critic's weights held by the clip"),
}
# Of evaluation.json, by their full names. Others are shown after them, by those names.
SCORES = {
    "w1": Quantity("Wasserstein distance W₁", "", "lower"),
    "sliced_w1": Quantity("sliced Wasserstein distance", "", "lower"),
    "frechet_classifier": Quantity("Fréchet distance", "in a classifier's features", "lower"),
    "kernel_classifier.value": Quantity("kernel distance", "in a classifier's features", "lower"),
    "fid": Quantity("FID", "in Inception's features", "lower"),
    "kid.value": Quantity("KID", "in Inception's features", "lower"),
    "mind": Quantity("MIND", "in Inception's features", "lower"),
    "modes_covered": Quantity("modes or classes covered", "", "higher"),
    "high_quality": Quantity("samples within 3σ of a mode", "", "higher"),
    "reverse_kl": Quantity("reverse KL over modes or classes", "", "lower"),
    "reverse_kl_pacgan": Quantity("reverse KL, as PacGAN counts", "", "lower"),
    "classifier_score": Quantity("classifier's inception score", "", "higher"),
    "manifold_classifier.precision": Quantity("precision", "in a classifier's features", "higher"),
    "manifold_classifier.recall": Quantity("recall", "in a classifier's features", "higher"),
    "manifold_classifier.density": Quantity("density", "in a classifier's features"),
    "manifold_classifier.coverage": Quantity("coverage", "in a classifier's features", "higher"),
    "manifold_inception.precision": Quantity("precision", "in Inception's features", "higher"),
    "manifold_inception.recall": Quantity("recall", "in Inception's features", "higher"),
    "manifold_inception.density": Quantity("density", "in Inception's features"),
    "manifold_inception.coverage": Quantity("coverage", "in Inception's features", "higher"),
    "memorisation.closer": Quantity("nearer to training data than held-out ones", "½ is new"),
}
# Parts of other scores.
HIDDEN = {
    *("kernel_classifier.standard_error", "kid.standard_error", "entropy"),
    *("memorisation.distance", "memorisation.held_out_distance"),
}


def tables() -> dict[str, dict[str, dict[str, str]]]:
    """Both, as JSON has them."""
    return {
        "curves": {name: quantity._asdict() for name, quantity in CURVES.items()},
        "scores": {name: quantity._asdict() for name, quantity in SCORES.items()},
    }
