"""The pose of a person in a picture, and the place of the body on the canvas."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

Point = tuple[float, float]


@dataclass(frozen=True)
class Pose:
    """How a person stands in one picture."""

    yaw: float
    """Direction in radians; 0 faces the camera, pi / 2 is a side view, pi shows the back."""
    phase: float
    """Phase of the gait, in radians."""
    stride: float
    """Largest angle of the thigh from the vertical, in radians; 0 means standing still."""
    swing: float
    """Largest angle of the upper arm from the vertical, in radians."""
    elbow: float
    """Bend of the elbow, in radians."""
    pitch: float
    """Downward tilt of the camera, in radians."""


@dataclass(frozen=True)
class Placement:
    """The place of a body on the canvas, as a similarity from body heights to points."""

    scale: float
    """Points per body height."""
    x: float
    """Column of the body's centre, which is on its axis at half height."""
    y: float
    """Row of the body's centre."""
    roll: float
    """Rotation in the picture, in radians."""

    def to_canvas(self, points: Sequence[Point]) -> list[Point]:
        """Returns the canvas positions of points (x, y) of the body.

        The points are in body heights; their origin is on the axis, at the top of the head.
        """
        cos, sin = np.cos(self.roll) * self.scale, np.sin(self.roll) * self.scale
        return [
            (self.x + cos * x - sin * (y - 0.5), self.y + sin * x + cos * (y - 0.5))
            for x, y in points
        ]

    def to_body(self, rows: int, columns: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns x and y in body heights of each point on the canvas, float32 [rows, columns]."""
        dx = np.arange(columns, dtype=np.float32)[None] - self.x
        dy = np.arange(rows, dtype=np.float32)[:, None] - self.y
        cos, sin = np.float32(np.cos(self.roll)), np.float32(np.sin(self.roll))
        return (cos * dx + sin * dy) / self.scale, (cos * dy - sin * dx) / self.scale + 0.5


def sample_pose(rng: np.random.Generator) -> Pose:
    """Returns a random pose, seen from the front, the back or a side, walking or standing."""
    view = rng.choice([0.0, np.pi, np.pi / 2, -np.pi / 2], p=[0.34, 0.3, 0.18, 0.18])
    walking = rng.random() < 0.75
    return Pose(
        yaw=float(view + rng.normal(0.0, 0.3)),
        phase=float(rng.uniform(0.0, 2 * np.pi)),
        stride=float(rng.uniform(0.25, 0.5) if walking else rng.uniform(0.0, 0.08)),
        swing=float(rng.uniform(0.15, 0.5) if walking else rng.uniform(0.0, 0.1)),
        elbow=float(rng.uniform(0.1, 0.6)),
        pitch=float(rng.uniform(0.0, 0.25)),
    )
