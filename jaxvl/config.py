"""Every configuration key with its default and its meaning; experiment files override.

Library code reads keys and never has a default of its own; `jaxvl.validate` checks the values.
"""

from ml_collections import ConfigDict


def base():
    """Returns the ConfigDict of all keys, with the papers' values where they give one."""
    return ConfigDict(
        dict(
            seed=0,  # parameters, data order and every random draw follow from it
            method="softmask",  # a key of jaxvl.methods.METHODS
            total_steps=33_000,
            batch_size=512,  # over all devices and processes
            data=_data(),
            model=_model(),
            momentum=_momentum(),
            loss=_loss(),
            softmask=_softmask(),
            ahnpl=_ahnpl(),
            optim=_optim(),
            mesh=dict(data=-1, fsdp=1),  # devices along each axis; -1 takes what is left
            checkpoint=_checkpoint(),
            log=_log(),
            eval=_eval(),
            evals=_evals(),
        )
    )


def _data():
    return dict(
        dir="",  # a prepared data set, or the data_dir of a TFDS builder
        name="",  # TFDS builder ("coco_captions"); empty: `dir` was made by `jaxvl prepare`
        split="train",
        mixture=(),  # ((dir, weight), ...) of prepared data sets; replaces `dir` for training
        image_size=256,
        eval_crop="none",  # or "center", as CLIP's authors: only the square in the middle
        crop_scale=(0.2, 1.0),  # share of the picture's area that a random crop keeps
        flip_probability=0.5,  # 0 where captions say left and right
        rand_augment_operations=2,
        rand_augment_magnitude=7,  # of 10
        rand_augment_probability=0.5,  # of each operation
        color_jitter=(0.4, 0.4, 0.4, 0.1),  # brightness, contrast, saturation, hue
        color_jitter_probability=0.0,
        greyscale_probability=0.0,
        blur_sigma=(0.1, 2.0),  # pixels
        blur_probability=0.0,
        tokenizer="",  # name, folder or tokenizer.json; empty: the one stored with the data set
        max_words=30,
        max_tokens=25,  # with [CLS]
        add_sep=False,  # end with [SEP]: the original ALBEF does not, CLIP must
        token_lengths=(),  # CLIP: texts are cut to the first of these that holds them (a batch)
        negatives="",  # false captions: "" none, "own" the data set's, or a folder
        negative_kinds=("relation", "adj_swap", "adj", "noun", "verb"),  # K columns, in order
        second_view=False,  # a second caption and another crop of each picture, for ahnpl.positive
        prefetch_batches=4,
        loader_threads=2,
    )


def _model():
    return dict(
        name="albef",  # a key of jaxvl.models.MODELS
        init="",  # weights to start from; PATH,PATH where they come in parts; empty: random
        allow_missing=(),  # regular expressions of tensors that `init` may lack or leave over
        embed_size=256,
        activation="gelu",  # or "quick_gelu": part of what CLIP's weights are
        temperature=0.07,  # at the start; learned
        temperature_range=(0.001, 0.5),  # ALBEF's; CLIP's logit scale stays in [0, ln 100]
        scan_layers=True,  # compile one layer instead of all; the parameters are the same
        remat=False,  # the backward pass recomputes all but dense products: half the memory
        product_dtype="float32",  # inputs of matrix products; they accumulate in float32
        activation_dtype="float32",  # between the products
        image=dict(
            patch_size=16,
            layers=12,
            width=768,
            heads=12,
            mlp_width=3072,
            norm_epsilon=0.0,  # of LayerNorm; 0: the model's own
        ),
        text=dict(
            layers=6,
            fusion_layers=6,  # ALBEF's
            width=768,
            heads=12,
            mlp_width=3072,
            vocabulary_size=0,  # 0: the tokenizer's
            mask_token=-1,  # id of [MASK]; -1: the tokenizer's
            end_token=-1,  # CLIP reads a text's meaning off this token; -1: the tokenizer's
            positions=512,
            norm_epsilon=0.0,  # of LayerNorm; 0: the model's own
            dropout=0.1,  # ALBEF's
        ),
    )


def _momentum():
    return dict(
        decay=0.995,  # of the twin encoders, a step
        queue_size=65_536,  # features of earlier batches as contrastive keys; 0: none
        distill=0.4,  # weight of the twins' predictions in the targets
        distill_ramp_epochs=1.0,  # from 0
    )


def _loss():
    return dict(
        itc_weight=1.0,
        itm_weight=1.0,
        mlm_weight=1.0,
        # Draw hard negatives within this many equal parts of the batch; with as many as there are
        # devices, no picture's tokens go from one to another for it.
        itm_negative_blocks=1,
        mask_probability=0.15,  # share of tokens that masked language modelling hides
        itc_chunk=0,  # keys at a time in the contrastive loss, which saves memory; 0: all
    )


