"""WAV files there and back, damaged ones named; spoken digits as the set's README says."""

import io
import wave
import zipfile

import numpy as np
import pytest

from tinygen import provenance
from tinygen.data import DataError, MissingDataError, SpokenDigits, read_wav, write_wav
from tinygen.data.audio import fit_length, trim_silence


def wav(samples, rate=8000, channels=1, width=2):
    """The content of a WAV file, written by the standard library."""
    stream = io.BytesIO()
    with wave.open(stream, "wb") as file:
        file.setparams((channels, width, rate, 0, "NONE", ""))
        file.writeframes(np.asarray(samples, f"<i{width}").tobytes())
    return stream.getvalue()


def test_samples_survive_to_half_a_step(tmp_path, rng):
    sound = rng.uniform(-0.99, 0.99, 1001).astype(np.float32)
    path = write_wav(tmp_path / "new" / "a.wav", sound, 8000)
    again, rate = read_wav(path, 8000)
    assert rate == 8000 and again.dtype == np.float32
    assert np.abs(again - sound).max() <= 0.51 / 32768


def test_what_is_too_loud_is_clipped_and_not_wrapped(tmp_path):
    again, _ = read_wav(write_wav(tmp_path / "a.wav", np.array([1.5, -1.5, 1.0, -1.0]), 8000))
    np.testing.assert_allclose(again, [32767 / 32768, -1, 32767 / 32768, -1])


def test_scipy_reads_what_is_written(tmp_path):
    from scipy.io import wavfile
    path = write_wav(tmp_path / "a.wav", np.array([0.5, -0.25, 0.0]), 16000)
    rate, samples = wavfile.read(path)
    assert rate == 16000 and samples.tolist() == [16384, -8192, 0]


def test_a_record_in_the_file_disturbs_no_reader(tmp_path):
    record = provenance.Provenance(model="vae", seed=3, licence="CC BY-SA 4.0")
    path = write_wav(tmp_path / "a.wav", np.zeros(11), 8000, record)
    found = provenance.read(path)
    assert found.record["seed"] == 3 and found.unchanged
    assert len(read_wav(path)[0]) == 11


@pytest.mark.parametrize("content, message", [
    (wav([1, 2, 3, 4], channels=2), "has 2 channels; mono is expected"),
    (wav([1, 2, 3, 4], width=4), "has samples of 32 bits; 16 are expected"),
    (wav([1, 2, 3, 4], rate=44100), "has 44100 samples a second; 8000 are expected"),
    (wav(range(100))[:-60], "cut off: 70 samples, and its header says 100"),
    (wav(range(100))[:30], "no WAV file, or cut off in its header"),
    (b"GIF89a and so on", "no WAV file.*RIFF"),
    (b"", "it ends too early"),
    (wav([]), "is cut off: 0 samples"),
])
def test_wrong_files_are_told_apart(content, message, tmp_path):
    with pytest.raises(DataError, match=rf"\[read_wav\] this file.*{message}"):
        read_wav(content, 8000)
    path = tmp_path / "bad.wav"
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"bad\.wav.*{message}"):
        read_wav(path, 8000)


@pytest.mark.parametrize("sound", [np.zeros((2, 5)), np.zeros(5, np.int16), np.array([np.nan])])
def test_what_is_no_sound_is_not_written(sound, tmp_path):
    with pytest.raises(ValueError, match=r"\[write_wav\] sound: .* samples \(n,\) are expected"):
        write_wav(tmp_path / "a.wav", sound, 8000)
    assert not list(tmp_path.iterdir())


def test_quiet_ends_go_and_pauses_stay(rng):
    quiet, loud = np.full(800, 1e-4), rng.choice([-0.5, 0.5], 800)
    cut = trim_silence(np.concatenate([quiet, loud, quiet, loud, quiet]))
    np.testing.assert_array_equal(cut, np.concatenate([quiet[:80], loud, quiet, loud, quiet[:80]]))
    assert len(trim_silence(np.zeros(800))) == 800
    np.testing.assert_array_equal(fit_length(np.ones(3), 5), [1, 1, 1, 0, 0])
    np.testing.assert_array_equal(fit_length(np.arange(5.0), 3), [0, 1, 2])


def archive(**recordings):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as files:
        for name, content in recordings.items():
            files.writestr(f"recordings/{name}.wav", content)
    return stream.getvalue()


def place(folders, known_file, content):
    name = "fsdd/fsdd_recordings.zip"
    known_file(name, content)
    (folders[0] / "fsdd").mkdir()
    (folders[0] / name).write_bytes(content)


def test_digit_speaker_and_split_come_from_the_names(folders, known_file):
    tone = (np.sin(np.arange(900)) * 5000).astype(int)
    names = ("3_theo_4", "3_theo_5", "7_anna_12", "7_anna_0")
    place(folders, known_file, archive(**{name: wav(tone) for name in names}))
    train, test = SpokenDigits(length=1000), SpokenDigits(train=False, length=1000)
    assert train.labels.tolist() == [3, 7] and test.labels.tolist() == [3, 7]
    assert train.speaker_names == ["anna", "theo"] and train.speakers.tolist() == [1, 0]
    sound, label = train[0]
    assert sound.shape == (1000,) and label == 3
    assert np.abs(sound).max() == pytest.approx(0.9) and not sound[900:].any()


def test_a_recording_of_another_rate_is_refused(folders, known_file):
    place(folders, known_file, archive(**{"3_theo_7": wav([1, 2], rate=16000)}))
    with pytest.raises(DataError, match="16000 samples a second; 8000 are expected"):
        SpokenDigits()


def test_another_archive_is_refused(folders, known_file):
    place(folders, known_file, archive(**{"three": wav([1, 2])}))
    with pytest.raises(DataError, match=r"holds no recordings/<digit>_<speaker>_<n>\.wav"):
        SpokenDigits()


def test_a_missing_file_is_named_with_its_source(folders):
    with pytest.raises(MissingDataError, match=r"fsdd_recordings\.zip was not found(?s:.*)"
                                               r"github\.com/Jakobovski"):
        SpokenDigits()
    with pytest.raises(ValueError, match="length must be at least 1, got 0"):
        SpokenDigits(length=0)


def test_the_set_is_what_its_readme_says(real_data):
    test = SpokenDigits(train=False)
    assert len(test) == 300 and test.sounds.shape == (300, 5040)
    assert np.bincount(test.labels).tolist() == [30] * 10
    assert np.bincount(test.speakers).tolist() == [50] * 6
    assert test.speaker_names == ["george", "jackson", "lucas", "nicolas", "theo", "yweweler"]
