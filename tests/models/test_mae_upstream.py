"""The masked autoencoder against Hugging Face's, weights, masks and all."""

import sys

import numpy as np
import pytest
from test_masked_autoencoder import COUNT, MEAN, PATCH, SIZE, STD, build, inside, run
from test_masked_autoencoder import images as images  # a fixture

# Upstream's names of what a block holds, and ours.
UPSTREAM = {
    "attention.q_proj": "attn.q",
    "attention.k_proj": "attn.k",
    "attention.v_proj": "attn.v",
    "attention.o_proj": "attn.proj",
    "layernorm_before": "norm1",
    "layernorm_after": "norm2",
    "mlp.fc1": "mlp.fc1",
    "mlp.fc2": "mlp.fc2",
}


def take_weights(model, state, blocks, decoder_blocks):
    """Fills the network from the arrays of a `ViTMAEForPreTraining`; each has to be used."""
    state = {name: tensor.numpy() for name, tensor in state.items()}

    def dense(name, source):
        kernel, bias = state.pop(f"{source}.weight"), state.pop(f"{source}.bias")
        if kernel.ndim == 4:
            kernel = kernel.transpose(2, 3, 1, 0)
        model.get_layer(name).set_weights([kernel.T if kernel.ndim == 2 else kernel, bias])

    for ours, theirs, number in (
        ("blocks", "vit.layers", blocks),
        ("decoder_blocks", "decoder.decoder_layers", decoder_blocks),
    ):
        for j in range(number):
            for source, name in UPSTREAM.items():
                dense(f"{ours}.{j}.{name}", f"{theirs}.{j}.{source}")
    dense("patch_embed.proj", "vit.embeddings.patch_embeddings.projection")
    dense("norm", "vit.layernorm")
    for name in ("decoder_embed", "decoder_norm", "decoder_pred"):
        dense(name, f"decoder.{name}")
    model.get_layer("cls_token").set_weights([state.pop("vit.embeddings.cls_token")])
    model.get_layer("mask_token").set_weights([state.pop("decoder.mask_token")])
    # Sines and cosines on both sides: computed here, not taken.
    for name, source in (
        ("pos_embed", "vit.embeddings.position_embeddings"),
        ("decoder_pos_embed", "decoder.decoder_pos_embed"),
    ):
        np.testing.assert_allclose(
            model.get_layer(name).get_weights()[0], state.pop(source), atol=1e-5
        )
    assert not state


@pytest.mark.slow
@pytest.mark.parametrize("normalise", [True, False])
def test_loss_and_pixels_equal_upstreams(images, normalise, monkeypatch):
    """Hugging Face's ViTMAEForPreTraining with the same weights and masks."""
    torch = pytest.importorskip("torch")
    # Not needed, and a torchvision of another torch would stop the import.
    monkeypatch.setitem(sys.modules, "torchvision", None)
    transformers = pytest.importorskip("transformers", minversion="5")
    upstream = transformers.ViTMAEForPreTraining(
        transformers.ViTMAEConfig(
            hidden_size=24,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=96,
            image_size=SIZE,
            patch_size=PATCH,
            decoder_hidden_size=64,
            decoder_num_hidden_layers=2,
            decoder_num_attention_heads=2,
            decoder_intermediate_size=256,
            layer_norm_eps=1e-6,
            norm_pix_loss=normalise,
        )
    ).eval()
    torch.manual_seed(0)
    # A new one's places are zeros: the sines come with its published weights, or like this.
    upstream.vit.embeddings.patch_embeddings.projection._is_hf_initialized = False
    upstream.vit.embeddings.initialize_weights()
    upstream.decoder.initialize_weights(COUNT)
    with torch.no_grad():
        for name, parameter in upstream.named_parameters():
            if "pos" not in name:  # strong enough that every array shows in the output
                parameter.add_(0.2 * torch.randn_like(parameter))
    model = build(normalise_target=normalise)
    take_weights(model, upstream.state_dict(), 2, 2)
    _, mask, restore = run(inside(model, "masking"), images)
    out = run(model, images)
    pictures = np.moveaxis((images - MEAN) / STD, -1, 1).astype("float32")
    with torch.no_grad():
        # Their noise sorts as our ranks do, so both hide the same patches.
        theirs = upstream(torch.tensor(pictures), noise=torch.tensor(restore / COUNT))
    np.testing.assert_array_equal(theirs.mask.numpy(), mask)
    want = theirs.logits.numpy()
    assert want.std(axis=0).mean() > 1e-2  # depends on the picture
    np.testing.assert_allclose(out["patches"], want, atol=1e-4 * np.abs(want).max())
    loss = float(model.patch_loss(images, out))
    assert loss == pytest.approx(float(theirs.loss), rel=1e-4)
    # Blind tests pass with two blocks swapped: this one must not.
    a, b = (model.get_layer(f"decoder_blocks.{j}.mlp.fc1") for j in (0, 1))
    first, second = a.get_weights(), b.get_weights()
    a.set_weights(second)
    b.set_weights(first)
    swapped = run(model, images)["patches"]
    assert np.abs(swapped - want).max() > 1e-2 * np.abs(want).max()
