"""Uploads of a world and their likes, drawn from a seed; no picture is rendered here.

The likes follow a stated rule, so that the best possible prediction is known:

    log(likes + 1) = base + challenge + followers_weight * log(followers + 1) + age_weight * log(age_days + 1)
                     + sum over skill, look, expression, scene, synchrony of weight * (value - 1/2)
                     + creator + noise

`skill` is the mean of four components (script.Skill), `look` the outfit's, `expression` the face's, `scene` a fixed
value a scene, `synchrony` that of the dance's lag behind the music (music.timing.synchrony_value), with weight 0 unless
the world says otherwise. The creator's effect and the noise are normal and visible nowhere.
"""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import numpy as np

from pipeline.core.errors import DataError
from simulation.dancers.body import draw_body
from simulation.dancers.looks import draw_face, draw_outfit
from simulation.dancers.performance import draw_skill
from simulation.filming.phone_look import draw_phone
from simulation.filming.shots import close_up, draw_shots
from simulation.music.timing import synchrony_value
from simulation.music.uploads import draw_sound
from simulation.script import DANCES, HIDING_EFFECTS, SCENES, Body, ClipScript, Face, Person, Skill

WORLD_VERSION = 3  # raised when the same options give another world
CONTENT = ("skill", "look", "expression", "scene", "synchrony")  # terms of the likes that a clip shows

# A scene's value, in the order of SCENES, evenly over 0..1: indoors and outdoors, bright and dark are mixed.
SCENE_VALUES = (0 / 7, 5 / 7, 2 / 7, 7 / 7, 4 / 7, 1 / 7, 6 / 7, 3 / 7)

_FIRST_UPLOAD = datetime(2024, 1, 1, tzinfo=UTC)
_DAYS = 180
_SKILL_WITHIN = 0.1  # standard deviation of a skill component between the clips of one creator
# Random streams: each part of the world has its own, so that a clip does not change when another is added.
_CREATOR, _CLIP, _LIKES, _DAMAGE, _HIDDEN, _SOUND = range(6)


@dataclass(frozen=True)
class LikesOptions:
    """Weights and spreads of the terms of log(likes + 1)."""

    base: float = 1.0
    challenge: float = 0.3  # standard deviation between challenges
    followers: float = 0.8  # a logarithm of followers
    age: float = 0.2  # a logarithm of days
    skill: float = 2.0  # from value 0 to value 1, as the next three
    look: float = 1.3
    expression: float = 1.3
    scene: float = 1.2
    synchrony: float = 0.0  # from value 0 to value 1
    creator: float = 0.2  # standard deviation
    noise: float = 0.35  # standard deviation


@dataclass(frozen=True)
class WorldOptions:
    """All that determines a world. Raises DataError: no such world is possible."""

    seed: int = 0
    clips: int = 256
    creators: int = 96  # each has a few clips, in any challenge
    challenges: int = len(DANCES)  # so many of DANCES, from the first
    seconds: tuple[float, float] = (6.0, 10.0)  # shortest and longest clip
    broken: float = 0.02  # share of the clips whose file is damaged
    hidden: float = 0.0  # share of the clips to which each of HIDING_EFFECTS is applied, independently
    lag: float = 0.4  # share of the clips whose dance is clearly behind its music, or ahead of it
    likes: LikesOptions = field(default_factory=LikesOptions)

    def __post_init__(self) -> None:
        if self.clips < 1 or not 1 <= self.challenges <= len(DANCES) or not 1 <= self.creators <= self.clips:
            raise DataError(
                f"a world of {self.clips} clips by {self.creators} creators in {self.challenges} challenges cannot be: "
                f"clips must be at least 1, creators 1 to clips, challenges 1 to {len(DANCES)}"
            )
        low, high = self.seconds
        if not 0.5 <= low <= high <= 60 or not all(0 <= s <= 1 for s in (self.broken, self.hidden, self.lag)):
            raise DataError(
                f"clips of {low} to {high} s, {self.broken:.0%} of them broken, {self.lag:.0%} out of time, a modality"
                f" hidden in {self.hidden:.0%}, cannot be: clips last 0.5 to 60 s, the shorter first, and broken, lag"
                " and hidden are shares, 0 to 1"
            )


