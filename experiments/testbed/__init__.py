"""The embedded default: a small text-to-audio world that runs the whole experiment offline.

A procedural captioned corpus, a mel VAE, an AudioLDM2-format UNet with its text encoders, a vocoder and
two judges, all trained by this repository. It is evidence about a method on *this* model, never about
AudioLDM2; its gate (gate.py) says whether its attention can test the method's quality claim at all.
"""
