"""Generator and critic networks: MLP, DCGAN and residual pairs, and an autoencoding critic.

Each pair is two flax modules. A generator maps latents `[B, latent_dim]` to samples
`[B, *data_shape]` and carries both sizes as attributes; a critic maps samples to scores `[B]`.
Images are float32 in [−1, 1], NHWC, so an image generator ends in tanh (R3GAN's in a clip).

`dtype` is the precision of the arithmetic; parameters, statistics, samples and scores stay float32
(samples and scores of float64 arithmetic are float64).
"""

from jaxgan.networks.conv import Conv, ConvTranspose
from jaxgan.networks.dcgan import DCGANCritic, DCGANGenerator, dcgan
from jaxgan.networks.mlp import MLPAutoencoder, MLPCritic, MLPGenerator, autoencoder, mlp
from jaxgan.networks.r3gan import R3GANCritic, R3GANGenerator, r3gan
from jaxgan.networks.resnet import ResNetCritic, ResNetGenerator, resnet
from jaxgan.networks.wrappers import packed, spectral_norm

__all__ = [
    "Conv",
    "ConvTranspose",
    "DCGANCritic",
    "DCGANGenerator",
    "MLPAutoencoder",
    "MLPCritic",
    "MLPGenerator",
    "R3GANCritic",
    "R3GANGenerator",
    "ResNetCritic",
    "ResNetGenerator",
    "autoencoder",
    "dcgan",
    "mlp",
    "packed",
    "r3gan",
    "resnet",
    "spectral_norm",
]