DEMO_WORLD = WorldOptions(clips=96, creators=36, seconds=(6.0, 8.0))  # data_manifest/demo


@dataclass(frozen=True)
class Upload:
    """A clip and its row of the manifest."""

    script: ClipScript
    creator_id: str
    followers: int
    uploaded_at: datetime
    likes: int

    @property
    def uri(self) -> str:
        """Path of the file, relative to the world's folder."""
        return f"clips/{self.script.clip_id}.mp4"


@dataclass(frozen=True)
class _Creator:
    body: Body
    face: Face
    skill: Skill
    followers: int
    effect: float
    scenes: tuple[str, str]  # favourite places


def make_world(options: WorldOptions) -> tuple[Upload, ...]:
    """All uploads of a world, in the order of the manifest."""
    return tuple(_upload(options, index, creator) for index, creator in enumerate(_assign_creators(options)))


def expected_log_likes(upload: Upload) -> float:
    """log(likes + 1) without the unknowable terms: the creator's effect and the noise."""
    return sum(value for name, value in upload.script.likes.items() if name not in ("creator", "noise"))


def content_log_likes(upload: Upload) -> float:
    """Part of log(likes + 1) that the clip shows."""
    return sum(upload.script.likes[name] for name in CONTENT)


def _assign_creators(options: WorldOptions) -> list[int]:
    """The creator of each clip: everyone has at least one, and some have more than others."""
    rng = np.random.default_rng((options.seed, _DAMAGE, 1))
    share = rng.dirichlet(np.full(options.creators, 2.0))
    extra = rng.choice(options.creators, options.clips - options.creators, p=share)
    return rng.permutation(np.concatenate((np.arange(options.creators), extra))).tolist()


def _creator(options: WorldOptions, number: int) -> _Creator:
    rng = np.random.default_rng((options.seed, _CREATOR, number))
    first, second = rng.choice(len(SCENES), 2, replace=False)
    return _Creator(
        body=draw_body(rng),
        face=draw_face(rng),
        skill=draw_skill(rng),
        followers=int(np.exp(rng.normal(5.5, 1.3))),
        effect=float(rng.normal(0, options.likes.creator)),
        scenes=(SCENES[first], SCENES[second]),
    )


def _upload(options: WorldOptions, index: int, number: int) -> Upload:
    creator = _creator(options, number)
    rng = np.random.default_rng((options.seed, _CLIP, index))
    duration_s = float(rng.uniform(*options.seconds))
    phone = replace(draw_phone(rng), damage=_damage(options, index))
    chance = rng.random()
    scene = creator.scenes[0] if chance < 0.35 else creator.scenes[1] if chance < 0.6 else str(rng.choice(SCENES))
    dance = DANCES[index % options.challenges]
    script = ClipScript(
        clip_id=f"w{options.seed}-{index:04d}",
        dance=dance,
        scene=scene,
        scene_seed=int(rng.integers(1 << 31)),
        duration_s=round(duration_s, 2),
        people=_people(options, number, creator, rng),
        shots=draw_shots(rng, duration_s, phone.width, phone.height),
        phone=phone,
        hidden=_hiding_effects(options, index),
    )
    sound_rng = np.random.default_rng((options.seed, _SOUND, index))
    script = replace(script, sound=draw_sound(sound_rng, dance, script.people[0], options.lag))
    if "close_up" in script.hidden:
        script = replace(script, shots=tuple(close_up(shot, phone.width, phone.height) for shot in script.shots))
    uploaded_at = _FIRST_UPLOAD + timedelta(seconds=int(rng.integers(_DAYS * 86400)))
    terms = _likes(options, index, script, creator, uploaded_at)
    likes = max(0, round(float(np.expm1(sum(terms.values())))))
    return Upload(replace(script, likes=terms), f"u{number:03d}", creator.followers, uploaded_at, likes)


