"""A ResNet for small tasks: torchvision's basic blocks, one a stage, at half the usual width, a smaller stem."""

from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock

_WIDTH = 32  # channels of the first stage; each further one has twice as many
_STAGES = 4


class NarrowResNet(nn.Module):
    """resnet10-w32: 1.2 million weights; keys as in torchvision, so `fc` is the classifier.

    Args:
        num_classes: outputs of `fc`.
        weights: None; gives it the signature of torchvision's networks.
        zero_init_residual: each block begins as the identity.
    """

    def __init__(self, num_classes: int, weights: None = None, zero_init_residual: bool = False) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, _WIDTH, 3, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(_WIDTH)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.stages = nn.ModuleList()
        in_channels = _WIDTH
        for stage in range(_STAGES):
            out_channels = _WIDTH << stage
            self.stages.append(_block(in_channels, out_channels, stride=1 if stage == 0 else 2))
            in_channels = out_channels
        self.fc = nn.Linear(in_channels, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(module, BasicBlock) and zero_init_residual:
                nn.init.zeros_(module.bn2.weight)

    def forward(self, pictures: Tensor) -> Tensor:
        """float [B, 3, H, W] -> [B, num_classes]."""
        values = self.maxpool(self.bn1(self.conv1(pictures)).relu())
        for stage in self.stages:
            values = stage(values)  # [B, 32 << stage, H / (4 << stage), W / (4 << stage)]
        return self.fc(values.mean((2, 3)))


def _block(in_channels: int, out_channels: int, stride: int) -> BasicBlock:
    if in_channels == out_channels and stride == 1:
        return BasicBlock(in_channels, out_channels)
    shortcut = nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=False), nn.BatchNorm2d(out_channels)
    )
    return BasicBlock(in_channels, out_channels, stride, shortcut)
