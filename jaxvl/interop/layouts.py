"""The tables: which parameter of ours is which tensor of theirs, one function a layout.

They stand here and not in the models' files, because a model has several layouts (Hugging Face,
open_clip, the paper's own) and parts of models share tables: a BERT alone is half of ALBEF.
`sizes` is config.model.
"""

from jaxvl.interop.names import (
    DENSE,
    JOINED_DENSE,
    KERNEL,
    NORM,
    ONE,
    PATCH_DENSE,
    PATCHES,
    ROW,
    SAME,
    SCALAR,
    TABLE,
    TOKEN,
    TRANSPOSED,
    Layout,
    rules,
)

BERT_SELF = (
    (
        "attention/qkv",
        ("attention.self.query", "attention.self.key", "attention.self.value"),
        JOINED_DENSE,
    ),
    ("attention/out", "attention.output.dense", DENSE),
    ("attention_norm", "attention.output.LayerNorm", NORM),
    ("mlp/up", "intermediate.dense", DENSE),
    ("mlp/down", "output.dense", DENSE),
    ("mlp_norm", "output.LayerNorm", NORM),
)
BERT_CROSS = (
    ("cross_attention/query", "crossattention.self.query", DENSE),
    ("cross_attention/key_kernel", "crossattention.self.key.weight", TRANSPOSED),
    ("cross_attention/key_bias", "crossattention.self.key.bias", SAME),
    ("cross_attention/value_kernel", "crossattention.self.value.weight", TRANSPOSED),
    ("cross_attention/value_bias", "crossattention.self.value.bias", SAME),
    ("cross_attention/out", "crossattention.output.dense", DENSE),
    ("cross_norm", "crossattention.output.LayerNorm", NORM),
)
BERT_EMBEDDING = (
    ("word", "word_embeddings", TABLE),
    ("position", "position_embeddings", TABLE),
    ("token_type", "token_type_embeddings", TABLE),
    ("norm", "LayerNorm", NORM),
)
BERT_WORD_HEAD = (
    ("transform", "transform.dense", DENSE),
    ("norm", "transform.LayerNorm", NORM),
    ("bias", "bias", SAME),
)
ROBERTA_WORD_HEAD = (
    ("transform", "dense", DENSE),
    ("norm", "layer_norm", NORM),
    ("bias", "bias", SAME),
)
TIMM_BLOCK = (  # the ViT of ALBEF's own code
    ("attention/qkv", "attn.qkv", DENSE),
    ("attention/out", "attn.proj", DENSE),
    ("attention_norm", "norm1", NORM),
    ("mlp/up", "mlp.fc1", DENSE),
    ("mlp/down", "mlp.fc2", DENSE),
    ("mlp_norm", "norm2", NORM),
)
VIT_BLOCK = (
    (
        "attention/qkv",
        tuple(f"attention.attention.{n}" for n in ("query", "key", "value")),
        JOINED_DENSE,
    ),
    ("attention/out", "attention.output.dense", DENSE),
    ("attention_norm", "layernorm_before", NORM),
    ("mlp/up", "intermediate.dense", DENSE),
    ("mlp/down", "output.dense", DENSE),
    ("mlp_norm", "layernorm_after", NORM),
)
CLIP_BLOCK = (
    ("attention/qkv", tuple(f"self_attn.{n}_proj" for n in "qkv"), JOINED_DENSE),
    ("attention/out", "self_attn.out_proj", DENSE),
    ("attention_norm", "layer_norm1", NORM),
    ("mlp/up", "mlp.fc1", DENSE),
    ("mlp/down", "mlp.fc2", DENSE),
    ("mlp_norm", "layer_norm2", NORM),
)
OPEN_CLIP_BLOCK = (
    ("attention/qkv/kernel", "attn.in_proj_weight", TRANSPOSED),
    ("attention/qkv/bias", "attn.in_proj_bias", SAME),
    ("attention/out", "attn.out_proj", DENSE),
    ("attention_norm", "ln_1", NORM),
    ("mlp/up", "mlp.c_fc", DENSE),
    ("mlp/down", "mlp.c_proj", DENSE),
    ("mlp_norm", "ln_2", NORM),
)


