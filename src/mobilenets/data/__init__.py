"""Images and labels: every form they lie in, decoding, checks, splits, augmentation."""
