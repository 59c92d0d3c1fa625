"""GAN, WGAN and WGAN-GP as pure JAX functions."""