def albef(sizes, *, bert="bert."):
    """ALBEF's own checkpoints; downstream ones have bert = ""."""
    return Layout(
        rules=(
            *_albef_towers(sizes, bert=bert, twin=""),
            *rules((("match_head", "itm_head", DENSE), ("temperature", "temp", SCALAR))),
        ),
        copies=_albef_copies(twin=""),
        writes_copies=True,
        ignored=(r"^text_encoder(_m)?\.(bert\.)?embeddings\.position_ids$",),
    )


def albef_slots(sizes, *, bert="bert."):
    """The training state in ALBEF's own checkpoints: `twins` and `queue` of a method's slots.

    The queue's image ids have no counterpart there.
    """
    queue = (
        ("queue/image", "image_queue", TRANSPOSED),
        ("queue/text", "text_queue", TRANSPOSED),
        ("queue/position", "queue_ptr", ONE),
    )
    towers = _albef_towers(sizes, bert=bert, twin="_m")
    twins = tuple(rule._replace(ours=f"twins/{rule.ours}") for rule in towers)
    return Layout((*twins, *rules(queue)), copies=_albef_copies(twin="_m"), writes_copies=True)


def _albef_towers(sizes, *, bert, twin):
    image, text = f"visual_encoder{twin}.", f"text_encoder{twin}.{bert}"
    image_embedding = (
        ("class_token", "cls_token", SAME),
        ("positions", "pos_embed", SAME),
        ("projection", "patch_embed.proj", PATCH_DENSE),
    )
    heads = (
        ("image_projection", f"vision_proj{twin}", DENSE),
        ("text_projection", f"text_proj{twin}", DENSE),
    )
    fusion = {
        "ours": "fusion/layers/",
        "theirs": f"{text}encoder.layer.{{}}.",
        "first": sizes.text.layers,
    }
    return (
        *rules(image_embedding, ours="image/embedding/", theirs=image),
        *rules(TIMM_BLOCK, ours="image/layers/", theirs=f"{image}blocks.{{}}.", first=0),
        *rules((("image/norm", "norm", NORM),), theirs=image),
        *_bert_text(text),
        *rules(BERT_SELF, **fusion),
        *rules(BERT_CROSS, **fusion),
        *rules(BERT_WORD_HEAD, ours="word_head/", theirs=f"text_encoder{twin}.cls.predictions."),
        *rules(heads),
    )


def _albef_copies(*, twin):
    decoder = f"text_encoder{twin}.cls.predictions.decoder"
    return (
        (f"{decoder}.weight", f"text_encoder{twin}.bert.embeddings.word_embeddings.weight"),
        (f"{decoder}.bias", f"text_encoder{twin}.cls.predictions.bias"),
    )


def _bert_text(prefix):
    return (
        *rules(BERT_EMBEDDING, ours="text/embedding/", theirs=f"{prefix}embeddings."),
        *rules(BERT_SELF, ours="text/layers/", theirs=f"{prefix}encoder.layer.{{}}.", first=0),
    )


def bert_in_albef(sizes, *, prefix, layers):
    """A BERT of `layers` layers as ALBEF's text: its first layers read, its last ones fuse.

    prefix: of its tensors, "bert." where it has a head for masked words.
    """
    return Layout(
        rules=(
            *_bert_text(prefix),
            *rules(
                BERT_SELF,
                ours="fusion/layers/",
                theirs=f"{prefix}encoder.layer.{{}}.",
                first=layers - sizes.text.fusion_layers,
            ),
            *rules(BERT_WORD_HEAD, ours="word_head/", theirs="cls.predictions."),
        ),
        copies=_bert_copies("cls.predictions.decoder", "cls.predictions.bias", prefix),
        ignored=(r"embeddings\.position_ids$",),
    )


def masked_lm(kind, *, prefix):
    """BertForMaskedLM or BertModel (kind "bert") and RobertaForMaskedLM (kind "roberta")."""
    head, table = {
        "bert": ("cls.predictions.", BERT_WORD_HEAD),
        "roberta": ("lm_head.", ROBERTA_WORD_HEAD),
    }[kind]
    return Layout(
        rules=(*_bert_text(prefix), *rules(table, ours="word_head/", theirs=head)),
        copies=_bert_copies(f"{head}decoder", f"{head}bias", prefix),
        ignored=(r"embeddings\.position_ids$",),
    )


