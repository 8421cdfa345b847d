"""Published schedules, and what a run starts from where a flag is not given."""

# What a run starts from where a flag is not given. "se_xception" is the original system's schedule
# for a pretrained encoder; "scratch" trains one that is not, which a rate of 1e-5 cannot do. The
# others are published for all of a network at once: here a short phase 1 goes before them.
_PLAIN = {
    "phase1_epochs": 1,
    "phase1_rate": 1e-3,
    "schedule": "cosine",
    "warmup": 0.05,
    "final_rate": 0.01,
    "weight_decay": 0.05,
    "layer_decay": 1.0,
    "drop_path": 0.0,
    "ema": 0.0,
    "clip_norm": 1.0,
    "patience": 8,
    "dropout": 0.0,
    "batch_size": 32,
    "label_smoothing": 0.0,
    "mixup": 0.0,
    "cutmix": 0.0,
}
RECIPES = {
    "se_xception": {
        **_PLAIN,
        "phase1_epochs": 10,
        "phase2_epochs": 20,
        "phase2_rate": 1e-5,
        "weight_decay": 0.0,
        "dropout": 0.5,
    },
    "scratch": {**_PLAIN, "phase2_epochs": 24, "phase2_rate": 1e-3, "ema": 1.0, "dropout": 0.5},
    # Chosen on the val rows of ODIR's eyes (docs/results/odir.md). A pretrained network of few
    # parameters; above such a rate BatchNorm, which stays as it was published, no longer fits the
    # weights. Phase 1 costs one pass forward, whatever its epochs.
    "efficientnet_lite": {
        **_PLAIN,
        "phase1_epochs": 30,
        "phase2_epochs": 12,
        "phase2_rate": 3e-4,
        "warmup": 0.1,
        "drop_path": 0.1,
        "ema": 1.0,
        "patience": 0,
        "dropout": 0.2,
        "mixup": 0.2,
    },
    # Wu et al. 2021, section 4.1, with the rates of the published configuration of CvT-13, for 256
    # pictures a step; 80 epochs as in the RetinaMNIST study instead of ImageNet's 300. The larger
    # CvT decay by .1. RandAugment and random erasing are left out.
    "cvt": {
        **_PLAIN,
        "phase2_epochs": 80,
        "phase2_rate": 2.5e-4,
        "final_rate": 1e-5 / 2.5e-4,
        "warmup": 5 / 80,
        "clip_norm": 0.0,
        "patience": 0,
        "batch_size": 256,
        "drop_path": 0.1,
        "label_smoothing": 0.1,
        "mixup": 0.8,
        "cutmix": 1.0,
    },
    # Zhou et al. 2023, methods, "Adaptation to downstream tasks"; the rate is that of the command
    # in their repository, 5e-3 for 256 pictures, so 5e-3 x 16 / 256 here; 10 of 50 epochs of
    # warm-up. Its RandAugment and random erasing are left out. MAE's own values for ImageNet are
    # --layer-decay 0.75 --drop-path 0.1 --mixup 0.8 --cutmix 1.
    "mae": {
        **_PLAIN,
        "phase2_epochs": 50,
        "phase2_rate": 5e-3 * 16 / 256,
        "batch_size": 16,
        "warmup": 0.2,
        "final_rate": 0.003,
        "layer_decay": 0.65,
        "drop_path": 0.2,
        "label_smoothing": 0.1,
        "clip_norm": 0.0,
        "patience": 0,
    },
    # Chowdary and Yin 2024, section 3: times 0.1 after each quarter of 400 epochs.
    "med_former": {
        **_PLAIN,
        "phase2_epochs": 400,
        "phase2_rate": 1e-3,
        "batch_size": 16,
        "schedule": "steps",
        "warmup": 0.0,
        "weight_decay": 0.0,
        "clip_norm": 0.0,
        "patience": 0,
    },
}
STEPS = 4  # parts of a phase with --schedule steps; each has a tenth of the rate before it
