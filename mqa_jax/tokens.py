"""The special token ids of vocabularies that are trained here."""

PAD, EOS, BOS, UNK = 0, 1, 2, 3