def _bert_copies(decoder, bias, prefix):
    words = f"{prefix}embeddings.word_embeddings.weight"
    return ((f"{decoder}.weight", words), (f"{decoder}.bias", bias))


def vit(*, prefix):
    """ViTModel and DeiTModel; prefix "vit." or "deit." where they have a head."""
    embedding = (
        ("class_token", "cls_token", SAME),
        ("positions", "position_embeddings", SAME),
        ("projection", "patch_embeddings.projection", PATCH_DENSE),
    )
    layers = f"{prefix}encoder.layer.{{}}."
    return Layout(
        rules=(
            *rules(embedding, ours="image/embedding/", theirs=f"{prefix}embeddings."),
            *rules(VIT_BLOCK, ours="image/layers/", theirs=layers, first=0),
            *rules((("image/norm", "layernorm", NORM),), theirs=prefix),
        )
    )


def clip():
    """CLIPModel of Hugging Face."""
    image, text = "vision_model.", "text_model."
    image_embedding = (
        ("class_token", "class_embedding", TOKEN),
        ("positions", "position_embedding.weight", ROW),
        ("projection/kernel", "patch_embedding.weight", PATCHES),
    )
    text_embedding = (
        ("word", "token_embedding", TABLE),
        ("positions", "position_embedding", TABLE),
    )
    others = (
        ("image/pre_norm", "vision_model.pre_layrnorm", NORM),  # spelt so
        ("image/norm", "vision_model.post_layernorm", NORM),
        ("text/norm", "text_model.final_layer_norm", NORM),
        ("image_projection", "visual_projection", KERNEL),
        ("text_projection", "text_projection", KERNEL),
        ("logit_scale", "logit_scale", SCALAR),
    )
    return Layout(
        rules=(
            *rules(image_embedding, ours="image/embedding/", theirs=f"{image}embeddings."),
            *rules(
                CLIP_BLOCK, ours="image/layers/", theirs=f"{image}encoder.layers.{{}}.", first=0
            ),
            *rules(text_embedding, ours="text/embedding/", theirs=f"{text}embeddings."),
            *rules(CLIP_BLOCK, ours="text/layers/", theirs=f"{text}encoder.layers.{{}}.", first=0),
            *rules(others),
        ),
        ignored=(r"embeddings\.position_ids$",),
    )


def open_clip():
    """open_clip's state dicts, and OpenAI's, whose names open_clip took over."""
    image_embedding = (
        ("class_token", "class_embedding", TOKEN),
        ("positions", "positional_embedding", ROW),
        ("projection/kernel", "conv1.weight", PATCHES),
    )
    others = (
        ("image/pre_norm", "visual.ln_pre", NORM),
        ("image/norm", "visual.ln_post", NORM),
        ("text/embedding/word", "token_embedding", TABLE),
        ("text/embedding/positions", "positional_embedding", SAME),
        ("text/norm", "ln_final", NORM),
        ("image_projection/kernel", "visual.proj", SAME),  # [in, out], as ours
        ("text_projection/kernel", "text_projection", SAME),
        ("logit_scale", "logit_scale", SCALAR),
    )
    return Layout(
        rules=(
            *rules(image_embedding, ours="image/embedding/", theirs="visual."),
            *rules(
                OPEN_CLIP_BLOCK,
                ours="image/layers/",
                theirs="visual.transformer.resblocks.{}.",
                first=0,
            ),
            *rules(
                OPEN_CLIP_BLOCK, ours="text/layers/", theirs="transformer.resblocks.{}.", first=0
            ),
            *rules(others),
        ),
        ignored=(r"^(input_resolution|context_length|vocab_size|attn_mask)$",),
    )


LAYOUTS = {  # by model.name and format, for writing; a function of config.model
    "albef": {"albef": albef},
    "clip": {
        "hf": lambda sizes: clip(),
        "open_clip": lambda sizes: open_clip(),
        "openai": lambda sizes: open_clip(),
    },
}
