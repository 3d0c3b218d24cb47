"""The builders' common part: features, writing an index as records, and both ways of reading."""

import abc
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds
import tree

from lupi_jax.data.decoding import decode
from lupi_jax.data.images import read_images
from lupi_jax.data.index import Index
from lupi_jax.errors import InputError
from lupi_jax.modality import Modality

if TYPE_CHECKING:
    import tensorflow as tf

_FORMAT = tfds.core.FileFormat.ARRAY_RECORD
_OF_FILES = (
    "add_tfds_id",
    "experimental_interleave_sort_fn",
    "interleave_block_length",
    "interleave_cycle_length",
    "num_parallel_calls_for_interleave_files",
    "override_buffer_size",
)
"""Fields of `tfds.ReadConfig` that have no meaning if records are read one by one, not by file."""


def decode_image(content: bytes) -> np.ndarray:
    """The pixels in the bytes of an image file, at its own size, uint8 [h, w, 3]."""
    return np.asarray(decode(content, "an image of this data set"))


class ImageFile(tfds.features.Image):
    """The bytes of an image file; `decode_image` decodes them, in NumPy and in TensorFlow."""

    def decode_example(self, example: "tf.Tensor") -> "tf.Tensor":
        """Decode a string to uint8 [h, w, 3] in a TensorFlow graph."""
        import tensorflow as tf

        image = tf.numpy_function(decode_image, [example], tf.uint8)
        return tf.ensure_shape(image, (None, None, 3))

    def decode_example_np(self, example: bytes) -> np.ndarray:
        """Decode bytes to uint8 [h, w, 3] without TensorFlow."""
        return decode_image(example)