def _people(options: WorldOptions, number: int, creator: _Creator, rng: np.random.Generator) -> tuple[Person, ...]:
    """The lead in front, and in some clips one or two friends behind."""
    lead = Person(
        creator=number,
        body=creator.body,
        face=creator.face,
        outfit=draw_outfit(float(rng.random()), rng),
        skill=_varied(creator.skill, rng),
        expression=float(rng.random()),
        x_m=float(rng.uniform(-0.15, 0.15)),
        z_m=0.0,
        turn=float(rng.normal(0, 0.06)),
        seed=int(rng.integers(1 << 31)),
    )
    friends = int(rng.choice(3, p=(0.7, 0.22, 0.08)))
    side = rng.choice((-1.0, 1.0))
    people = [lead]
    for position in range(friends):
        number = options.creators + int(rng.integers(1 << 20))  # nobody who uploads in this world
        friend = _creator(options, number)
        people.append(
            Person(
                creator=number,
                body=friend.body,
                face=friend.face,
                outfit=draw_outfit(float(rng.random()), rng),
                skill=friend.skill,
                expression=float(rng.random()),
                x_m=float(side * (-1) ** position * rng.uniform(0.6, 0.85)),
                z_m=float(rng.uniform(-1.1, -0.75)),
                turn=float(rng.normal(0, 0.1)),
                seed=int(rng.integers(1 << 31)),
            )
        )
    return tuple(people)


def _varied(skill: Skill, rng: np.random.Generator) -> Skill:
    """A creator's skill in one clip."""
    parts = (skill.timing, skill.amplitude, skill.sharpness, skill.balance)
    return Skill(*(float(np.clip(part + rng.normal(0, _SKILL_WITHIN), 0, 1)) for part in parts))


def _likes(
    options: WorldOptions, index: int, script: ClipScript, creator: _Creator, uploaded_at: datetime
) -> dict[str, float]:
    """Terms of log(likes + 1), by name."""
    weights = options.likes
    rng = np.random.default_rng((options.seed, _LIKES, index))
    challenge_rng = np.random.default_rng((options.seed, _LIKES, 1 << 20, DANCES.index(script.dance)))
    lead = script.people[0]
    age_days = _DAYS - (uploaded_at - _FIRST_UPLOAD).total_seconds() / 86400
    return {
        "base": weights.base,
        "challenge": float(challenge_rng.normal(0, weights.challenge)),
        "followers": weights.followers * float(np.log1p(creator.followers)),
        "age": weights.age * float(np.log1p(age_days)),
        "skill": weights.skill * (lead.skill.overall - 0.5),
        "look": weights.look * (lead.outfit.look - 0.5),
        "expression": weights.expression * (lead.expression - 0.5),
        "scene": weights.scene * (SCENE_VALUES[SCENES.index(script.scene)] - 0.5),
        "synchrony": weights.synchrony * (synchrony_value(script) - 0.5),
        "creator": creator.effect,
        "noise": float(rng.normal(0, weights.noise)),
    }


def _hiding_effects(options: WorldOptions, index: int) -> tuple[str, ...]:
    """Effects that hide modalities of a clip; a larger share keeps those of a smaller one and adds more."""
    draws = np.random.default_rng((options.seed, _HIDDEN, index)).random(len(HIDING_EFFECTS))
    return tuple(name for name, draw in zip(HIDING_EFFECTS, draws, strict=True) if draw < options.hidden)


def _damage(options: WorldOptions, index: int) -> str:
    """Damage of a clip's file, the kinds in turn; "" for most."""
    count = round(options.broken * options.clips)
    broken = np.random.default_rng((options.seed, _DAMAGE, 0)).permutation(options.clips)[:count].tolist()
    return ("truncated", "no_video", "empty")[broken.index(index) % 3] if index in broken else ""
