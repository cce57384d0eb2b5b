"""A ResNet for small tasks: torchvision's basic blocks, one a stage, at half the usual width, a smaller stem."""

from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock

_WIDTH = 32  # channels of the first stage; each further one has twice as many
_STAGES = 4


class NarrowResNet(nn.Module):
    """resnet10-w32: 1.2 million weights; keys as torchvision names them, so `fc` is the classifier.

    Args:
        num_classes: outputs of `fc`.
        weights: None; here so that it is built as torchvision's are.
        zero_init_residual: each block begins as the identity.
    """

    def __init__(self, num_classes: int, weights: None = None, zero_init_residual: bool = False) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, _WIDTH, 3, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(_WIDTH)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.stages = nn.ModuleList()
        inside = _WIDTH
        for stage in range(_STAGES):
            outside = _WIDTH << stage
            self.stages.append(_block(inside, outside, stride=1 if stage == 0 else 2))
            inside = outside
        self.fc = nn.Linear(inside, num_classes)
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


def _block(inside: int, outside: int, stride: int) -> BasicBlock:
    if inside == outside and stride == 1:
        return BasicBlock(inside, outside)
    shortcut = nn.Sequential(nn.Conv2d(inside, outside, 1, stride=stride, bias=False), nn.BatchNorm2d(outside))
    return BasicBlock(inside, outside, stride, shortcut)
