"""Where a clip's wav lies in its run folder: said once, for who writes it and who reads its record."""


def audio_path(condition: str, prompt_id: str, seed: int) -> str:
    """Path of the wav relative to the run folder."""
    return f"audio/{condition}/{prompt_id}_{seed}.wav"
