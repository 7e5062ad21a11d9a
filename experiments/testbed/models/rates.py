"""Rates of the testbed's representations, which figures need without the networks."""

from experiments.testbed.corpus.events_dsp import SAMPLE_RATE

HOP = 256  # samples per mel frame
FRAMES_PER_SECOND = SAMPLE_RATE / HOP  # of mels
COMPRESSION = 4  # of the VAE, in time and in frequency
