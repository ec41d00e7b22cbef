"""The peer of step.py: ALBEF's training step in plain PyTorch, at published size on the CPU.

    python benchmarks/step_torch.py --batch_size 8

ViT-B/16 at 256 px, BERT-base and 25 tokens from transformers' layers with random weights, float32:
the passes of the original code (Li et al. 2021), in its order, and AdamW. Seconds are the median of
the steps after the first. The last line is one JSON object.
"""

import argparse
import copy
import json
import resource
import statistics
import time

import torch
from torch import nn
from torch.nn import functional as F
from transformers import BertConfig, ViTConfig, ViTModel
from transformers.models.bert.modeling_bert import (
    BertEmbeddings,
    BertLayer,
    BertLMPredictionHead,
)

IMAGE_SIZE, TOKENS, WORDS, MASK_TOKEN = 256, 25, 30_522, 103
EMBED, QUEUE, DECAY, DISTILL, HIDDEN_SHARE = 256, 65_536, 0.995, 0.4, 0.15


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch_size", type=int, required=True)
    parser.add_argument("--steps", type=int, default=3, help="timed, after one that is not timed")
    flags = parser.parse_args()
    torch.manual_seed(0)
    albef = Albef()
    optimizer = torch.optim.AdamW(albef.online.parameters(), lr=1e-4, weight_decay=0.02, fused=True)
    seconds = []
    for _ in range(1 + flags.steps):
        batch = random_batch(flags.batch_size)
        start = time.perf_counter()
        loss = albef(*batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        seconds.append(time.perf_counter() - start)
    result = {
        "seconds_a_step": statistics.median(seconds[1:]),
        "peak_memory_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "threads": torch.get_num_threads(),
        "parameters": sum(p.numel() for p in albef.online.parameters()),
        "loss": loss.item(),
    }
    print(json.dumps(result))


def random_batch(rows):
    """Returns (images, ids, mask): noise, and captions of every length."""
    ends = torch.randint(TOKENS // 2, TOKENS + 1, (rows, 1))
    mask = torch.arange(TOKENS)[None] < ends
    ids = torch.randint(1_000, WORDS, (rows, TOKENS)) * mask
    return torch.randn(rows, 3, IMAGE_SIZE, IMAGE_SIZE), ids, mask


class Towers(nn.Module):
    """The parameters that have a momentum copy."""

    def __init__(self):
        super().__init__()
        self.image = ViTModel(ViTConfig(image_size=IMAGE_SIZE), add_pooling_layer=False)
        config = BertConfig(is_decoder=True, add_cross_attention=True, attn_implementation="sdpa")
        plain = BertConfig(attn_implementation="sdpa")
        self.embeddings = BertEmbeddings(plain)
        self.text_layers = nn.ModuleList(BertLayer(plain) for _ in range(6))
        self.fusion_layers = nn.ModuleList(BertLayer(config) for _ in range(6))
        self.word_head = BertLMPredictionHead(plain)
        self.word_head.decoder.weight = self.embeddings.word_embeddings.weight
        self.image_projection, self.text_projection = nn.Linear(768, EMBED), nn.Linear(768, EMBED)

    def encode_image(self, pixels):
        return self.image(pixels).last_hidden_state

    def encode_text(self, ids, mask):
        states = self.embeddings(ids)
        for layer in self.text_layers:
            states = layer(states, mask[:, None, None])
        return states

    def fuse(self, text, mask, image):
        for layer in self.fusion_layers:
            text = layer(text, mask[:, None, None], image)
        return text

    def project(self, image, text):
        image, text = self.image_projection(image[:, 0]), self.text_projection(text[:, 0])
        return F.normalize(image, dim=-1), F.normalize(text, dim=-1)

    def words(self, ids, mask, image):
        return self.word_head(self.fuse(self.encode_text(ids, mask), mask, image))


class Albef(nn.Module):
    """The loss, with its momentum encoder and queues."""

    def __init__(self):
        super().__init__()
        self.online = nn.ModuleDict({"towers": Towers(), "match": nn.Linear(768, 2)})
        self.online.temperature = nn.Parameter(torch.tensor(0.07))
        self.momentum = copy.deepcopy(self.online["towers"]).requires_grad_(False)
        self.queues = [F.normalize(torch.randn(QUEUE, EMBED), dim=-1) for _ in range(2)]
        self.position = 0

    def forward(self, pixels, ids, mask):
        towers, rows = self.online["towers"], len(ids)
        with torch.no_grad():
            for old, new in zip(self.momentum.parameters(), towers.parameters()):
                old.lerp_(new, 1 - DECAY)
            momentum_image = self.momentum.encode_image(pixels)
            momentum_z = self.momentum.project(momentum_image, self.momentum.encode_text(ids, mask))
        image, text = towers.encode_image(pixels), towers.encode_text(ids, mask)
        contrast, similarity = self.contrast(towers.project(image, text), momentum_z)
        matching = self.matching(image, text, mask, similarity)

        hidden = (torch.rand(ids.shape) < HIDDEN_SHARE) & mask
        shown = ids.masked_fill(hidden, MASK_TOKEN)
        with torch.no_grad():
            soft = self.momentum.words(shown, mask, momentum_image).softmax(-1)
        log_p = towers.words(shown, mask, image).log_softmax(-1)
        true = -log_p.gather(-1, ids[..., None])[..., 0]
        values = (1 - DISTILL) * true - DISTILL * (soft * log_p).sum(-1)
        for queue, new in zip(self.queues, momentum_z):
            queue[self.position : self.position + rows] = new
        self.position = (self.position + rows) % QUEUE
        return contrast + matching + (values * hidden).sum() / hidden.sum().clamp(min=1)

    def contrast(self, online_z, momentum_z):
        """Returns (the loss of both directions, similarities within the batch)."""
        losses, within, rows = [], [], len(online_z[0])
        for z, own, other, queue in zip(online_z, momentum_z, momentum_z[::-1], self.queues[::-1]):
            keys = torch.cat([other, queue])
            logits = z @ keys.T / self.online.temperature
            with torch.no_grad():
                soft = (own @ keys.T / self.online.temperature).softmax(-1)
                targets = DISTILL * soft + (1 - DISTILL) * torch.eye(rows, len(keys))
            losses.append(-(targets * logits.log_softmax(-1)).sum(-1).mean())
            within.append(logits[:, :rows].detach())
        return sum(losses) / 2, within

    def matching(self, image, text, mask, similarity):
        """Returns the loss over positives and one false partner of each image and each text."""
        own = torch.eye(len(text), dtype=torch.bool)
        wrong_text, wrong_image = (
            torch.multinomial(x.softmax(-1).masked_fill(own, 0) + 1e-9 * ~own, 1)[:, 0]
            for x in similarity
        )
        towers = self.online["towers"]
        positive = towers.fuse(text, mask, image)
        negative = towers.fuse(
            torch.cat([text[wrong_text], text]),
            torch.cat([mask[wrong_text], mask]),
            torch.cat([image, image[wrong_image]]),
        )
        logits = self.online["match"](torch.cat([positive, negative])[:, 0])
        labels = torch.zeros(len(logits), dtype=torch.long)
        labels[: len(text)] = 1
        return F.cross_entropy(logits, labels)


if __name__ == "__main__":
    main()
