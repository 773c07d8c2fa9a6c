"""Effects of known truth: atrophy, lesions, and lesions of real patients."""
