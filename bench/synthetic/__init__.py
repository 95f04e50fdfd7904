"""Made streets with known truth, played through the real judgement of a camera: what clips do not have."""