class ReidBuilder(tfds.core.GeneratorBasedBuilder, abc.ABC, skip_registration=True):
    """A data set that a reader of `lupi_jax.data` indexes, stored as array_record."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar = {"1.0.0": "First release."}

    FOLDER: str  # the data set's directory below `manual_dir`
    PARTS: tuple[str, ...]  # directories; the data set has at least one of them
    DESCRIPTION: str
    HOMEPAGE: str | None = None
    CITATION: str | None = None

    def __init__(self, *, file_format: Any = None, **options: Any):
        super().__init__(file_format=file_format, **options)
        if file_format is None and not self.info.initialized:
            self.info.set_file_format(_FORMAT, override=True)

    @abc.abstractmethod
    def _read(self, root: Path) -> dict[str, Index]:
        """The index of every split of the data set at `root`."""

    def as_data_source(self, split: Any = None, *, decoders: Any = None, **options: Any) -> Any:
        """Random access to a split with `source[i]` and `len(source)`, without TensorFlow.

        It takes TFDS's arguments.

        Raises:
          InputError: the data set is not built, a split is empty, or `decoders` leaves out
            features, which TFDS supports only in `as_dataset`.
        """
        if not self.info.splits:
            raise InputError(
                f"{self.info.full_name} is not built in {self.data_dir_root}: build it with "
                f"`python -m lupi_jax.tfds {self.name}`"
            )
        if isinstance(decoders, tfds.decode.PartialDecoding):
            raise InputError(
                "PartialDecoding works only in as_dataset: to leave images encoded, use decoders = "
                "{'image': tfds.decode.SkipDecoding()}"
            )
        for part in tree.flatten(split):
            if part is not None and not self.info.splits[part].num_examples:
                raise InputError(f"split {part} of {self.info.full_name} has no images")
        open_source: Any = super().as_data_source  # TFDS's decorator hides its parameters
        return open_source(split=split, decoders=decoders, **options)

    def _info(self) -> tfds.core.DatasetInfo:
        features = tfds.features
        return tfds.core.DatasetInfo(
            builder=self,
            description=self.DESCRIPTION,
            homepage=self.HOMEPAGE,
            citation=self.CITATION,
            features=features.FeaturesDict(
                {
                    "image": ImageFile(doc="RGB pixels, at the file's own size"),
                    "identity": features.Scalar(np.int32, doc="the data set's own number"),
                    "camera": features.Scalar(np.int32, doc="number of the camera, -1 if unknown"),
                    "modality": features.ClassLabel(
                        names=[str(Modality.VISIBLE), str(Modality.INFRARED)]
                    ),
                    "path": features.Text(doc="path of the file, below the data set's directory"),
                }
            ),
            supervised_keys=("image", "identity"),
            disable_shuffling=True,  # example i is row i of the index
        )

    def _split_generators(
        self, dl_manager: tfds.download.DownloadManager
    ) -> dict[str, Iterator[tuple[int, dict[str, Any]]]]:
        splits = self._read(self._find(dl_manager))
        return {split: self._generate_examples(index) for split, index in splits.items()}

    def _generate_examples(self, index: Index) -> Iterator[tuple[int, dict[str, Any]]]:
        # The size does not matter: reading only finds, and names, files that cannot be decoded.
        for row, _ in enumerate(read_images(index, (1, 1))):
            yield (
                row,
                {
                    "image": os.fspath(index.root / index.paths[row]),
                    "identity": index.identities[row],
                    "camera": index.cameras[row],
                    "modality": str(index.modalities[row]),
                    "path": str(index.paths[row]),
                },
            )

    def _find(self, dl_manager: tfds.download.DownloadManager) -> Path:
        """The data set's directory, which is `manual_dir` or `FOLDER` below it."""
        try:
            manual_dir = Path(os.fspath(dl_manager.manual_dir))
        except AssertionError as error:  # TFDS's message has several lines
            raise InputError(" ".join(str(error).split())) from None
        for root in (manual_dir, manual_dir / self.FOLDER):
            if any((root / part).is_dir() for part in self.PARTS):
                return root
        parts = " or ".join(f"{part}/" for part in self.PARTS)
        what = f"no {parts} in {manual_dir} or {manual_dir / self.FOLDER}"
        raise InputError(f"{what}: {self.MANUAL_DOWNLOAD_INSTRUCTIONS}")

    def _as_dataset(
        self,
        split: Any,
        decoders: Any = None,
        read_config: Any = None,
        shuffle_files: bool = False,
    ) -> "tf.data.Dataset":
        """One split as a `tf.data.Dataset`, which TFDS itself cannot make from array_record.

        Raises:
          InputError: the split is empty, or `read_config` sets one of the fields `_OF_FILES`.
        """
        read_config = read_config or tfds.ReadConfig()
        if (read_config.file_format or self.info.file_format) != _FORMAT:
            return super()._as_dataset(split, decoders, read_config, shuffle_files)
        usual = tfds.ReadConfig()
        for field in _OF_FILES:
            if getattr(read_config, field) != getattr(usual, field):
                raise InputError(
                    f"read_config.{field} is for formats that are read file by file, not for "
                    f"{_FORMAT.value}: leave it out, or build with --file_format=tfrecord"
                )
        import tensorflow as tf

        features: Any = self.info.features
        if isinstance(decoders, tfds.decode.PartialDecoding):
            features, decoders = decoders.extract_features(features), decoders.decoders
        raw = tfds.decode.DeserializeMethod.RAW_BYTES
        source: Any = self.as_data_source(split, deserialize_method=raw, file_format=_FORMAT)

        def read(row: "tf.Tensor") -> dict[str, "tf.Tensor"]:
            record = tf.ensure_shape(tf.numpy_function(source.__getitem__, [row], tf.string), ())
            return features.deserialize_example(record, decoders=decoders)

        rows: Any = tf.data.Dataset.range(len(source))
        if read_config.input_context:
            context = read_config.input_context
            rows = rows.shard(context.num_input_pipelines, context.input_pipeline_id)
        if shuffle_files:
            anew = read_config.shuffle_reshuffle_each_iteration
            rows = rows.shuffle(len(source), read_config.shuffle_seed, anew)
        if read_config.repeat_filenames:
            rows = rows.repeat()
        images = rows.map(read, read_config.num_parallel_calls_for_decode)
        return images.with_options(read_config.options)

    def _should_cache_ds(self, split: Any, shuffle_files: bool, read_config: Any) -> bool:
        # A cache would repeat the first order for ever, or never be complete.
        if shuffle_files or read_config.repeat_filenames:
            return False
        return super()._should_cache_ds(split, shuffle_files, read_config)
