"""The digits preset of `train.py --loss=wgan` as a PyTorch user's script: STEPS PICTURE."""

import sys

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_digits
from torch import nn

LATENT, WIDTH, DEPTH, BATCH, N_CRITIC, CLIP, DECAY = 10, 256, 3, 64, 2, 0.046, 0.999
G_RATE, D_RATE, ALPHA = 0.00074, 0.00022, 0.99


def mlp(inputs: int, outputs: int) -> nn.Sequential:
    """An MLP of ReLUs."""
    layers, size = [], inputs
    for _ in range(DEPTH):
        layers += [nn.Linear(size, WIDTH), nn.ReLU(inplace=True)]
        size = WIDTH
    return nn.Sequential(*layers, nn.Linear(size, outputs))


def train(steps: int) -> nn.Module:
    """Trains, and returns the averaged generator."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    data = torch.tensor(load_digits().data / 8 - 1, dtype=torch.float32, device=device)
    generator = nn.Sequential(mlp(LATENT, 64), nn.Tanh()).to(device)
    critic = mlp(64, 1).to(device)
    average = torch.optim.swa_utils.AveragedModel(
        generator, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(DECAY)
    )
    g_tx = torch.optim.RMSprop(generator.parameters(), G_RATE, ALPHA, foreach=True)
    d_tx = torch.optim.RMSprop(critic.parameters(), D_RATE, ALPHA, foreach=True)
    for step in range(steps):
        for _ in range(N_CRITIC):
            real = data[torch.randint(len(data), (BATCH,), device=device)]
            with torch.no_grad():
                fake = generator(torch.randn(BATCH, LATENT, device=device))
            d_tx.zero_grad()
            (critic(fake).mean() - critic(real).mean()).backward()
            d_tx.step()
            with torch.no_grad():
                for p in critic.parameters():
                    p.clamp_(-CLIP, CLIP)
        critic.requires_grad_(False)
        g_tx.zero_grad()
        (-critic(generator(torch.randn(BATCH, LATENT, device=device))).mean()).backward()
        g_tx.step()
        critic.requires_grad_(True)
        average.update_parameters(generator)
        if step == 0:
            print("first step")
    return average


def draw(generator: nn.Module, path: str) -> None:
    """Writes a picture of 8x8 samples."""
    with torch.no_grad():
        images = generator(torch.randn(64, LATENT, device=next(generator.parameters()).device))
    grid = images.cpu().numpy().reshape(8, 8, 8, 8).transpose(0, 2, 1, 3).reshape(64, 64)
    pixels = np.rint((grid + 1) * 127.5).astype(np.uint8)
    Image.fromarray(pixels).resize((512, 512), Image.Resampling.NEAREST).save(path)
    print(f"samples in {path}")


if __name__ == "__main__":
    draw(train(int(sys.argv[1])), sys.argv[2])
