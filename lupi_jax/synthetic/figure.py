"""Draws a person in a pose, as a map of materials and a map of light.

The skeleton is three-dimensional and is projected along the line of sight, so the views from the
front, the side and the back share one geometry. Each part is a flat shape that is darker at its
sides, like a cylinder lit from the front. This shading depends only on the shape and is the same in
every spectrum.
"""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from lupi_jax.synthetic.cameras import Material
from lupi_jax.synthetic.people import Garment, Person, pattern_mask
from lupi_jax.synthetic.pose import Placement, Point, Pose

_FULL_LIGHT = 200
"""Value in the map of light that means a factor of 1. A uint8 can hold larger factors, too."""


def draw_person(
    person: Person, pose: Pose, placement: Placement, rows: int, columns: int
) -> tuple[np.ndarray, np.ndarray]:
    """Draws a person on an empty canvas.

    Returns:
        The `Material` of each point, uint8 [rows, columns], which is `NOTHING` around the person;
        and the factor of light, about 0.3 to 1.1, float32 [rows, columns].
    """
    figure = _Figure(person, pose, placement, rows, columns)
    figure.draw()
    materials = np.asarray(figure.materials).copy()
    light = np.asarray(figure.light, dtype=np.float32) / _FULL_LIGHT
    x, y = placement.to_body(rows, columns)
    # The cloth turns with the body, so another part of the pattern is in sight.
    x = x + np.float32(pose.yaw * 0.06)
    _apply_pattern(materials, person.upper, Material.UPPER, Material.UPPER_ACCENT, x, y)
    _apply_pattern(materials, person.lower, Material.LOWER, Material.LOWER_ACCENT, x, y)
    if person.upper.seam:
        seam = ((y / person.upper.seam) % 1.0 < 0.22) & (materials == Material.UPPER)
        light = np.where(seam, light * 0.62, light)
    return materials, light


def _apply_pattern(
    materials: np.ndarray,
    garment: Garment,
    base: Material,
    accent: Material,
    x: np.ndarray,
    y: np.ndarray,
) -> None:
    """Sets the accent material where a garment's pattern has its accent, in place."""
    if garment.pattern.kind not in ("plain", "logo"):
        materials[(materials == base) & pattern_mask(garment.pattern, x, y)] = accent


