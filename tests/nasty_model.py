"""A model with all kinds of layers, and a batch for it.

Tests of it filter "ignore:LSTM with projections:UserWarning", which torch issues once.
"""

import warnings

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, prune, spectral_norm, weight_norm


class Nasty(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(11, 8, padding_idx=3)
        self.bag = nn.EmbeddingBag(11, 8)
        self.bilinear = nn.Bilinear(8, 8, 8)
        self.class_token = nn.Parameter(torch.zeros(1, 1, 8))
        self.conv1 = nn.Conv1d(8, 8, 3, padding=1, groups=2)
        self.conv2 = nn.Conv2d(1, 4, 3, padding=1)
        self.depthwise = nn.Conv2d(4, 4, 3, padding=1, groups=4)
        self.conv3 = nn.Conv3d(1, 2, 3, padding=1)
        self.up1 = nn.ConvTranspose1d(8, 8, 4, stride=2, padding=1, groups=2)
        self.up2 = nn.ConvTranspose2d(4, 1, 4, stride=2, padding=1)
        self.up3 = nn.ConvTranspose3d(2, 1, 2, stride=2)
        self.lstm = nn.LSTM(8, 8, 2, bidirectional=True, batch_first=True)
        self.projected = nn.LSTM(16, 9, proj_size=8, batch_first=True)
        self.gru = nn.GRU(8, 8, batch_first=True)
        self.rnn = nn.RNN(8, 8, batch_first=True, nonlinearity="relu")
        self.cell = nn.LSTMCell(8, 8)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True, add_bias_kv=True)
        self.cross = nn.MultiheadAttention(8, 2, batch_first=True, kdim=6, vdim=5)
        encoder = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, activation="gelu")
        self.encoder = nn.TransformerEncoder(encoder, 2, enable_nested_tensor=False)
        self.decoder = nn.TransformerDecoderLayer(8, 2, 16, batch_first=True)
        self.batch_norm = nn.BatchNorm1d(8)
        self.group_norm = nn.GroupNorm(2, 8)
        self.instance_norm = nn.InstanceNorm1d(8, affine=True)
        self.layer_norm = nn.LayerNorm(8)
        self.rms_norm = nn.RMSNorm(8)
        self.before_prelu = nn.Linear(8, 8)
        self.prelu = nn.PReLU(8)
        self.weight_norm = parametrizations.weight_norm(nn.Linear(8, 8))
        self.orthogonal = parametrizations.orthogonal(nn.Linear(8, 8))
        self.spectral = parametrizations.spectral_norm(nn.Linear(8, 8))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            self.old_weight_norm = weight_norm(nn.Linear(8, 8))
        self.old_spectral = spectral_norm(nn.Linear(8, 8))
        self.pruned = prune.l1_unstructured(nn.Linear(8, 8), "weight", amount=0.5)
        self.narrow = nn.Linear(8, 8, dtype=torch.bfloat16)
        self.bare = nn.Parameter(torch.randn(8, 6))
        self.experts = nn.Parameter(torch.randn(2, 6, 8))
        self.gated = nn.Linear(8, 16)
        self.frozen = nn.Linear(8, 8).requires_grad_(False)
        self.head = nn.Linear(8, 11, bias=False)
        self.head.weight = self.embedding.weight
        self.unused = nn.Linear(3, 3)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embedding(tokens) + self.bag(tokens)[:, None]
        x = self.bilinear(x, x)
        x = torch.cat([self.class_token.expand(len(x), -1, -1), x], 1)
        x = F.relu(self.conv1(x.mT)).mT
        flat = torch.tanh(self.up2(F.elu(self.depthwise(F.silu(self.conv2(x[:, None]))))))
        deep = self.up3(torch.sigmoid(self.conv3(x[:, None, None]))).relu()
        long = F.leaky_relu(self.up1(x.mT), 0.2)
        x = x + flat.mean() + deep.mean() + long.mean()
        x = self.rnn(self.gru(self.projected(self.lstm(x)[0])[0])[0])[0]
        x = x + self.cell(x[:, 0])[0][:, None]
        x = self.attention(x, x, x)[0]
        x = self.cross(x, x[..., :6], x[..., :5])[0]
        x = self.decoder(self.encoder(x), x)
        x = self.instance_norm(self.group_norm(self.batch_norm(x.mT))).mT
        x = self.prelu(self.before_prelu(self.rms_norm(self.layer_norm(x))).mT).mT
        x = F.selu(self.orthogonal(self.weight_norm(x).relu()).relu_())
        x = F.mish(self.old_spectral(F.celu(self.old_weight_norm(F.gelu(self.spectral(x))))))
        x = F.softplus(self.narrow(F.hardswish(self.pruned(x)).bfloat16()).float())
        x = torch.sin(x @ self.bare)
        x = torch.stack([F.relu6(x @ self.experts[i]) for i in range(2)]).sum(0)
        x = F.glu(self.gated(x))
        return self.head(F.tanhshrink(self.frozen(x)))


TOKENS = torch.tensor([[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]])
