"""Which flags of a training stand together in its help, and what a recipe makes of them."""

from fundus_diag.training.recipes import RECIPES

REST = "options"
# {title: fields of configurations and parameters of commands}, in the order of the help.
GROUPS = {
    "data": (
        "manifest", "image_root", "crop", "unit", "task", "without_labels", "classes",
        "soft_masks", "splits", "on_bad_image",
    ),
    "run": (
        "run_dir", "dry_run", "resume", "overwrite", "seed", "precision", "deterministic", "cache",
        "cache_dir",
    ),
    "network": (
        "encoder", "encoder_options", "weights", "image_size", "pool", "dropout", "drop_path",
        "grade_head", "network", "decoder_options", "patch_size", "overlap", "decoder_depth",
        "decoder_width",
    ),
    "schedule": (
        "recipe", "phase1_epochs", "phase1_rate", "phase1_views", "phase2_epochs", "phase2_rate",
        "unfreeze_from", "batch_size", "epochs", "warmup_epochs", "rate", "schedule", "warmup",
        "final_rate", "layer_decay", "weight_decay", "clip_norm", "ema", "patience",
    ),
    "balance": (
        "oversample_to", "most_repeats", "pos_weight", "reweight", "label_smoothing", "patches",
        "patch_share", "miss_weight",
    ),
    "augmentation": (
        "augment", "mixup", "cutmix", "rand_augment", "smallest_crop", "source_size",
    ),
    "masked pictures": ("mask_ratio", "normalise_target", "pictures_every", "val_loss"),
    "choice of the epoch and of thresholds": (
        "select", "criterion", "referable_cut", "resampled_val_on_purpose",
    ),
    "several machines": ("hosts", "host_index", "coordinator"),
}  # fmt: skip


def recipe_default(argument):
    """What each recipe gives where a flag is not given: "32; mae 16; cvt 256", or ""."""
    own = getattr(argument.configuration, "OWN", {})
    if argument.name in own:
        return said(own[argument.name])
    if not hasattr(argument.configuration, "recipe"):
        return ""
    names = {}
    for recipe, values in RECIPES.items():
        if argument.name in values:
            names.setdefault(said(values[argument.name]), []).append(recipe)
    if not names:
        return ""
    usual = max(names, key=lambda value: len(names[value]))
    if 2 * len(names[usual]) < len(RECIPES):
        usual = None
    others = [f"{', '.join(x)} {value}" for value, x in names.items() if value != usual]
    return "; ".join([*([usual] if usual else []), *others])


def said(value):
    """A value as the help has it."""
    if isinstance(value, float):
        return f"{value:.3g}"
    if isinstance(value, (tuple, list)):
        return " ".join(map(str, value))
    return str(value)
