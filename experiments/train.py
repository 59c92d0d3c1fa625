"""Trains a GAN: `python experiments/train.py --loss=wgan`. Add --help for all settings.

To train with data, networks or a loss of your own, copy this file and change `train`.
"""

import functools

import script

import jaxgan
from jaxgan.commands.config import Config
from jaxgan.commands.settings import fit_arguments, make_model
from jaxgan.commands.train import load_data, main


def train(config: Config) -> jaxgan.Run:
    """Trains by the settings of the command line."""
    dataset = load_data(config)
    model = make_model(config, dataset.train.shape[1:], dataset.test)
    return jaxgan.fit(model, dataset, **fit_arguments(config))


if __name__ == "__main__":
    script.run(functools.partial(main, train=train))
