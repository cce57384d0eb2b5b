"""What a clip is made of: who dances what, how well, where, and how it was filmed. Plain values; drawing reads them."""

from dataclasses import dataclass, field

import numpy as np

# Names are those of Places365.
SCENES = ("bedroom", "kitchen", "gymnasium/indoor", "corridor", "stage/indoor", "street", "park", "beach")
DANCES = ("arms_up", "side_step", "wave", "squat_drop", "cross_arms", "kick", "spin_hands", "hip_sway")
# What people do to a clip that hides one of its modalities: the skeleton, the face, the scene, the look (appearance).
HIDDEN = ("close_up", "covered_face", "blurred_place", "colourless")
LIMBS = ("left_arm", "right_arm", "left_leg", "right_leg", "trunk")


@dataclass(frozen=True)
class Skill:
    """How a dance is performed, 0..1 each, 1 best. Seen in the motion and in nothing else."""

    timing: float  # limbs on the beat, together
    amplitude: float  # movements at full size
    sharpness: float  # fast between poses, still in them
    balance: float  # trunk steady, feet planted

    @property
    def overall(self) -> float:
        """The term of the likes: the mean."""
        return (self.timing + self.amplitude + self.sharpness + self.balance) / 4


@dataclass(frozen=True)
class Fault:
    """One planted mistake, for checking what feedback says."""

    kind: str  # "late", "small" or "unsteady"
    limb: str  # of LIMBS; unsteady: trunk
    start_s: float
    end_s: float
    size: float  # late: seconds; small: share of the movement that is missing, 0..1; unsteady: metres of sway


@dataclass(frozen=True)
class Body:
    """Proportions of one person."""

    height_m: float
    shoulder_width: float  # metres between the shoulder joints
    hip_width: float
    arm_length: float  # metres, shoulder to wrist
    leg_length: float  # metres, hip to ankle
    girth: float  # 1 ordinary; scales the thickness of limbs and trunk
    head_size: float  # 1 ordinary


@dataclass(frozen=True)
class Face:
    """How one person's head looks; colours RGB 0..255."""

    skin: tuple[int, int, int]
    hair: tuple[int, int, int]
    eyes: tuple[int, int, int]
    hair_style: int  # 0 cropped, 1 bob, 2 long, 3 bun, 4 ponytail
    width: float  # face shape: 1 ordinary
    jaw: float
    brow: float  # thickness, 1 ordinary
    nose: float
    lips: float


@dataclass(frozen=True)
class Outfit:
    """Clothes, made from `look`: the higher, the more vivid and contrasting."""

    look: float  # 0..1, the term of the likes
    top: tuple[int, int, int]
    bottom: tuple[int, int, int]
    shoes: tuple[int, int, int]
    accent: tuple[int, int, int]  # stripes, dots
    pattern: int  # 0 plain, 1 stripes, 2 dots
    sleeves: float  # share of the arm covered, 0..1
    legs: float  # share of the leg covered, 0..1


@dataclass(frozen=True)
class Motion:
    """One person's dance, at T moments."""

    points: np.ndarray  # float64 [T, len(JOINTS), 3] metres, world axes, dancing at the origin
    head: np.ndarray  # float64 [T, 3, 3] columns: the head's left, up and forward in world axes


@dataclass(frozen=True)
class Light:
    """How a scene is lit."""

    direction: np.ndarray  # float64 [3] unit vector from the dancer towards the main light, world axes
    ambient: float  # 0..1, share of the light that comes from everywhere
    colour: tuple[float, float, float]  # RGB factors about 1
    shadow: float  # 0..1, how dark the shadow on the floor is


@dataclass(frozen=True)
class Person:
    """Somebody in a clip; the lead is the first."""

    creator: int  # number of the person in the world: body and face follow from it
    body: Body
    face: Face
    outfit: Outfit
    skill: Skill
    expression: float  # 0..1: from a blank face to a broad smile with wide eyes; the term of the likes
    x_m: float  # where the person stands
    z_m: float
    turn: float  # rad about the vertical: 0 faces the camera's +z, positive towards the dancer's left (+x)
    seed: int  # of what is random in the performance
    faults: tuple[Fault, ...] = ()


@dataclass(frozen=True)
class Shot:
    """A stretch of the clip between two cuts, filmed from one place."""

    start_s: float
    distance_m: float  # camera to the origin
    height_m: float  # of the camera above the floor
    offset_m: float  # camera to the right of the origin
    shake: float  # 0 tripod .. 1 handheld while walking
    seed: int
    lowest_m: float = 0.0  # height above the floor of the lowest thing that the picture has room for; 0: the feet


@dataclass(frozen=True)
class Phone:
    """How the clip was recorded and posted."""

    width: int  # px of the upright picture
    height: int
    fps: float
    variable_rate: bool  # frames at uneven times, some missing
    rotation: int  # degrees counter-clockwise that the stored picture is turned by, undone by metadata; 0, 90, 180, 270
    codec: str  # h264 or hevc
    crf: int  # quality of the encoder; higher is worse
    caption: str  # text over the picture; "" none
    damage: str = ""  # "": sound; "truncated", "no_video", "empty": the file is broken so


@dataclass(frozen=True)
class ClipScript:
    """One upload, whole."""

    clip_id: str
    dance: str  # of DANCES; the clip's challenge
    scene: str  # of SCENES
    scene_seed: int
    duration_s: float
    people: tuple[Person, ...]  # lead first
    shots: tuple[Shot, ...]  # by start_s, the first at 0
    phone: Phone
    likes: dict[str, float] = field(default_factory=dict)  # every term, by name
    hidden: tuple[str, ...] = ()  # of HIDDEN
