"""What serves long clips beside LiteFocus: exact windows of today's models, their full layers, decoding in chunks."""
