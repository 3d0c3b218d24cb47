"""The settings of the views and the losses.

Nothing here imports JAX, so that `--help` is quick.
"""

from dataclasses import dataclass
from typing import Literal

from lupi_jax.declared import FRACTION, NOT_NEGATIVE, PART_OR_EMPTY, Options, Rule, Settings, field

_FREQUENCIES = Rule(
    lambda five: min(five) >= 0 and sum(five) > 0,
    "must not be negative, and one of them must be positive",
)


@dataclass(frozen=True)
class ViewSettings(Settings):
    """How training views are made."""

    pad: int = field(10, "Black pixels added on every side before the random crop.", NOT_NEGATIVE)
    flip: float = field(0.5, "Probability of a horizontal flip.", FRACTION)
    erase: float = field(
        0.5, "Probability of erasing a rectangle (Zhong et al., AAAI 2020).", FRACTION
    )
    erase_area: tuple[float, float] = field(
        (0.02, 0.4),
        "Smallest and largest share of the image to erase.",
        Rule(lambda share: 0 <= share[0] <= share[1] <= 1, "must be 0 <= low <= high <= 1"),
    )
    erase_aspect: float = field(
        0.3,
        "Smallest ratio of height to width of the erased rectangle. The largest is its inverse. "
        "The ratio is drawn uniformly between the two, as in the released code.",
        Rule(lambda ratio: 0 < ratio <= 1, "must lie in (0, 1]"),
    )
    erase_fill: Literal["zero", "mean", "released"] = field(
        "zero",
        'Value of erased pixels. "zero" is black. "mean" is the ImageNet mean, which is 0 after '
        'normalisation. "released" is (.4914, .4822, .4465) after normalisation, as in the '
        "released code.",
    )
    intermediate: Literal["random_channel", "luma", "channel_exchange", "adaptive"] | str = field(
        "random_channel",
        'Kind of intermediate images. "random_channel" is Eq. 4, "luma" is the fixed grey of the '
        'paper\'s ablation, "channel_exchange" is CAJ\'s (`exchange_intermediate`), "adaptive" is '
        "a mix that training learns. A function of "
        'your own makes them as the guide "Views" describes.',
    )
    intermediate_settings: Options = field(
        Options(),
        "Settings of your own function for `intermediate`, each as "
        "`views.intermediate_settings.NAME`.",
    )
    adaptive_context: bool = field(
        True,
        'Whether the mix of "adaptive" depends on the mean and deviation of the image\'s channels '
        "as well as on the pixel's colour.",
    )
    adaptive_share: float = field(
        1.0,
        'Share of the learnt mix in an image for "adaptive". The rest is the random mix of Eq. 4.',
        FRACTION,
    )
    adaptive_ramp: int = field(
        0,
        "Steps over which the share of the learnt mix grows from 0 to `adaptive_share`.",
        NOT_NEGATIVE,
    )
    quantize_intermediate: bool = field(
        False,
        "Whether to truncate intermediate images to whole grey levels, as the released code does. "
        'Not for "adaptive", whose gradient would end there.',
    )
    share_crop_and_flip: bool = field(
        False,
        "Whether an intermediate image gets the crop and flip of its visible image, so that the "
        "two match pixel by pixel. The erased rectangles differ either way.",
    )
    exchange_visible: tuple[float, float, float, float, float] = field(
        (0.0, 0.0, 0.0, 0.0, 1.0),
        "Relative frequencies of what happens to the channels of a visible view (CAJ: Ye et al., "
        "ICCV 2021): all become its red, its green, its blue or its grey, or they stay as they "
        "are. This is the last step, after erasing.",
        _FREQUENCIES,
    )
    exchange_infrared: tuple[float, float, float, float, float] = field(
        (0.0, 0.0, 0.0, 0.0, 1.0),
        "The same for an infrared view. CAJ's code has (2, 2, 2, 1, 1). The channels of infrared "
        "differ only in how they are normalised and erased.",
        _FREQUENCIES,
    )
    exchange_intermediate: tuple[float, float, float, float, float] = field(
        (1.0, 1.0, 1.0, 0.0, 0.0),
        "The same for the visible image that becomes an intermediate one, for `intermediate` = "
        '"channel_exchange". It happens before normalisation.',
        _FREQUENCIES,
    )
    extra: str = field(
        "",
        "Your own view, MODULE:NAME, a function that changes each view before normalisation. "
        'The guide "Views" describes it.',
        PART_OR_EMPTY,
    )
    extra_settings: Options = field(
        Options(), "Settings of your own view, each as `views.extra_settings.NAME`."
    )


@dataclass(frozen=True)
class LossSettings(Settings):
    """Terms and weights of the total loss. The defaults are the paper's."""

    margin: float = field(0.3, "Margin of the triplet losses.", NOT_NEGATIVE)
    triplet: Literal["sum", "mean", "weighted_regularized", "none"] = field(
        "sum",
        'Triplet loss. "sum" (paper) and "mean" (released code) combine the three triplets of '
        "Eq. 5; with one or two modalities they are the same. "
        '"weighted_regularized" is AGW\'s loss over the rows of all modalities. "none" leaves the '
        "triplet loss out.",
    )
    direct_weight: float = field(
        0.0,
        "Weight of the triplet loss between visible and infrared images alone, in addition to "
        "`triplet`. In the ring of Eq. 5 no infrared anchor has a visible positive.",
        NOT_NEGATIVE,
    )
    color_free: Literal["paper", "released", "none"] = field(
        "paper",
        'Colour-free loss. "paper" is Eq. 6, "released" is the mean squared error, "none" leaves '
        'it out. If not set, it is "none" for `modalities` without visible or intermediate.',
    )
    color_free_weight: float = field(
        10.0, "Weight of the colour-free loss, lambda of Eq. 7.", NOT_NEGATIVE
    )
    color_free_threshold: float = field(
        0.5, "Distance above which Eq. 6 minimises the distance itself.", NOT_NEGATIVE
    )
    color_free_alpha: float = field(0.5, "Weight of the divergence in Eq. 6.", NOT_NEGATIVE)
    color_free_norm: Literal["l2", "l1_mean"] = field(
        "l2", 'Norm of Eq. 6. "l2" is Euclidean, "l1_mean" the mean absolute difference.'
    )
    color_free_stop: Literal["none", "visible", "intermediate"] = field(
        "none",
        "Side of the colour-free loss that gets no gradient from it.",
    )
    modality: Literal["none", "mmd", "adversarial"] = field(
        "none",
        'Loss that draws learnt intermediate images ("adaptive") towards infrared. It compares '
        'what the infrared stem makes of them: "mmd" by the squared maximum mean discrepancy, '
        '"adversarial" by a discriminator whose gradient is reversed. Only the generator gets the '
        "gradient.",
    )
    modality_weight: float = field(1.0, "Weight of that loss.", NOT_NEGATIVE)
    extra: str = field(
        "",
        "Your own loss, MODULE:NAME, whose terms are added to the total. The guide "
        '"Extend" describes it.',
        PART_OR_EMPTY,
    )
    extra_weight: float = field(1.0, "Factor of all terms of your own loss.", NOT_NEGATIVE)
    extra_settings: Options = field(
        Options(), "Settings of your own loss, each as `loss.extra_settings.NAME`."
    )
