"""One file an attack; `calibration/attack.py` says what one is, `wordings.yaml` holds what they say."""
