# pyright: reportMissingImports=false, reportArgumentType=false
"""The peer: the same network, losses, optimiser and augmentation in plain PyTorch and Pillow.

The code is what a researcher of this field writes: eager mode, float32 (TF32 on a GPU, like
PyTorch's convolutions), and a `DataLoader` whose workers augment images one by one
(`peer_views.py`). Training has two faster forms too. Module names are the released code's, so
`lupi_jax.models.to_torch` fills the network. tests/experiments/test_benchmark_peer.py checks that
both compute the same losses and gradients.
"""

import os
from collections.abc import Callable
from typing import Any, Literal

import PIL
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from experiments.benchmarks.peer_views import Batches, Views
from experiments.benchmarks.work import Work, make_images

MODALITIES = ("visible", "infrared", "intermediate")
MARGIN = 0.3
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
torch.backends.cuda.matmul.allow_tf32 = True
torch.backends.cudnn.benchmark = True


class Bottleneck(nn.Module):
    """ResNet's bottleneck block."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        outputs = 4 * width
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        """[n, c, h, w] -> [n, 4 width, h / stride, w / stride]."""
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return self.relu(y + (x if self.downsample is None else self.downsample(x)))


def layer(inputs: int, width: int, blocks: int, stride: int) -> nn.Sequential:
    """One of ResNet-50's four layers."""
    rest = [Bottleneck(4 * width, width, 1) for _ in range(blocks - 1)]
    return nn.Sequential(Bottleneck(inputs, width, stride), *rest)


