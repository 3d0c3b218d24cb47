"""Names, shapes and seeded values of timm's ViTs, without timm."""

import numpy as np

Weights = dict[str, np.ndarray]


def shapes(width: int = 384, depth: int = 12) -> dict[str, tuple[int, ...]]:
    """timm's `VisionTransformer(patch_size=16, num_classes=0).state_dict()`, in its order."""
    found: dict[str, tuple[int, ...]] = {
        "cls_token": (1, 1, width),
        "pos_embed": (1, 197, width),
        "patch_embed.proj.weight": (width, 3, 16, 16),
        "patch_embed.proj.bias": (width,),
    }
    for i in range(depth):
        at = f"blocks.{i}"
        found |= {f"{at}.norm1.weight": (width,), f"{at}.norm1.bias": (width,)}
        for name, out, into in (("attn.qkv", 3, 1), ("attn.proj", 1, 1)):
            found[f"{at}.{name}.weight"] = (out * width, into * width)
            found[f"{at}.{name}.bias"] = (out * width,)
        found |= {f"{at}.norm2.weight": (width,), f"{at}.norm2.bias": (width,)}
        for name, out, into in (("mlp.fc1", 4, 1), ("mlp.fc2", 1, 4)):
            found[f"{at}.{name}.weight"] = (out * width, into * width)
            found[f"{at}.{name}.bias"] = (out * width,)
    return found | {"norm.weight": (width,), "norm.bias": (width,)}


def seeded(width: int = 384, depth: int = 12) -> Weights:
    """Weights that a seed draws, in float32: N(0, 0.05^2), and around 1 for normalisations."""
    rng = np.random.default_rng(0)
    return {
        name: (0.05 * rng.normal(size=shape) + ("norm" in name and name.endswith("weight"))).astype(
            np.float32
        )
        for name, shape in shapes(width, depth).items()
    }


def image(size: tuple[int, int]) -> np.ndarray:
    """A normalised image [1, h, w, 3] that a seed draws."""
    return np.random.default_rng(1).normal(size=(1, *size, 3))
