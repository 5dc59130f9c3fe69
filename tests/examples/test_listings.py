"""Well-known wrong listings of a GAN and of a text VAE say what is wrong; corrected, they run.

The wrong ones are in Keras's names and layer by layer in tinygen's: each fails at the layer that
cannot work, with its name and both sizes, or names what to write instead.
"""

import re
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest

import tinygen as tg
from tinygen import data, nn
from tinygen.text import pad_sequences, to_categorical

ROOT = Path(__file__).parents[2]


def message(call, kind):
    with pytest.raises(kind) as caught:
        call()
    return "\n".join([str(caught.value), *getattr(caught.value, "__notes__", [])])


# -- the GAN --------------------------------------------------------------------------------------


def dense_generator(*first):
    return nn.Sequential(
        *first, nn.Conv2d(1, 64, 3, padding="same"), nn.ReLU(),
        nn.Conv2d(64, 128, 3, padding="same"), nn.ReLU(), nn.Flatten(), nn.Reshape(64, 64, 3))


def score():
    return nn.Sequential(nn.Flatten(), nn.Linear(64 * 64 * 3, 128), nn.ReLU(), nn.Linear(128, 1),
                         nn.Sigmoid())


def test_128_numbers_are_no_picture_of_7_by_7():
    generator = dense_generator(nn.Linear(100, 128), nn.Flatten(), nn.Reshape(7, 7, 1))
    text = message(lambda: generator(tg.randn(4, 100)), ValueError)
    assert "[Reshape] an example of (4, 128) has 128 elements" in text
    assert "(7, 7, 1): it holds 49; in layer 2 (Reshape(7, 7, 1))" in text


def test_the_summary_of_a_model_that_cannot_run_says_so_too():
    generator = dense_generator(nn.Linear(100, 128), nn.Flatten(), nn.Reshape(7, 7, 1))
    text = message(lambda: generator.summary((4, 100)), ValueError)
    assert "in layer 2 (Reshape(7, 7, 1))" in text


def test_channels_that_come_last_are_found_by_the_convolution():
    generator = dense_generator(nn.Linear(100, 49), nn.Reshape(7, 7, 1))
    text = message(lambda: generator(tg.randn(4, 100)), ValueError)
    assert "[Conv2d] expected 1 input channels, got 7: x has shape (4, 7, 7, 1)" in text
    assert "channels come first here: (N, C, H, W); in layer 2 (Conv2d(1, 64" in text


def test_7_by_7_maps_are_no_picture_of_64_by_64():
    generator = dense_generator(nn.Linear(100, 49), nn.Reshape(1, 7, 7))
    text = message(lambda: generator(tg.randn(4, 100)), ValueError)
    assert "an example of (4, 6272) has 6272 elements" in text
    assert "(64, 64, 3): it holds 12288; in layer 7 (Reshape(64, 64, 3))" in text


def test_in_a_model_of_models_the_path_leads_to_the_layer():
    generator = dense_generator(nn.Linear(100, 128), nn.Flatten(), nn.Reshape(7, 7, 1))
    gan = nn.Sequential(generator, score())
    assert "in layer 0.2 (Reshape" in message(lambda: gan(tg.randn(4, 100)), ValueError)


def test_pictures_are_no_noise():
    """Predicting "from the test pictures" feeds pictures to a network that takes noise."""
    gan = nn.Sequential(nn.Linear(100, 64 * 64 * 3), nn.Reshape(3, 64, 64), score())
    text = message(lambda: gan(tg.zeros((4, 64, 64, 3))), ValueError)
    assert "the last axis of x is 3, weight (out, in) expects 100; in layer 0 (Linear" in text


def test_a_score_is_no_picture():
    gan = nn.Sequential(nn.Linear(100, 64 * 64 * 3), nn.Reshape(3, 64, 64), score())
    scores = gan(tg.randn(4, 100))
    assert scores.shape == (4, 1)
    text = message(lambda: scores[0].reshape(64, 64, 3), ValueError)
    assert "1 elements do not fit into (64, 64, 3), which holds 12288" in text


