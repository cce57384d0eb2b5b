"""Options of the model and of its training. Imports nothing heavy, for planning reads them too."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

# Numbers of a clip's context, what is known before it is looked at (pipeline.dataset.context), and their part's name.
CONTEXT_NUMBERS = ("followers", "likes_a_video", "videos", "record", "earlier_clips", "age", "duration")
CONTEXT = "context"
SKELETON_NETWORKS = ("psgcn", "st_gcn", "st_gcn_plus")
SEQUENCE_NETWORKS = ("rtcn", "lstm", "mean_mlp")

EPOCHS = 9
# The skeleton's network learns little in fewer. 267 clips have as many in EPOCHS.
SKELETON_STEPS = 150

# Options that no encoder depends on: the joint model's.
_NOT_OF_ENCODERS = frozenset({"modalities", "statistics", "pretrained", "ensemble", "context"})
_SKELETON_ONLY = frozenset(
    {"frames", "min_joint_score", "samplings", "rotation", "scale", "jitter", "crop", "mirror", "pose_network",
     "pyramid", "refine", "joint_channels", "part_channels", "body_channels", "refined_channels", "blocks",
     "pose_rate"}
)  # fmt: skip
_SEQUENCES_ONLY = frozenset(
    {"sequence_network", "width", "dilations", "relations_after", "dropout", "max_frames", "scene_frames",
     "learning_rate"}
)  # fmt: skip


@dataclass(frozen=True)
class VdvConfig:
    """Sizes and training are chosen for a few hundred clips, on simulated worlds of their own (docs/model.md)."""

    modalities: tuple[str, ...] = (
        "pose",
        "appearance",
        "face",
        "scene",
        "audio",
        "synchrony",
    )  # to train on, where the dataset has them

    # Skeleton input
    frames: int = 48  # T sampled from a clip
    min_joint_score: float = 0.3  # below it a joint counts as not seen (mmpose's threshold for drawing)
    samplings: int = 3  # deterministic samplings of a clip that scoring averages
    rotation: float = 0.1  # rad; augmentation, as the next four
    scale: float = 0.1
    jitter: float = 0.01  # trunk lengths
    crop: float = 0.05  # of the clip's length, at each end
    mirror: float = 0.5  # probability

    # Networks; others than the default are for comparison
    ensemble: int = 3  # of a modality, each trained without another part of the clips; of many clips 2
    pretrained: bool = True  # a PSGCN that knows simulated dancers' skill beside the one trained on labels
    pose_network: str = "psgcn"  # or st_gcn, st_gcn_plus: as many parameters, a flat graph of joints
    sequence_network: str = "rtcn"  # or lstm, mean_mlp, of `width`; a plain TCN is rtcn with relations_after=()
    attention_pool: bool = True  # of psgcn and rtcn; False: the plain mean

    # PSGCN
    pyramid: bool = True  # False: joints only, as deep, as many parameters
    refine: bool = True  # from coarse to fine; False: each level is scored by its features of the way up
    joint_channels: int = 24
    part_channels: int = 36
    body_channels: int = 48
    refined_channels: int = 24
    blocks: int = 1  # a level

    # RTCN
    width: int = 64
    dilations: tuple[int, ...] = (1, 2, 4, 8, 16)
    relations_after: tuple[int, ...] = (2, 4)  # layers, counted from 1, that a non-local relation follows
    dropout: float = 0.5
    max_frames: int = 300  # of appearance and face; more are thinned evenly
    scene_frames: int = 8  # a scene hardly changes

    # Joint model
    statistics: bool = True  # reads statistics of each modality, too; False: the networks' scores alone, as the paper
    context: bool = False  # adds the creator's reach and record, age and length to the score, beside the content

    # Loss
    tau: float = 0.05  # percentile; closer pairs are no pairs of RankNet
    huber_weight: float = 0.5
    level_weight: float = 1.0

    # Training
    epochs: int | None = None  # None: as epochs_of chooses
    # A larger challenge is dealt into random parts of about this size every epoch. Networks need steps rather than
    # clips: in batches of 64, PSGCN learns next to nothing of 256 clips in as many epochs.
    batch_clips: int = 16
    learning_rate: float = 5e-4  # of appearance, face, scene: at 2e-3 they memorise 200 clips
    pose_rate: float = 4e-3  # of the skeleton's network: at 5e-4 it learns next to nothing of 400 clips
    weight_decay: float = 0.05
    clip_norm: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.ensemble < 1:
            raise ValueError(f"ensemble {self.ensemble} must be at least 1: a modality has a network")
        choices = {"pose_network": SKELETON_NETWORKS, "sequence_network": SEQUENCE_NETWORKS}
        for option, known in choices.items():
            if getattr(self, option) not in known:
                raise ValueError(f"{option} {getattr(self, option)!r} is none of {', '.join(known)}")
        if self.pose_network != "psgcn" and not (self.pyramid and self.refine):
            raise ValueError(f"pyramid and refine are psgcn's: with {self.pose_network} they can't be switched off")

    @classmethod
    def from_dict(cls, values: Mapping) -> "VdvConfig":
        """The inverse of dataclasses.asdict, also after a trip through JSON (lists become tuples).

        Raises:
            ValueError: a name that is no option.
        """
        unknown = set(values) - {field.name for field in fields(cls)}
        if unknown:
            raise ValueError(f"VdvConfig has no option {sorted(unknown)}")
        typed: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}
        return cls(**typed)

    def epochs_of(self, batches: int, is_skeleton: bool) -> int:
        """Passes over a modality's training clips: `epochs`, or as many as so many batches ask for."""
        if self.epochs is not None:
            return self.epochs
        return max(EPOCHS, math.ceil(SKELETON_STEPS / max(batches, 1))) if is_skeleton else EPOCHS

    def rate(self, is_skeleton: bool) -> float:
        """Learning rate of a modality's network."""
        return self.pose_rate if is_skeleton else self.learning_rate

    def of_encoder(self, is_skeleton: bool) -> dict[str, Any]:
        """Options that a modality's encoder depends on."""
        idle = _NOT_OF_ENCODERS | (_SEQUENCES_ONLY if is_skeleton else _SKELETON_ONLY)
        return {name: value for name, value in asdict(self).items() if name not in idle}
