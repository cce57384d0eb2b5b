"""Train the network of poses on simulated dancers' skill and write it to be bundled (models/virality/pretrained.py).

    python -m simulation.training.motion_training            # about ten minutes on one core

Key points are simulated, nothing is rendered. The network ranks the dancers of one dance by their skill, as it is to
rank clips later, and estimates what the skill is made of, so that its embedding holds that, too. Scored on worlds of
seeds that training never saw, by Spearman with the skill within a dance.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from scipy.stats import rankdata, spearmanr
from torch import Tensor, nn

from models.virality.config import VdvConfig
from models.virality.inputs import pad
from models.virality.masked import Encoded
from models.virality.pose_sampling import LeadPose, sample_pose
from models.virality.pretrained import MOTION_WEIGHTS
from models.virality.skeleton import normalise
from models.virality.vdv import encode, pose_network
from pipeline.training.optimisation import loss_of, parameter_groups, reset_norm_statistics
from simulation.filming.keypoints import film_keypoints
from simulation.training.train_networks import HELD_OUT_SEEDS, TRAINING_SEEDS, write_card, write_weights
from simulation.world import WorldOptions, make_world

CLIPS, HELD_OUT, EPOCHS = 3072, 512, 10
RATE, BATCH = 3e-3, 16
FRAMES_PER_S = 10.0
_ESTIMATED = ("timing", "amplitude", "sharpness", "balance")  # parts of the skill
_ESTIMATES_SPREAD = 3.0  # of the percentiles that are estimated


class Dances:
    """Poses of simulated dancers and their skills, as percentiles within the dance."""

    def __init__(self, seed: int, clips: int):
        rng = np.random.default_rng(seed)
        options = WorldOptions(seed=seed, clips=clips, creators=-(-clips * 3 // 8), broken=0.0)
        self.poses: list[LeadPose] = []
        dances, skills = [], []
        for upload in make_world(options):
            script = upload.script
            seconds = np.arange(0, script.duration_s, 1 / FRAMES_PER_S)
            keypoints = film_keypoints(script, seconds, rng)
            posture = normalise(keypoints, np.ones(len(seconds), bool), seconds, VdvConfig().min_joint_score)
            self.poses.append(LeadPose(posture, torch.tensor(0.9)))
            skill = script.people[0].skill
            dances.append(script.dance)
            skills.append([skill.overall, *(getattr(skill, name) for name in _ESTIMATED)])
        self.dance = np.unique(dances, return_inverse=True)[1]
        percentile = np.empty((len(skills), len(skills[0])))
        for dance in np.unique(self.dance):
            rows = self.dance == dance
            percentile[rows] = (rankdata(np.array(skills)[rows], axis=0) - 0.5) / rows.sum()
        self.percentile = percentile

    def encoded(self, network: nn.Module, rows: np.ndarray, rng: np.random.Generator | None) -> Encoded:
        """Output for these clips; rng: of the augmentation, None: sampled as for scoring."""
        return encode(network, pad([sample_pose(self.poses[row], VdvConfig(), rng) for row in rows]))


def train(dances: Dances, epochs: int, seed: int = 0) -> nn.Module:
    """The trained network, in eval mode."""
    torch.manual_seed(seed)
    rng, config = np.random.default_rng(seed), VdvConfig()
    network = pose_network(config)
    estimates = nn.Linear(int(network.embedding_size), len(_ESTIMATED))  # type: ignore[arg-type]
    batches = -(-len(dances.poses) // BATCH)
    groups = parameter_groups(network, config.weight_decay) + parameter_groups(estimates, config.weight_decay)
    optimiser = torch.optim.AdamW(groups, RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=epochs * batches)
    for epoch in range(epochs):
        for rows in np.array_split(rng.permutation(len(dances.poses)), batches):
            encoded = dances.encoded(network, rows, rng)
            loss = _loss(encoded, estimates(encoded.embedding), dances, rows, config)
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), config.clip_norm)
            optimiser.step()
            schedule.step()
        print(f"epoch {epoch + 1} of {epochs}: loss {float(loss.detach()):.3f}", flush=True)
    reset_norm_statistics(network)
    with torch.no_grad():
        for rows in np.array_split(rng.permutation(len(dances.poses)), batches):
            dances.encoded(network, rows, rng)
    return network.eval()


def _loss(encoded: Encoded, estimates: Tensor, dances: Dances, rows: np.ndarray, config: VdvConfig) -> Tensor:
    percentile = torch.from_numpy(dances.percentile[rows]).float()
    dance, counted = torch.from_numpy(dances.dance[rows]), torch.ones(len(rows), dtype=torch.bool)
    ranked = loss_of(encoded.score, encoded.levels, percentile[:, 0], dance, counted, config)
    wanted = _ESTIMATES_SPREAD * (percentile[:, 1:] - 0.5)
    return ranked + nn.functional.mse_loss(estimates, wanted)


@torch.inference_mode()
def spearman_with_skill(network: nn.Module, dances: Dances) -> float:
    """Spearman of the score with the skill within a dance, mean of the dances."""
    score = dances.encoded(network, np.arange(len(dances.poses)), None).score.numpy()
    skill = dances.percentile[:, 0]
    by_dance = [
        spearmanr(score[dances.dance == dance], skill[dances.dance == dance]).statistic
        for dance in np.unique(dances.dance)
    ]
    return float(np.mean(by_dance))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=CLIPS)
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--output", type=Path, default=MOTION_WEIGHTS)
    options = parser.parse_args()
    start = time.perf_counter()
    network = train(Dances(TRAINING_SEEDS[0], options.clips), options.epochs)
    found = spearman_with_skill(network, Dances(HELD_OUT_SEEDS[0], HELD_OUT))
    minutes = (time.perf_counter() - start) / 60
    # Matrices in float16; statistics and counts need more.
    matrices = {name for name, parameter in network.named_parameters() if parameter.ndim > 1}
    state = {
        name: (value.half() if name in matrices else value).contiguous() for name, value in network.state_dict().items()
    }
    notes = {
        "trained on": f"key points of {options.clips} simulated clips, {options.epochs} epochs",
        "score": f"Spearman with the dancers' skill within a dance {found:.3f} on {HELD_OUT} clips",
        "took": f"{minutes:.0f} minutes on {torch.get_num_threads()} threads of a CPU",
        "finished": "yes",
    }
    write_weights(options.output, state, notes)
    write_card(options.output.parent)
    print(notes)


if __name__ == "__main__":
    main()
