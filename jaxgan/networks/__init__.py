"""Generator and critic networks: an MLP pair, a DCGAN pair, and an autoencoding critic.

Each pair is two flax modules. A generator maps latents `[B, latent_dim]` to samples
`[B, *data_shape]` and carries both sizes as attributes; a critic maps samples to scores `[B]`.
Images are float32 in [−1, 1], NHWC, so an image generator ends in tanh.

`dtype` is the precision of the arithmetic; parameters, statistics, samples and scores stay float32
(samples and scores of float64 arithmetic are float64).
"""

from jaxgan.networks.conv import Conv, ConvTranspose
from jaxgan.networks.dcgan import DCGANCritic, DCGANGenerator, dcgan
from jaxgan.networks.mlp import MLPAutoencoder, MLPCritic, MLPGenerator, autoencoder, mlp
from jaxgan.networks.wrappers import packed, spectral_norm

__all__ = [
    "Conv",
    "ConvTranspose",
    "DCGANCritic",
    "DCGANGenerator",
    "MLPAutoencoder",
    "MLPCritic",
    "MLPGenerator",
    "autoencoder",
    "dcgan",
    "mlp",
    "packed",
    "spectral_norm",
]
