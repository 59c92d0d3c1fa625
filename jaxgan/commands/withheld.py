"""Which scores are withheld, and why: those that could not tell good samples from bad ones here.

There may be too few examples, which is known beforehand. And a distance between pixels may prefer
what is wrong: between a few examples in many dimensions the distances are long, and a blur, or the
mean image, is nearer to all of them than they are to one another. That is measured, on controls:
samples known to be bad are scored beside the training data, and copies of nothing are asked for in
the test for copies. Where a control scores as well as data, so could a bad generator.
"""

import numpy as np

from jaxgan.metrics.controls import MARGIN
from jaxgan.metrics.inception_scores import BLOCKS

# At 70, and as many held out, the standard error of a fraction is 0.06 at most and that of
# memorisation's `closer` √(2/(12·70)) = 0.05. The floor's W1 varies from draw to draw by 2 to 4% on
# images, by 15 to 25% on points, and by W1 the mean digit is 1.2 times as far as other digits are;
# at 30 it is 1.04 times.
LEAST = 70
PER_CLASS = 5  # as in the χ² test, whose statistic the reverse KL is; it is 0.1 of perfect samples
OF_A_CLASS = 20  # the standard error of a share is 0.11 at most, and 0.03 of 98%
EXPECTED = 10  # of which none is no chance: e^-10
PER_BLOCK = 2  # of the kernel distance

COPIED = 0.75  # of `closer`: half-way from new samples, ½, to copies, 1
CONTROLS = {"mean": "the mean example", "blurred": "blurred examples"}


def too_few(
    samples: int,
    held_out: int,
    classes: int | None = None,
    features: int | None = None,
    asked: np.ndarray | None = None,
    held_out_classes: np.ndarray | None = None,
) -> dict[str, str]:
    """The scores that there are too few examples for, each with a line that says why.

    Args:
      samples: how many are scored.
      held_out: how many examples there are to score them against.
      classes: how many modes or classes are counted, if any are.
      features: how many the classifier has, if there is one.
      asked: the classes that the samples are asked for, if they are.
      held_out_classes: the classes of the held-out examples, if the classifier knows them.
    """
    noise = "with fewer its own error is as large as what it has to show"
    against = {"w1": (LEAST, noise), "sliced_w1": (LEAST, noise), "memorisation": (LEAST, noise)}
    alone = {}
    if classes is not None:
        few = f"{PER_CLASS} for each of {classes:,} classes, below which even data miss some"
        names = ("modes_covered", "reverse_kl", "reverse_kl_pacgan", "entropy", "classifier_score")
        alone = dict.fromkeys(names, (PER_CLASS * classes, few)) | {"high_quality": (LEAST, noise)}
    rank = f"the covariance of {features} features needs more than {features}"
    if features is not None:
        blocks = f"{PER_BLOCK} in each of {BLOCKS} blocks, whose spread is its error"
        against |= {
            "frechet_classifier": (features + 1, rank),
            "kernel_classifier": (PER_BLOCK * BLOCKS, blocks),
            "manifold_classifier": (LEAST, noise),
        }
    counts = {"samples": samples}
    table = [(against, counts | {"held-out examples": held_out}), (alone, counts)]
    if asked is not None:
        found, of_each = np.unique(asked, return_counts=True)
        rarest = {"samples of the rarest class": int(of_each.min())}
        table += [
            ({"agreement": (LEAST, "with fewer its standard error may be 0.06")}, counts),
            (
                {"agreement_by_class": (OF_A_CLASS, "with fewer its standard error may be 0.11")},
                rarest,
            ),
        ]
        if features is not None and held_out_classes is not None:
            real = min(int(np.sum(held_out_classes == k)) for k in found)
            both = rarest | {"held-out examples of the rarest class": real}
            table.append(({"frechet_by_class": (features + 1, rank)}, both))
    return _notes(table)


def too_few_for_inception(
    samples: int, reference: int, floor: int, features: int
) -> dict[str, str]:
    """The scores in Inception's features that there are too few images for, as `too_few`."""
    noise = "with fewer its own error is as large as what it has to show"
    rank = f"the covariance of {features} features needs more than {features}"
    needs = dict.fromkeys(("kid", "mind", "manifold_inception"), (LEAST, noise))
    needs["fid"] = features + 1, rank
    counts = {"images in the floor": floor, "reference images": reference, "samples": samples}
    return _notes([(needs, counts)])


def _notes(table: list[tuple[dict[str, tuple[int, str]], dict[str, int]]]) -> dict[str, str]:
    """A line for each score of which there is less than it needs."""
    return {
        name: f"no {name}: {count:,} {what} where it needs {least:,}: {why}"
        for needs, counts in table
        for name, (least, why) in needs.items()
        for what, count in counts.items()
        if count < least
    }


def fooled(floor: dict, controls: dict[str, dict]) -> dict[str, str]:
    """The scores by which a control is as good as data, each with a line that says so.

    Args:
      floor: what training data score.
      controls: what those of `CONTROLS` do: w1, sliced_w1 and memorisation's `closer`; None where
        there are too few examples.
    """
    notes = {}
    for control, scores in controls.items():
        what = CONTROLS[control]
        for name in ("w1", "sliced_w1"):
            score = scores[name]
            if score is not None and score < MARGIN * floor[name]:
                notes[name] = (
                    f"no {name}: it cannot tell good samples from bad ones here: of {what} "
                    f"it is {score:.3g}, of training examples {floor[name]:.3g}; the former should "
                    f"be at least {MARGIN} times the latter"
                )
        closer = scores["closer"]
        if closer is not None and closer > COPIED:
            notes["memorisation"] = (
                "no memorisation: it cannot tell copies from bland samples here: of "
                f"{what}, which copy nothing, {closer:.0%} are nearer to the training set "
                f"than held-out examples are; at most {COPIED:.0%} should be"
            )
    return notes


def gone(scores: dict, floor: dict) -> list[str]:
    """A note on the classes or modes that data have among as many, and samples have not."""
    found, real = (each.get("histogram") for each in (scores, floor))
    if not (isinstance(found, list) and isinstance(real, list)):
        return []
    missing = [k for k, count in enumerate(found) if real[k] >= EXPECTED and not count]
    if not missing:
        return []
    which = ", ".join(map(str, missing[:10])) + (", ..." if len(missing) > 10 else "")
    return [f"{len(missing)} of {len(found)} classes or modes are gone: {which}"]


def below_floor(scores: dict, floor: dict) -> list[str]:
    """A note for each distance that is shorter from samples than from training examples."""
    return [
        f"{name} of the samples, {scores[name]:.4g}, is below its floor, {floor[name]:.4g}: by "
        "chance, or since the samples are blander than data, which makes them no better"
        for name in ("w1", "sliced_w1")
        if None not in (scores[name], floor[name]) and scores[name] < floor[name]
    ]