@pytest.mark.parametrize(("make", "words"), [
    (lambda: nn.Sequential([nn.Linear(100, 128), nn.Flatten()]), "write nn.Sequential(*layers)"),
    (lambda: nn.Linear(100, 128, input_shape=(100,)), "[Linear] there is no argument 'input_sh"),
    (lambda: nn.Conv2d(1, 64, (3, 3), activation="relu", padding="same"), "nn.ReLU()"),
    (lambda: nn.Conv2d(filters=64, kernel_size=3), "nn.Conv2d(in_channels, out_channels"),
    (lambda: nn.Conv2d(1, 64, 3, strides=2), "use stride"),
    (lambda: nn.Flatten(input_shape=(64, 64, 3)), "[Flatten] there is no argument 'input_shape'"),
    (lambda: nn.Dropout(rate=0.1), "use p"),
    (lambda: nn.Embedding(input_dim=50, output_dim=8), "(num_embeddings, embedding_dim)"),
    (lambda: nn.LSTM(units=256, return_sequences=True), "nn.LSTM(input_size, hidden_size)"),
    (lambda: nn.LSTM(8, 256, return_sequences=True), "output, state = layer(x)"),
])
def test_arguments_of_keras_say_what_to_write(make, words):
    assert words in message(make, TypeError)


def test_a_users_own_layer_may_have_such_arguments():
    class Dense(nn.Linear):
        def __init__(self, units, activation, **options):
            super().__init__(4, units)

    class Net(nn.Module):
        def __init__(self, **options):
            super().__init__()
            self.options = options

    assert Dense(units=3, activation="relu").weight.shape == (3, 4)
    assert Net(units=3).options == {"units": 3}
    assert nn.Identity(54, units=3)(7) == 7
    assert nn.TransformerEncoderLayer(4, 2, activation="gelu") is not None


@pytest.mark.parametrize(("name", "words"), [
    ("fit", "tinygen.train.Trainer"), ("compile", "optim.Adam(model.parameters())"),
    ("predict", "pictures are generator(noise)"), ("trainable", "use requires_grad_(False)"),
    ("add", "use append(layer)"), ("evaluate", "model.eval()"), ("save", "tinygen.save("),
    ("get_weights", "state_dict()"),
])
def test_methods_of_keras_say_what_to_do(name, words):
    assert words in message(lambda: getattr(score(), name), AttributeError)


@pytest.mark.parametrize(("name", "words"), [
    ("Dense", "nn.Linear"), ("Conv2D", "nn.Conv2d"), ("BatchNormalization", "nn.BatchNorm1d"),
    ("Input", "leave it out"), ("Model", "nn.Module")])
def test_layers_of_keras_say_what_to_use(name, words):
    assert words in message(lambda: getattr(nn, name), AttributeError)


def test_keras_picture_generator_names_the_transforms_that_do_it():
    text = message(lambda: data.ImageDataGenerator, AttributeError)
    names = re.findall(r"\b(?:Random|Re|Normal)\w+", text)
    assert {"RandomHorizontalFlip", "RandomShift", "Rescale"} <= set(names)
    assert all(hasattr(data, name) for name in names)


def test_rescaling_mirroring_and_shifting_with_those_transforms():
    pictures = np.random.default_rng(0).integers(0, 256, (8, 3, 64, 64), dtype=np.uint8)
    augment = data.Compose([data.Rescale(1 / 255), data.RandomHorizontalFlip(),
                            data.RandomShift(width=0.1, height=0.1)])
    batch = augment(pictures, np.random.default_rng(1))
    assert batch.shape == (8, 3, 64, 64) and 0 <= batch.min() and batch.max() <= 1
    assert not np.allclose(batch, pictures / 255)
    np.testing.assert_allclose(batch.mean(), (pictures / 255).mean(), atol=0.02)


# -- the text VAE ---------------------------------------------------------------------------------

LONGEST, WORDS = 10, 50


def test_256_numbers_are_no_sentence_of_vectors():
    decoder = nn.Sequential(nn.Linear(256, 256), nn.ReLU(), nn.Reshape(LONGEST, 256))
    text = message(lambda: decoder(tg.randn(4, 256)), ValueError)
    assert "an example of (4, 256) has 256 elements" in text
    assert "(10, 256): it holds 2560; in layer 2 (Reshape(10, 256))" in text


def test_a_layer_behind_a_recurrent_one_is_told_of_the_tuple():
    encoder = nn.Sequential(nn.Embedding(WORDS, 8), nn.LSTM(8, 256, batch_first=True), nn.Flatten(),
                            nn.Linear(LONGEST * 256, 256))
    text = message(lambda: encoder(tg.zeros((4, LONGEST), dtype=tg.int64)), TypeError)
    assert "in layer 2 (Flatten" in text
    assert "LSTM(8, 256, batch_first=True), gives a tuple" in text
    assert "output, state = layer(x)" in text


def test_words_that_are_not_numbers_are_refused():
    text = message(lambda: nn.Embedding(WORDS, 8)(tg.ones((4, LONGEST))), TypeError)
    assert "[embedding] input must hold integers, got float32 (4, 10)" in text


