"""Script of a clip: who dances what, how well, where, and how the clip is filmed, in plain values."""

from dataclasses import dataclass, field

import numpy as np

# Names are those of Places365.
SCENES = ("bedroom", "kitchen", "gymnasium/indoor", "corridor", "stage/indoor", "street", "park", "beach")
DANCES = ("arms_up", "side_step", "wave", "squat_drop", "cross_arms", "kick", "spin_hands", "hip_sway")
# Each hides one modality: pose, face, scene, appearance.
HIDING_EFFECTS = ("close_up", "covered_face", "blurred_place", "colourless")
LIMBS = ("left_arm", "right_arm", "left_leg", "right_leg", "trunk")
# Music of the challenge; the same under a voice; music that nobody danced to; digital silence; no audio stream.
SOUND_KINDS = ("music", "voice_over", "other_track", "silent", "none")
MUSICAL = ("music", "voice_over", "other_track")
IN_TIME = ("music", "voice_over")  # the dancers hear what the clip's viewers hear

Rgb = tuple[int, int, int]  # 0..255


@dataclass(frozen=True)
class Skill:
    """Quality of a performance, 0..1 each, 1 best. Visible in the motion and in nothing else."""

    timing: float  # limbs on the beat, together
    amplitude: float  # movements at full size
    sharpness: float  # fast between poses, still in them
    balance: float  # trunk steady, feet planted

    @property
    def overall(self) -> float:
        """Mean of the four: the term of the likes."""
        return (self.timing + self.amplitude + self.sharpness + self.balance) / 4


@dataclass(frozen=True)
class Fault:
    """One planted mistake, to check the feedback against."""

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
    """Appearance of one person's head."""

    skin: Rgb
    hair: Rgb
    eyes: Rgb
    hair_style: int  # 0 cropped, 1 bob, 2 long, 3 bun, 4 ponytail
    width: float  # face shape: 1 ordinary
    jaw: float
    brow: float  # thickness, 1 ordinary
    nose: float
    lips: float


@dataclass(frozen=True)
class Outfit:
    """Clothes; the higher `look`, the more vivid and contrasting."""

    look: float  # 0..1, the term of the likes
    top: Rgb
    bottom: Rgb
    shoes: Rgb
    accent: Rgb  # stripes, dots
    pattern: int  # 0 plain, 1 stripes, 2 dots
    sleeves: float  # share of the arm covered, 0..1
    legs: float  # share of the leg covered, 0..1


@dataclass(frozen=True)
class Motion:
    """One person's dance at T moments."""

    points: np.ndarray  # float64 [T, len(JOINTS), 3] metres, world axes; perform() dances at the origin
    head: np.ndarray  # float64 [T, 3, 3] columns: the head's left, up and forward in world axes


@dataclass(frozen=True)
class Light:
    """Lighting of a scene."""

    direction: np.ndarray  # float64 [3] unit vector from the dancer towards the main light, world axes
    ambient: float  # 0..1, share of the light that comes from everywhere
    colour: tuple[float, float, float]  # RGB factors about 1
    shadow: float  # 0..1, how dark the shadow on the floor is


@dataclass(frozen=True)
class Person:
    """One dancer of a clip."""

    creator: int  # number of the person in the world: body and face follow from it
    body: Body
    face: Face
    outfit: Outfit
    skill: Skill
    expression: float  # 0..1: from a blank face to a broad smile with wide eyes; the term of the likes
    x_m: float  # where the person stands
    z_m: float
    turn: float  # rad about the vertical: 0 faces the camera's +z, positive towards the dancer's left (+x)
    seed: int  # of the random parts of the performance
    faults: tuple[Fault, ...] = ()


@dataclass(frozen=True)
class Shot:
    """Part of a clip between two cuts, filmed from one place."""

    start_s: float
    distance_m: float  # camera to the origin
    height_m: float  # of the camera above the floor
    offset_m: float  # camera to the right of the origin
    shake: float  # 0 tripod .. 1 handheld while walking
    seed: int
    lowest_m: float = 0.0  # height of the picture's lower edge at the dancer; 0: the feet are in the picture


@dataclass(frozen=True)
class Phone:
    """Recording and encoding of a clip."""

    width: int  # px of the upright picture
    height: int
    fps: float
    variable_rate: bool  # frames at uneven times, some missing
    rotation: int  # degrees counter-clockwise that the stored picture is turned by, undone by metadata; 0, 90, 180, 270
    codec: str  # h264 or hevc
    crf: int  # quality of the encoder; higher is worse
    caption: str  # text over the picture; "" none
    damage: str = ""  # "" none; "truncated", "no_video" or "empty"


@dataclass(frozen=True)
class SoundScript:
    """Sound of a clip: what is heard, when, and how it is encoded. Music's beats are those of its track."""

    kind: str = "none"  # of SOUND_KINDS
    track: str = ""  # name of the music's track; "" no music
    start_beat: float = 0.0  # of the track, at the first frame, were there no lag
    speed: float = 1.0  # of the track as heard, factor; its pitch follows
    lag_s: float = 0.0  # constant delay of the dance behind the music; below 0 the dance is early
    gain_db: float = 0.0  # above 0 the loudest parts are clipped
    room: float = 0.0  # share of a room's sound, as filmed from a loudspeaker; 0: the app laid the music under the film
    start_offset_s: float = 0.0  # where the audio stream starts on the clip's clock
    end_offset_s: float = 0.0  # the stream's end after that of the pictures; below 0 it is shorter
    codec: str = "aac"  # or opus
    rate: int = 44_100  # Hz
    channels: int = 2
    bitrate: int = 128_000
    seed: int = 0  # of voice and room


@dataclass(frozen=True)
class ClipScript:
    """Everything that determines one clip."""

    clip_id: str
    dance: str  # of DANCES; the clip's challenge
    scene: str  # of SCENES
    scene_seed: int
    duration_s: float
    people: tuple[Person, ...]  # lead first
    shots: tuple[Shot, ...]  # by start_s, the first at 0
    phone: Phone
    sound: SoundScript = field(default_factory=SoundScript)
    likes: dict[str, float] = field(default_factory=dict)  # terms of log(likes + 1), by name
    hidden: tuple[str, ...] = ()  # of HIDING_EFFECTS
