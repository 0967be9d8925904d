import numpy as np
import pytest

from seqkd.corpora.speech.acoustics import NOISES, Conditions, make_noise, record, reverberate, trim

RATE = 16000


def tone(seconds=1.0):
    return 0.3 * np.sin(2 * np.pi * 440 * np.arange(int(seconds * RATE)) / RATE + 0.5)


def decibels(power):
    return 10 * np.log10(power)


@pytest.mark.parametrize("noise", [*NOISES, "babble"])
@pytest.mark.parametrize("snr_db", [-3.0, 12.0])
def test_snr_and_level_are_those_asked_for(noise, snr_db):
    conditions = Conditions(noise=noise, snr_db=snr_db, level_db=-30.0, lead=0.25, trail=0.5)
    rng = np.random.default_rng(1)
    audio = record(tone(), conditions, RATE, rng, [rng.standard_normal(5000), rng.standard_normal(30000)])
    assert len(audio) == pytest.approx(1.75 * RATE, abs=4)
    span = slice(RATE // 4, RATE // 4 + RATE)
    assert decibels(np.mean(audio[span] ** 2)) == pytest.approx(-30, abs=0.01)
    # The tone is known, so its part can be taken out and the rest is the noise.
    basis = np.stack([f(2 * np.pi * 440 * np.arange(RATE) / RATE) for f in (np.sin, np.cos)], axis=1)
    weights = np.linalg.lstsq(basis, audio[span], rcond=None)[0]
    rest = audio.copy()
    rest[span] -= basis @ weights
    found = decibels(np.mean((basis @ weights) ** 2) / np.mean(rest**2))
    assert found == pytest.approx(snr_db, abs=0.5)


def test_loud_mixtures_do_not_clip():
    audio = record(tone(), Conditions(noise="white", snr_db=-3, level_db=0.0), RATE, np.random.default_rng(0))
    assert np.abs(audio).max() == pytest.approx(0.98)


@pytest.mark.parametrize(("kind", "slope"), [("white", 0), ("pink", -3), ("brown", -6)])
def test_colours_of_noise(kind, slope):
    noise = make_noise(kind, 4 * RATE, RATE, np.random.default_rng(0))
    assert np.mean(noise**2) == pytest.approx(1, rel=0.05)
    density = np.abs(np.fft.rfft(noise)) ** 2
    bands = [decibels(density[4 * low : 8 * low].mean()) for low in (250, 500, 1000, 2000)]
    assert np.diff(bands) == pytest.approx([slope] * 3, abs=0.6)  # dB an octave


def test_reverberation_decays_as_asked():
    click = np.zeros(RATE)
    click[0] = 1
    wet = reverberate(click, rt60=0.4, drr_db=0, sample_rate=RATE, rng=np.random.default_rng(0))
    echo = wet[1:]
    assert wet[0] == pytest.approx(1, abs=1e-6)
    assert decibels(np.sum(echo**2)) == pytest.approx(0, abs=0.01)
    early, late = echo[800:1600], echo[800 + 3200 : 1600 + 3200]  # 0.2 s apart: half of 60 dB
    assert decibels(np.mean(early**2) / np.mean(late**2)) == pytest.approx(30, abs=2)


def test_trim():
    padded = np.concatenate([np.zeros(50), tone(0.1), np.full(70, 1e-5)])
    assert len(trim(padded)) <= 1600 + 1
    assert len(trim(np.zeros(10))) == 0


def test_babble_needs_talkers():
    with pytest.raises(ValueError, match="at least one talker"):
        record(tone(), Conditions(noise="babble"), RATE, np.random.default_rng(0))