class Stem(nn.Module):
    """The layers of one modality."""

    def __init__(self) -> None:
        super().__init__()
        self.resnet_part1 = nn.Sequential(
            nn.Conv2d(3, 64, 7, 2, 3, bias=False),
            nn.BatchNorm2d(64),
            nn.MaxPool2d(3, 2, 1),
            layer(64, 64, 3, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """[n, 3, h, w] -> [n, 256, h / 4, w / 4]."""
        return self.resnet_part1(x)


class Trunk(nn.Module):
    """The layers that all modalities share."""

    def __init__(self) -> None:
        super().__init__()
        self.resnet_part2 = nn.ModuleList(
            [layer(256, 128, 4, 2), layer(512, 256, 6, 2), layer(1024, 512, 3, 1)]
        )


class NonLocal(nn.Module):
    """AGW's non-local block with one inner channel and the matrix of all pairs of places."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.g = nn.Sequential(nn.Conv2d(channels, 1, 1))
        self.theta = nn.Conv2d(channels, 1, 1)
        self.phi = nn.Conv2d(channels, 1, 1)
        self.W = nn.Sequential(nn.Conv2d(1, channels, 1), nn.BatchNorm2d(channels))

    def forward(self, x: Tensor) -> Tensor:
        """[n, c, h, w] -> the same shape."""
        n, _, h, w = x.shape
        g = self.g(x).view(n, 1, -1).transpose(1, 2)
        theta = self.theta(x).view(n, 1, -1).transpose(1, 2)
        affinity = theta @ self.phi(x).view(n, 1, -1)
        y = (affinity / affinity.shape[-1]) @ g
        return self.W(y.transpose(1, 2).reshape(n, 1, h, w)) + x


class Net(nn.Module):
    """ResNet-50 with three stems, AGW's non-local blocks, GeM, BN neck and classifier."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.visible_module, self.thermal_module, self.gray_module = Stem(), Stem(), Stem()
        self.base_resnet = Trunk()
        self.NL_2 = nn.ModuleList([NonLocal(512) for _ in range(2)])
        self.NL_3 = nn.ModuleList([NonLocal(1024) for _ in range(3)])
        self.bottleneck = nn.BatchNorm1d(2048)
        self.bottleneck.bias.requires_grad_(False)
        self.classifier = nn.Linear(2048, classes, bias=False)

    def heads(self) -> list[nn.Module]:
        """The modules that train at the full rate."""
        return [self.bottleneck, self.classifier]

    def forward(self, images: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """{modality: [n, 3, h, w]} -> pooled and neck features, logits, of all rows."""
        modules = (self.visible_module, self.thermal_module, self.gray_module)
        stems = zip(MODALITIES, modules, strict=True)
        x = torch.cat([stem(images[m]) for m, stem in stems if m in images])
        for part, non_local in zip(
            self.base_resnet.resnet_part2, (self.NL_2, self.NL_3, ()), strict=True
        ):
            for i, block in enumerate(part):
                x = block(x)
                if i >= len(part) - len(non_local):
                    x = non_local[i - len(part) + len(non_local)](x)
        pooled = (x.pow(3).mean((2, 3)) + 1e-12).pow(1 / 3)
        neck = self.bottleneck(pooled)
        return pooled, neck, self.classifier(neck)


def hardest(anchor: Tensor, positive: Tensor, negative: Tensor, labels: Tensor) -> Tensor:
    """Batch-hard triplet loss across three modalities."""
    same = labels[:, None] == labels[None]
    far = torch.cdist(anchor, positive).masked_fill(~same, -torch.inf).amax(1)
    near = torch.cdist(anchor, negative).masked_fill(same, torch.inf).amin(1)
    return F.relu(far - near + MARGIN).mean()


def objective(pooled: Tensor, logits: Tensor, labels: Tensor) -> Tensor:
    """The released code's loss."""
    v, t, z = pooled.chunk(3)
    triplets = hardest(v, t, z, labels) + hardest(t, z, v, labels) + hardest(z, v, t, labels)
    identity = F.cross_entropy(logits, labels.repeat(3))
    return identity + triplets / 3 + 10 * F.mse_loss(v, z)


def make_optimizer(net: Net, rate: float) -> torch.optim.SGD:
    """SGD with a tenth of the rate for all but the heads."""
    heads = [p for module in net.heads() for p in module.parameters() if p.requires_grad]
    own = {id(p) for p in heads}
    rest = [p for p in net.parameters() if id(p) not in own and p.requires_grad]
    groups = [{"params": rest, "lr": rate / 10}, {"params": heads, "lr": rate}]
    return torch.optim.SGD(groups, rate, momentum=0.9, nesterov=True, weight_decay=5e-4)


Form = Literal["eager", "autocast", "compiled"]
"""How the peer trains: "eager" is usual; "autocast" has channels last, and bfloat16 where PyTorch
considers it safe; "compiled" is "autocast" after `torch.compile`."""


class Trainer:
    """A network in training, in one of the forms."""

    def __init__(self, work: Work, form: Form = "eager", backend: str = "inductor") -> None:
        """Draw a network; `torch.compile` uses `backend`."""
        torch.manual_seed(0)
        self._mixed = form != "eager"
        self._layout = torch.channels_last if self._mixed else torch.contiguous_format
        net = Net(work.classes)
        net.to(DEVICE, memory_format=self._layout)  # pyright: ignore[reportCallIssue]
        self._optimizer = make_optimizer(net, 0.01)
        self._forward = torch.compile(net, backend=backend) if form == "compiled" else net

    def place(self, images: Tensor) -> Tensor:
        """Images [n, 3, h, w] on the device and in the layout of a step."""
        return images.to(DEVICE, non_blocking=True).contiguous(memory_format=self._layout)

    def step(self, images: dict[str, Tensor], labels: Tensor) -> float:
        """Take one step, and return its loss."""
        self._optimizer.zero_grad()
        with torch.autocast(DEVICE, torch.bfloat16, enabled=self._mixed):
            pooled, _, logits = self._forward(images)
        loss = objective(pooled.float(), logits.float(), labels)
        loss.backward()
        self._optimizer.step()
        return loss.item()


# The work that is measured; each function returns a turn, and facts about it.

Turn = tuple[Callable[[], object], dict[str, Any]]


def _facts() -> dict[str, Any]:
    name = (
        torch.cuda.get_device_name()
        if DEVICE == "cuda"
        else f"CPU, {torch.get_num_threads()} threads"
    )
    return {"device": name, "versions": {"torch": torch.__version__, "pillow": PIL.__version__}}


def _wait() -> None:
    if DEVICE == "cuda":
        torch.cuda.synchronize()


def step(work: Work, steps: int, form: Form = "eager", backend: str = "inductor") -> Turn:
    """`steps` training steps on augmented, normalised images in memory."""
    trainer = Trainer(work, form, backend)
    labels = torch.from_numpy(make_images(work, work.rows)[2]).long().to(DEVICE)
    images = {m: trainer.place(torch.randn(work.rows, 3, *work.size)) for m in MODALITIES}

    def turn() -> None:
        for _ in range(steps):
            trainer.step(images, labels)
        _wait()

    return turn, _facts()


def end_to_end(work: Work, steps: int, form: Form = "eager", backend: str = "inductor") -> Turn:
    """`steps` training steps; a `DataLoader`'s workers sample and augment."""
    trainer = Trainer(work, form, backend)
    data = Views(*make_images(work, work.stored))
    loader = iter(
        torch.utils.data.DataLoader(
            data,
            batch_sampler=Batches(work, data.labels),
            num_workers=os.cpu_count() or 1,
            pin_memory=DEVICE == "cuda",
            multiprocessing_context="fork",
        )
    )

    def turn() -> None:
        for _ in range(steps):
            *views, labels = next(loader)
            images = {m: trainer.place(x) for m, x in zip(MODALITIES, views, strict=True)}
            trainer.step(images, labels.to(DEVICE))
        _wait()

    return turn, _facts()


def extraction(work: Work, count: int) -> Turn:
    """Both features of `count` normalised visible images in memory."""
    torch.manual_seed(0)
    net = Net(work.classes).to(DEVICE).eval()
    images = torch.randn(count, 3, *work.size)

    def turn() -> object:
        found = []
        with torch.no_grad():
            for batch in images.split(min(64, count)):
                pooled, neck, _ = net({"visible": batch.to(DEVICE)})
                found.append([F.normalize(x).cpu().numpy() for x in (pooled, neck)])
        return found

    return turn, _facts()


def views(work: Work) -> Turn:
    """The three views of a batch, one image after the other in one process."""
    data = Views(*make_images(work, work.rows))

    def turn() -> object:
        return [data[row] for row in range(work.rows)]

    return turn, _facts()
