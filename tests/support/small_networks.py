"""Small PSGCNs and RTCNs whose every part has a say, as tests of the encoders need them."""

import torch

from models.virality.masked import MaskedBatchNorm
from models.virality.psgcn import JointNorm, Psgcn
from models.virality.rtcn import Rtcn


def psgcn(trained: bool = True) -> Psgcn:
    """For streams of 17 joints in two coordinates, in eval mode."""
    torch.manual_seed(0)
    net = Psgcn((16, 16, 24), 16, 1)
    if trained:  # past its neutral start: statistics and attention that would show a leak
        for module in net.modules():
            if isinstance(module, MaskedBatchNorm):
                assert module.running_mean is not None
                module.running_mean.normal_()
                module.bias.data.normal_()
            if isinstance(module, JointNorm):
                module.mean.normal_()
                module.bias.data.normal_()
        wake(net)
    return net.eval()


def rtcn(width: int = 10) -> Rtcn:
    """For sequences of `width` features, in eval mode."""
    torch.manual_seed(0)
    net = Rtcn(width, width=16)
    wake(net)
    return net.eval()


def wake(net: torch.nn.Module) -> None:
    """Gives what starts at zero, and so would hide a leak, random values."""
    for parameter in net.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.5)