class _Figure:
    """The canvas of one person, on which the methods draw the parts of the body."""

    def __init__(
        self, person: Person, pose: Pose, placement: Placement, rows: int, columns: int
    ) -> None:
        self.person, self.pose, self.placement = person, pose, placement
        self.materials = Image.new("L", (columns, rows), int(Material.NOTHING))
        self.light = Image.new("L", (columns, rows), _FULL_LIGHT)
        self._draw_material = ImageDraw.Draw(self.materials)
        self._draw_light = ImageDraw.Draw(self.light)
        self.cos, self.sin = float(np.cos(pose.yaw)), float(np.sin(pose.yaw))
        body = person.body
        self.hip = 1.0 - body.leg
        self.shoulder = body.head + 0.055
        self.depth = 0.115 * body.girth

    def draw(self) -> None:
        """Draws all parts, from the farthest to the nearest."""
        body, upper = self.person.body, self.person.upper
        left = 1.0 if self.sin > 0 else -1.0
        arm_x = body.shoulders / 2 - 0.006
        far, near = left, -left
        hides_arm = abs(self.sin) > 0.5
        back_to_us = self.cos < 0
        if not back_to_us:
            self._long_hair()
            self._backpack()
        if hides_arm:
            self._arm(far * arm_x, far)
        for side in (far, near):
            self._leg(side)
        self._skirt()
        self._torso()
        if not hides_arm:
            self._arm(far * arm_x, far)
        if upper.kind == "hoodie":
            self._ellipse(0.0, self.shoulder - 0.005, 0.062, 0.03, Material.UPPER, 0.85)
        self._head()
        if back_to_us:
            self._long_hair()
        self._arm(near * arm_x, near)
        if back_to_us:
            self._backpack()

    def _project(self, x: float, y: float, z: float) -> Point:
        """Returns the projection of a point (across, down, forward) of the body."""
        nearness = z * self.cos - x * self.sin
        return x * self.cos + z * self.sin, y + nearness * float(np.sin(self.pose.pitch))

    def _half_width(self, across: float, along: float) -> float:
        """Returns half the visible width of an elliptic section, `across` wide, `along` deep."""
        return 0.5 * float(np.hypot(across * self.cos, along * self.sin))

    def _polygon(self, points: Sequence[Point], material: Material, light: float) -> None:
        canvas = self.placement.to_canvas(points)
        self._draw_material.polygon(canvas, fill=int(material))
        self._draw_light.polygon(canvas, fill=round(_FULL_LIGHT * light))

    def _rounded(self, points: Sequence[Point], material: Material, light: float = 1.0) -> None:
        """Draws an upright shape in three widths, dark to light, so that it looks round."""
        middle = sum(x for x, _ in points) / len(points)
        for width, share in ((1.0, 0.66), (0.86, 0.84), (0.62, 1.0)):
            scaled = [(middle + (x - middle) * width, y) for x, y in points]
            self._polygon(scaled, material, light * share)

    def _limb(
        self,
        start: Point,
        end: Point,
        radii: tuple[float, float],
        material: Material,
        light: float = 1.0,
        *,
        cuff: bool = False,
    ) -> None:
        """Draws a tapered limb, darker at the sides, with round ends; a cuff ends straight."""
        dx, dy = end[0] - start[0], end[1] - start[1]
        length = max(1e-6, float(np.hypot(dx, dy)))
        across = (-dy / length, dx / length)
        for width, share in ((1.0, 0.66), (0.78, 0.86), (0.5, 1.0)):
            first, second = radii[0] * width, radii[1] * width
            self._polygon(
                [
                    (start[0] + across[0] * first, start[1] + across[1] * first),
                    (end[0] + across[0] * second, end[1] + across[1] * second),
                    (end[0] - across[0] * second, end[1] - across[1] * second),
                    (start[0] - across[0] * first, start[1] - across[1] * first),
                ],
                material,
                light * share,
            )
            self._ellipse(*start, first, first, material, light * share)
            if not cuff:
                self._ellipse(*end, second, second, material, light * share)

    def _ellipse(
        self, x: float, y: float, rx: float, ry: float, material: Material, light: float = 1.0
    ) -> None:
        # The roll is only a few degrees, so it moves the ellipse but does not turn its axes.
        ((cx, cy),) = self.placement.to_canvas([(x, y)])
        rx, ry = rx * self.placement.scale, ry * self.placement.scale
        box = (cx - rx, cy - ry, cx + rx, cy + ry)
        self._draw_material.ellipse(box, fill=int(material))
        self._draw_light.ellipse(box, fill=round(_FULL_LIGHT * light))

    def _clothed_limb(
        self,
        joints: tuple[Point, Point, Point],
        radii: tuple[float, float, float],
        cloth: Material,
        covered: float,
        ease: float,
        light: float,
    ) -> None:
        """Draws a bare limb, and cloth over the first part of it, the share `covered`."""
        for part in range(2):
            (x, y), end = joints[part : part + 2]
            first, second = radii[part : part + 2]
            self._limb((x, y), end, (first, second), Material.SKIN, light)
            share = min(1.0, covered * 2 - part)
            if share > 0:
                end = (x + (end[0] - x) * share, y + (end[1] - y) * share)
                cut = ease * (first + (second - first) * share)
                ends_here = covered * 2 <= part + 1
                self._limb((x, y), end, (ease * first, cut), cloth, light, cuff=ends_here)

    def _leg(self, side: float) -> None:
        body, lower, pose = self.person.body, self.person.lower, self.pose
        angle = pose.stride * float(np.sin(pose.phase)) * side
        # The knee bends most in the leg that swings forward. It never bends backwards.
        bend = pose.stride * max(0.1, 1.2 * float(np.cos(pose.phase)) * side)
        thigh, shin = body.leg * 0.5, body.leg * 0.46
        x = side * body.hips * 0.27
        knee_y, knee_z = self.hip + thigh * np.cos(angle), thigh * np.sin(angle)
        ankle_y = knee_y + shin * np.cos(angle - bend)
        ankle_z = knee_z + shin * np.sin(angle - bend)
        joints = (
            self._project(x, self.hip, 0.0),
            self._project(x, knee_y, knee_z),
            self._project(x, ankle_y, ankle_z),
        )
        light = 1.0 if side * self.sin <= 0 else 0.8
        girth = body.girth
        radii = (0.046 * girth, 0.032 * girth, 0.020 * girth)
        skirt = "skirt" in lower.kind
        covered = 0.0 if skirt else (lower.hem - self.hip) / body.leg
        toe = self._project(x, ankle_y + 0.025, ankle_z + 0.075)
        heel = (joints[2][0], joints[2][1] + 0.018)
        self._clothed_limb(joints, radii, Material.LOWER, covered, lower.ease, light)
        if self.person.boots:
            top = tuple(b + (a - b) * self.person.boots for a, b in zip(*joints[1:], strict=True))
            self._limb((top[0], top[1]), joints[2], (0.032, 0.027), Material.SHOES, light)
        self._limb(heel, toe, (0.024, 0.018), Material.SHOES, light)

    def _arm(self, x: float, side: float) -> None:
        body, upper, pose = self.person.body, self.person.upper, self.pose
        angle = -pose.swing * float(np.sin(pose.phase)) * side
        half = body.arm / 2
        out = side * 0.22
        elbow_y, elbow_z = self.shoulder + 0.02 + half * np.cos(angle), half * np.sin(angle)
        joints = (
            self._project(x, self.shoulder + 0.02, 0.0),
            self._project(x + out * half, elbow_y, elbow_z),
            self._project(
                x + out * half,
                elbow_y + half * np.cos(angle + pose.elbow),
                elbow_z + half * np.sin(angle + pose.elbow),
            ),
        )
        light = 0.95 if x * self.sin <= 0 else 0.75
        girth = body.girth**0.5
        radii = (0.025 * girth, 0.020 * girth, 0.015 * girth)
        ease = 1.0 + 0.6 * (upper.ease - 1.0)
        hand = (joints[2][0], joints[2][1] + 0.012)
        self._ellipse(*hand, 0.017, 0.023, Material.SKIN, light)
        self._clothed_limb(joints, radii, Material.UPPER, upper.sleeve, ease, light)
        bag = self.person.bag
        if bag.kind == "handbag" and side > 0:
            half_width = self._half_width(bag.size * 1.1, bag.size * 0.5)
            top = hand[1] + 0.05
            self._limb(hand, (hand[0], top), (0.005, 0.012), Material.BAG)
            self._box(hand[0], top, half_width, bag.size, Material.BAG)

    def _box(self, x: float, top: float, half_width: float, size: float, what: Material) -> None:
        corner = min(half_width, size) * 0.3
        left, right, low = x - half_width, x + half_width, top + size
        outline = [(left, top + corner), (left + corner, top), (right - corner, top)]
        outline += [(right, top + corner), (right, low), (left, low)]
        self._rounded(outline, what)
        self._polygon([(left, top + size * 0.45), (right, top + size * 0.45)], what, 0.6)

    def _backpack(self) -> None:
        bag, body = self.person.bag, self.person.body
        if bag.kind != "backpack":
            return
        thick = 0.09
        x, y = self._project(0.0, self.shoulder + 0.015, -(self.depth + thick) / 2)
        self._box(x, y, self._half_width(body.shoulders * 0.85, thick), bag.size, Material.BAG)

    def _skirt(self) -> None:
        lower, body = self.person.lower, self.person.body
        if "skirt" not in lower.kind:
            return
        top = self._half_width(body.hips * 1.1, self.depth * 1.2)
        flare = top + (lower.hem - self.hip) * (0.10 + 0.2 * (lower.ease - 1.0))
        flare += 0.3 * self.pose.stride * abs(self.sin) * (lower.hem - self.hip)
        self._rounded(
            [
                (-top, self.hip - 0.05),
                (top, self.hip - 0.05),
                (flare, lower.hem),
                (-flare, lower.hem),
            ],
            Material.LOWER,
        )

    def _torso(self) -> None:
        body, upper, bag = self.person.body, self.person.upper, self.person.bag
        loose = 1.0 + 0.35 * (upper.ease - 1.1)
        shoulder = self._half_width(body.shoulders + 0.02, self.depth)
        chest = self._half_width(body.shoulders * 0.92, self.depth * 1.15) * loose
        waist = self._half_width(body.hips * (0.72 + 0.25 * body.girth), self.depth) * loose
        hip = self._half_width(body.hips * 1.06, self.depth * 1.25) * loose
        rows: list[Point] = [
            (0.03, self.shoulder - 0.026),
            (shoulder * 0.8, self.shoulder - 0.01),
            (shoulder, self.shoulder + 0.015),
            (chest, self.shoulder + 0.07),
            (waist, self.hip - 0.09),
            (hip, self.hip),
        ]
        self._outline(rows[3:], Material.LOWER, 0.9)
        self._ellipse(0.0, self.shoulder - 0.025, 0.026, 0.045, Material.SKIN, 0.75)
        if upper.hem > self.hip:
            flare = 0.12 + 0.2 * self.pose.stride * abs(self.sin)
            rows.append((hip + flare * (upper.hem - self.hip), upper.hem))
        else:
            rows[-1] = (waist + (hip - waist) * (upper.hem - self.hip + 0.09) / 0.09, upper.hem)
        self._outline(rows, Material.UPPER, 1.0)
        if self.cos > 0.2:
            self._front(shoulder)
        if bag.kind == "shoulder bag":
            side = 1.0 if self.cos > 0 else -1.0
            strap = 0.6 * shoulder * side
            hip_x, hip_y = self._project(-body.hips / 2, self.hip - 0.03, 0.0)
            self._limb((strap, self.shoulder), (hip_x, hip_y), (0.007, 0.007), Material.BAG)
            half_width = self._half_width(bag.size * 0.4, bag.size)
            self._box(hip_x, hip_y, half_width, bag.size, Material.BAG)

    def _outline(self, rows: Sequence[Point], material: Material, light: float) -> None:
        """Draws a shape that is symmetric about the body's axis, from half-widths and heights."""
        self._rounded([*rows, *((-x, y) for x, y in reversed(rows))], material, light)

    def _front(self, shoulder: float) -> None:
        """Draws the opening, zip, logo and backpack straps, which only the front shows."""
        person = self.person
        top, hem, centre = self.shoulder - 0.01, person.upper.hem, self.sin * self.depth * 0.35
        if person.open_front:
            half = person.open_front * self.cos
            self._polygon(
                [
                    (centre - half * 0.6, top),
                    (centre + half * 0.6, top),
                    (centre + half, hem),
                    (centre - half, hem),
                ],
                Material.INNER,
                0.9,
            )
        elif person.upper.kind in ("jacket", "coat"):
            self._limb((centre, top), (centre, hem - 0.01), (0.003, 0.003), Material.UPPER, 0.6)
        pattern = person.upper.pattern
        if pattern.kind == "logo":
            half, tall = (0.02 + 0.035 * pattern.phases[0]) * self.cos, 0.02 + 0.35 * pattern.period
            x = centre + (pattern.phases[1] - 0.5) * 0.05 * self.cos
            middle = self.shoulder + 0.07 + 0.03 * pattern.phases[2]
            if pattern.duty < 0.45:
                box = [(x - half, middle - tall), (x + half, middle - tall)]
                box += [(x + half, middle + tall), (x - half, middle + tall)]
                self._polygon(box, Material.UPPER_ACCENT, 0.97)
            else:
                self._ellipse(x, middle, half, tall, Material.UPPER_ACCENT, 0.97)
        if person.bag.kind == "backpack":
            for side in (-1.0, 1.0):
                x = centre + side * shoulder * 0.5 * self.cos
                low = (x * 1.15, self.shoulder + 0.15)
                self._limb((x, self.shoulder - 0.005), low, (0.010, 0.009), Material.BAG)

    def _head(self) -> None:
        hair, body = self.person.hair, self.person.body
        half, y = body.head / 2, body.head * 0.52
        rx = half * 0.72
        forward = self.sin * 0.016
        grown = hair.volume if hair.style != "bald" else 0.0
        top = Material.SKIN if hair.style == "bald" else Material.HAIR
        if hair.style == "bun":
            self._ellipse(-self.sin * 0.05, -0.002, 0.024, 0.024, Material.HAIR, 0.9)
        self._ellipse(-forward, y - 0.004, rx + grown, half + grown * 0.6, top, 0.85)
        self._ellipse(-forward, y - 0.01, (rx + grown) * 0.6, half * 0.7, top, 1.05)
        if self.cos > -0.45:
            turned = 0.86 - 0.28 * abs(self.sin)
            x = self.sin * 0.022
            self._ellipse(x, y + half * 0.2, rx * turned, half * 0.78, Material.SKIN, 0.85)
            self._ellipse(x, y + half * 0.2, rx * turned * 0.7, half * 0.62, Material.SKIN, 1.0)
            eyes = y + half * 0.08
            self._polygon([(x - rx * 0.5, eyes), (x + rx * 0.5, eyes)], Material.SKIN, 0.62)
        if hair.hat is not None:
            wide = rx + 0.008
            self._rounded(
                [
                    (-wide, y - half * 0.15),
                    (-wide * 0.8, -0.012),
                    (wide * 0.8, -0.012),
                    (wide, y - half * 0.15),
                ],
                Material.HAT,
            )
            if self.cos > -0.45:
                peak = (self.sin * 0.065, y - half * 0.12)
                self._limb((0.0, peak[1]), peak, (0.012, 0.008), Material.HAT, 0.8)

    def _long_hair(self) -> None:
        hair, head = self.person.hair, self.person.body.head
        if hair.style not in ("bob", "long", "ponytail"):
            return
        back = -self.sin * 0.028
        if hair.style == "ponytail":
            root, tip = (back * 1.4, head * 0.4), (back * 2.2, head + 0.07)
            self._limb(root, tip, (0.018, 0.010), Material.HAIR)
            return
        wide, top = head * 0.36 + hair.volume, head * 0.4
        end = head + (0.012 if hair.style == "bob" else 0.10)
        self._rounded(
            [(back - wide, top), (back + wide, top), (back + wide, end), (back - wide, end)],
            Material.HAIR,
        )