def test_a_word_outside_of_the_vocabulary_is_named():
    text = message(lambda: nn.Embedding(WORDS, 8)(tg.full((4, LONGEST), 50)), IndexError)
    assert "50" in text and "in layer Embedding(50, 8)" in text


def test_logits_of_words_need_their_classes_on_axis_1():
    call = lambda: nn.functional.cross_entropy(
        tg.ones((2, LONGEST, WORDS)), tg.zeros((2, LONGEST), dtype=tg.int64))
    assert "(2, 10, 50), the target (2, 10); (N, C, ...) and (N, ...)" in message(call, ValueError)


def test_one_hot_targets_are_not_needed_and_padding_carries_no_loss():
    ids = pad_sequences([[4, 5, 6], [7, 8]], maxlen=4, padding="post", dtype="int64")
    logits = tg.randn(2, 4, WORDS)
    loss = nn.functional.cross_entropy(logits.reshape(-1, WORDS), ids.reshape(-1), ignore_index=0)
    hot = to_categorical(ids, num_classes=WORDS)                                  # (2, 4, 50)
    each = -(tg.log_softmax(logits, axis=2) * hot).sum(axis=2).numpy()            # (2, 4)
    np.testing.assert_allclose(loss.item(), each[ids > 0].mean(), rtol=1e-5)


# -- corrected ------------------------------------------------------------------------------------


def test_the_gan_loop_learns(monkeypatch, tmp_path):
    pytest.importorskip("PIL")
    monkeypatch.setattr(sys, "argv", ["gan_loop", "--quick", "--epochs", "3", "--out",
                                      str(tmp_path)])
    found = runpy.run_path(str(ROOT / "examples" / "gan_loop.py"))["main"]()
    assert found["after"] < 0.6 * found["before"]
    assert sorted(p.name for p in tmp_path.iterdir()) == [f"epoch_00{i}.png" for i in (1, 2, 3)]


def test_the_gan_of_the_loop_makes_64_by_64_colour_pictures_and_d_is_still_while_g_learns():
    script = runpy.run_path(str(ROOT / "examples" / "gan_loop.py"))
    g, d = script["networks"](64, 4)
    assert g(tg.randn(2, 100)).shape == (2, 3, 64, 64)
    before = {k: v.detach().numpy().copy() for k, v in d.named_parameters()}
    optimizer = tg.optim.Adam(g.parameters())
    start = [p.detach().numpy().copy() for p in g.parameters()]
    script["generator_step"](g, d, optimizer, 4)
    assert all((v.detach().numpy() == before[k]).all() and v.grad is None
               for k, v in d.named_parameters())
    assert all(p.requires_grad for p in d.parameters())
    assert any((p.detach().numpy() != old).any() for p, old in zip(g.parameters(), start))


def test_the_text_vae_loop_writes_sentences_from_noise(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["text_vae_loop", "--quick"])
    script = runpy.run_path(str(ROOT / "examples" / "text_vae_loop.py"))
    found = script["main"]()
    assert found["loss"] < 0.5 * found["first loss"] and found["right"] > 0.9
    kl = [float(n) for n in re.findall(r"KL (\d+\.\d+)", capsys.readouterr().out)]
    assert kl[-1] > 2                     # no collapse


def test_the_grammar_tells_right_from_wrong():
    script = runpy.run_path(str(ROOT / "examples" / "text_vae_loop.py"))
    right, rng = script["is_sentence"], script["random"].Random(0)
    assert all(right(script["sentence"](rng)) for _ in range(200))
    assert right(["the", "small", "cats", "see", "a", "dog", "every", "day"])
    for wrong in ("the small cats sees a dog", "the cat see a dog", "a cats see a dog", "the cat",
                  "some dog hears a cat", "the cat sees a dog every", "", "the cat sees a dog dog"):
        assert not right(wrong.split()), wrong


def test_pads_carry_no_loss_and_do_not_change_the_code():
    tg.manual_seed(0)
    script = runpy.run_path(str(ROOT / "examples" / "text_vae_loop.py"))
    model = script["TextVAE"](WORDS, 16, 4)
    short = tg.Tensor([[1, 7, 8, 9, 2]])
    padded = tg.Tensor([[1, 7, 8, 9, 2, 0, 0, 0]])
    for a, b in zip(model.encode(short[:, 1:], np.array([4])),
                    model.encode(padded[:, 1:], np.array([4]))):
        np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), atol=1e-6)
    losses = []
    for ids in (short, padded):
        tg.manual_seed(1)
        losses.append([v.item() for v in script["elbo"](model, ids, np.array([4]), drop=0.0)])
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-5)