def _softmask():
    return dict(
        weight=1.0,  # of matching on the softly masked picture; 0 switches it off
        strength=1.0,  # how far the most relevant patch is attenuated
        layer=2,  # fusion layer whose cross-attention is read, from 0
        score="logit",  # or "probability": what is differentiated
        probability=1.0,  # share of the pairs that are masked
        start_step=0,
        auto_strength=False,  # move `strength` so that masked pairs stay in `auto_band`
        auto_band=(0.6, 0.8),  # match probability of a masked pair
        auto_rate=0.01,  # change of strength a step for each unit of distance from the band
        auto_mass=0.5,  # share of attenuated energy above which strength is pulled back
        auto_mass_weight=1.0,
        focal_gamma=2.0,  # of the contrastive loss; 0 is the plain one
        focal_on="all",  # or "target": the factor of the true class only
        text_augmentation=True,  # the masked words feed every loss, not masked modelling alone
    )


def _ahnpl():
    return dict(
        start_step=0,  # before it only contrast: untrained towers fall to one point under the rest
        itc_negatives=True,  # among the texts of the contrastive loss, as in NegCLIP
        itm_negatives=True,  # "softmask_ahnpl": one more pair to match, picture and negative
        multimodal_weight=0.2,  # of contrast with a caption's own negatives, in text and image
        positive="cross",  # of that contrast: the pair; "intra": second caption, second view
        multimodal_text_weight=1.0,  # within it: caption against its negatives
        multimodal_image_weight=1.0,  # within it: picture against what negatives make of it
        perturbation=1.0,  # share of a negative's displacement by which the picture is moved
        margin_weight=0.2,  # of the hinge between true and false caption; CE-CLIP's CMR
        margin_limit=10.0,  # logits; a type's margin is its mean gap in the step before
        margin_reset=False,  # to 0 at the start of each epoch, as released
        alignment_weight=0.2,  # of pulling true pairs up to a target cosine
        alignment_ease=0.0,  # standard deviations added to the running mean that is the target
        alignment_floor=0.2,  # lowest target, a cosine
        alignment_decay=0.99,  # of the running mean, a step
        intra_modal_weight=0.0,  # of contrast with the batch's negatives as texts; CE-CLIP's IMC
        adaptive_beta=4.0,  # weight of a negative ~ exp(beta * cosine above the truth's); 0: equal
        adaptive_cap=3.0,  # highest weight, where the mean is 1
        effective_floor=0.3,  # share of negatives that carry the weight, below which a line warns
        as_released=False,  # MHN without positives, hinge over invalid ones too: the released code
    )


def _optim():
    return dict(
        learning_rate=1e-4,
        warmup_learning_rate=1e-5,  # at step 0
        warmup_steps=2_000,
        final_learning_rate=1e-5,  # end of the cosine, at total_steps
        weight_decay=0.02,  # none on biases, norms and the temperature
        b1=0.9,
        b2=0.999,
        eps=1e-8,
        clip_norm=0.0,  # global norm of the gradient; 0: no clipping
        ema_decay=0.0,  # running mean of the parameters, used for evaluation; 0: none
    )


def _checkpoint():
    return dict(
        every_steps=1_000,
        keep=2,  # newest ones
        best_metric="retrieval/mean_recall",  # the best one by this is kept too; empty: none
    )


def _log():
    return dict(
        every_steps=50,
        tensorboard=True,
        panel_pictures=4,  # held-out pictures whose word heat-maps are drawn at each evaluation
    )


def _eval():
    return dict(
        every_steps=5_000,  # and after the last step; 0: never
        split="val",
        batch_size=64,
        max_examples=0,  # pictures evaluated; 0: all
    )


def _evals():
    return dict(  # evaluators of jaxvl.evals.EVALUATORS, each with its own keys; None: not run
        retrieval=dict(rerank=128),  # candidates that the fusion encoder ranks again; 0: none
        hard_negatives=dict(  # data sets that bring negatives (Scenes)
            match=True,  # decide by the match logit where there is one; False: by similarity
        ),
        grounding=dict(),  # data sets that know which word means which box (Scenes)
        # Published benchmarks, each dict(annotations=FOLDER_OR_FILE, images=FOLDER).
        sugarcrepe=None,
        sugarcrepe_pp=None,
        aro_relation=None,
        aro_attribution=None,
        aro_order=None,
        valse=None,
        winoground=None,
        bla=None,
        vl_checklist=None,
    )


def resolve(config, *, vocabulary_size, mask_token, end_token=-1):
    """Returns a copy with what depends on the tokenizer filled in, where it was left open."""
    config = config.copy_and_resolve_references()
    if config.model.text.vocabulary_size == 0:
        config.model.text.vocabulary_size = vocabulary_size
    if config.model.text.mask_token == -1:
        config.model.text.mask_token = mask_token
    if config.model.text.end_token == -1:
        config.model.text.end_token = end_token
    return config
